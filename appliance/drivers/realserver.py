# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine as a real server: service addresses that it takes packets for and does not tell anyone about."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.config.realserver import RealServer
from appliance.decide.view import State
from appliance.drivers.base import DriverError
from appliance.lvs.realserver import (
    Step,
    Sysctl,
    elsewhere,
    loosened,
    own_address,
    own_address_argv,
    steps,
    sysctls,
)
from appliance.run import RunError, run

PROC = Path("/proc/sys")
# What shared settings were before the first real server of this machine wanted them, and who wants them. A reboot
# forgets both.
KEPT = Path("/run/pairkeep/realserver")
COMMAND_S = 20.0


class RealServerDriver:
    """Adopts what it finds: a step that is done already is not done again, by whomever it was done."""

    def __init__(self, server: RealServer, proc: Path = PROC, kept: Path = KEPT) -> None:
        self._server = server
        self._proc = proc
        self._kept = kept

    def state(self) -> State:
        """Stopped: it has none of the addresses, tunnels and ways. Failed: some, or it would tell of them."""
        if not any(step.done(_printed(step.holds)) for step in self._steps() if step.undo):
            return "stopped"
        return "failed" if self.faults() else "started"

    def faults(self) -> list[str]:
        """What is not as it should be while this runs, in words."""
        found = [f"{step.what}: missing" for step in self._steps() if not step.done(_printed(step.holds))]
        for sysctl in (*sysctls(self._server), *loosened(self._server)):
            value = self._read(sysctl.path)
            if value is not None and not sysctl.holds(value):
                found.append(f"{sysctl.path} is {value}, not {sysctl.value}")
        return [*found, *self._told_of()]

    def start(self) -> None:
        """The machine is silent about the addresses before it has them."""
        told = [fault for fault in self._told_of() if " also on " in fault]
        if told:
            raise DriverError(f"{'; '.join(told)}: this machine would answer ARP for it")
        for sysctl in sysctls(self._server):
            self._hold(sysctl)
        for step in self._steps():
            if not step.done(_printed(step.holds)):
                _do(step.do)
        for sysctl in loosened(self._server):
            self._write(sysctl.path, sysctl.value)
        if missing := self.faults():
            raise DriverError("; ".join(missing))

    def stop(self) -> None:
        """In the reverse order, settings last: while it has an address it must not tell of it."""
        left: list[str] = []
        for step in reversed(steps(self._server, self._own() or "")):
            if step.undo and step.done(_printed(step.holds)):
                try:
                    _do(step.undo)
                except DriverError as error:
                    left.append(error.message)
        if left:
            raise DriverError("; ".join(left))
        for sysctl in sysctls(self._server):
            self._release(sysctl)

    def _steps(self) -> tuple[Step, ...]:
        own = self._own()
        if own is None:
            raise DriverError(f"no interface of this machine is in {self._server.network}")
        return steps(self._server, own)

    def _own(self) -> str | None:
        """This machine's address in the server's network; empty where nobody needs it."""
        if self._server.network is None:
            return ""
        return own_address(self._server, _printed(own_address_argv(self._server)).splitlines())

    def _told_of(self) -> list[str]:
        """By what this machine would answer a question for a service address."""
        if not sysctls(self._server):
            return []
        shown = _printed(("ip", "-o", "address", "show")).splitlines()
        found = [f"{address} is also on {interface}" for address, interface in elsewhere(self._server, shown)]
        for interface in sorted(path.name for path in (self._proc / "net/ipv4/conf").iterdir()):
            own = self._read(f"net/ipv4/conf/{interface}/arp_ignore")
            # The higher one of this and of "all" counts, and these are higher and answer more (ip-sysctl.rst).
            if interface != "all" and own is not None and 3 <= int(own) <= 7:
                found.append(f"arp_ignore of {interface} is {own}, by which it answers for addresses of others")
        return found

    def _read(self, path: str) -> str | None:
        try:
            return (self._proc / path).read_text().strip()
        except FileNotFoundError:
            return None

    def _write(self, path: str, value: str) -> None:
        try:
            (self._proc / path).write_text(value)
        except OSError as error:
            raise DriverError(f"{path} cannot be set to {value}: {error.strerror}") from error

    def _hold(self, sysctl: Sysctl) -> None:
        """Set it, and remember what it was when nobody here wanted it yet."""
        with self._note(sysctl) as note:
            before, holders = _parted(note)
            found = self._read(sysctl.path) or "0"
            if not sysctl.holds(found):
                self._write(sysctl.path, sysctl.value)
            if not holders:
                before = found
            note[:] = [before, *sorted({*holders, self._server.name})]

    def _release(self, sysctl: Sysctl) -> None:
        with self._note(sysctl) as note:
            before, holders = _parted(note)
            rest = [name for name in holders if name != self._server.name]
            if holders and not rest:
                self._write(sysctl.path, before)
            note[:] = [before, *rest] if rest else []

    @contextmanager
    def _note(self, sysctl: Sysctl) -> Iterator[list[str]]:
        """The lines of what is kept of a setting, to be changed in place. One at a time, of all processes."""
        self._kept.mkdir(parents=True, exist_ok=True)
        with (self._kept / sysctl.path.replace("/", ".")).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            lines = file.read().splitlines()
            yield lines
            os.ftruncate(file.fileno(), 0)
            file.write("".join(f"{line}\n" for line in lines))


def _parted(note: list[str]) -> tuple[str, list[str]]:
    return (note[0], note[1:]) if note else ("", [])


def _printed(argv: tuple[str, ...]) -> str:
    """What a question prints; nothing when the thing that it asks for does not exist."""
    return run(argv, check=False, timeout_s=COMMAND_S).stdout


def _do(argv: tuple[str, ...]) -> None:
    try:
        run(argv, timeout_s=COMMAND_S)
    except RunError as error:
        raise DriverError(error.message, hint=error.hint) from error
