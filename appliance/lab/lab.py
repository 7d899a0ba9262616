# SPDX-License-Identifier: GPL-2.0-or-later
"""Labs, as the demo, vm-tests and benchmarks use them.

with Lab.open("try").up(topology) as lab:
    lab["alpha"].exec(["uname", "-r"]).stdout
    lab["alpha"].power_off()
    lab.run_client(["curl", "http://10.9.1.100/"])
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from appliance.build import folders
from appliance.build.requirements import require_programs, require_space
from appliance.errors import InputError, PairkeepError
from appliance.lab import keeper, snapshots
from appliance.lab.connection import Connection, KeeperGone
from appliance.lab.machine import Machine
from appliance.lab.process import Process
from appliance.lab.spec import Topology
from appliance.run import MORTAL, run

_KEEPER_START_S = 20.0
_POLL_S = 0.25
SPACE_MIB = 4096
"""What the disks and memory files of a lab and its snapshots may need."""


class Lab:
    """The lab ``name``, running or not. Its folder is ``build/lab/NAME``; its machines are ``lab["alpha"]``.

    As a context manager it is taken down at the end.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = folders.build_folder() / "lab" / name
        # A connection for each thread: requests and answers of two must not mix.
        self._own = threading.local()
        self._lease: Connection | None = None
        self._clients: list[subprocess.Popen[str]] = []
        self._topology: Topology | None = None

    @classmethod
    def open(cls, name: str) -> Lab:
        """The lab ``name``. Raises InputError for what is not a plain name."""
        if not name.replace("-", "").isalnum():
            raise InputError(f"the name of a lab: found {name!r}, expected letters, digits and hyphens")
        return cls(name)

    @staticmethod
    def names() -> list[str]:
        """The labs that have a folder, running or broken."""
        return sorted(path.parent.name for path in (folders.build_folder() / "lab").glob(f"*/{keeper.TOPOLOGY}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def __getitem__(self, machine: str) -> Machine:
        return Machine(self, self.topology.machine(machine).name)

    @property
    def machines(self) -> list[Machine]:
        return [Machine(self, spec.name) for spec in self.topology.machines]

    @property
    def topology(self) -> Topology:
        if self._topology is None:
            try:
                self._topology = Topology.loads((self.folder / keeper.TOPOLOGY).read_text())
            except FileNotFoundError as error:
                raise self._not_up() from error
        return self._topology

    def up(self, topology: Topology, *, boot: bool = True, base: Path | None = None) -> Self:
        """Make the networks and start the machines: booting, or as saved in the snapshot folder ``base``.

        ``boot=False`` starts none. Until ``settle`` the lab ends with this process, whatever ends it.
        Raises InputError when the lab is up already or the host lacks something.
        """
        require_programs(("nsenter", "setpriv", "unshare"))
        require_space(self.folder, SPACE_MIB, "the lab")
        with self._locked():
            if self.is_up():
                raise InputError(f"the lab {self.name} is up already", hint=f"pairkeep lab --lab {self.name} down")
            self._clean()
            self.folder.mkdir(parents=True)
            (self.folder / keeper.TOPOLOGY).write_text(topology.dumps())
            self._topology = topology
            try:
                self._start_keeper()
                self._lease = self._connect()
                self._lease.ask("lease")
                if base is not None:
                    self.restore(base)
                elif boot:
                    for machine in self.machines:
                        machine.power_on()
            except BaseException:
                self._clean()
                raise
        return self

    def settle(self) -> None:
        """Let the lab live on when this process ends."""
        self.ask("settle")

    def down(self) -> None:
        """End everything that belongs to this lab, also what a crash left, and delete its folder."""
        for client in self._clients:
            if client.poll() is None:
                client.kill()
                client.wait()
        self._clients.clear()
        with self._locked():
            self._clean()

    def is_up(self) -> bool:
        """Whether the lab's keeper lives."""
        process = self._recorded().get("keeper")
        return process is not None and process.alive()

    def status(self) -> dict[str, Any]:
        """What runs: ``machines`` maps names to ``state`` (QEMU's word, or "off"), ``pid``, ``unplugged`` …"""
        answer: dict[str, Any] = self.ask("status")
        return {"name": self.name, "folder": str(self.folder), "snapshots": self.snapshots(), **answer}

    def run_client(
        self, argv: Sequence[str], *, check: bool = True, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the host inside the lab's networks (address 10.9.1.1); see ``run.run``."""
        return run([*self.inside(), *argv], check=check, timeout_s=timeout_s)

    def popen_client(self, argv: Sequence[str], **more: Any) -> subprocess.Popen[str]:
        """Start a program of the host inside the lab's networks; ``more`` goes to Popen.

        It ends with ``down``, and with this process, whatever ends that.
        """
        client = subprocess.Popen([*self.inside(), *MORTAL, *argv], text=True, **more)
        self._clients.append(client)
        return client

    def inside(self) -> tuple[str, ...]:
        """The words that run what follows them inside the lab's networks."""
        process = self._recorded().get("keeper")
        if process is None or not process.alive():
            raise self._not_up()
        # An ordinary user has to enter the user namespace that owns the networks first.
        user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        return ("nsenter", "--target", str(process.pid), *user, "--net", "--")

    def snapshots(self) -> list[str]:
        """The names of the snapshots of this lab."""
        return sorted(path.parent.name for path in (self.folder / "snapshots").glob(f"*/{snapshots.DESCRIPTION}"))

    def snapshot(self, name: str | Path) -> None:
        """Save all machines under ``name`` (or in the folder ``name``, if it is a path); they then go on.

        Raises InputError unless all run with their networks plugged in.
        """
        self.ask("snapshot", folder=str(self._snapshot_folder(name)))

    def partition(self, one: str, other: str) -> None:
        """Let two machines see each other no more, on any network, while the third sees both.

        The host, and with it every BMC, stays in sight of all. Only one such partition at a time.
        """
        self.ask("partition", machines=[one, other])

    def rejoin(self) -> None:
        """Undo ``partition``."""
        self.ask("partition", machines=[])

    def heal(self) -> None:
        """Undo every fault of networks, disks and BMCs, of all machines."""
        self.rejoin()
        for machine in self.machines:
            machine.heal()

    def restore(self, name: str | Path) -> None:
        """Put all machines, disks and cables back as they were in snapshot ``name``, and let them run.

        Logs and packet captures begin anew. The guests' clocks are set to now.
        """
        folder = self._snapshot_folder(name)
        snapshots.load(folder)
        self.ask("restore", folder=str(folder))

    def wait_for(self, what: str, done: Any, *, timeout_s: float, poll_s: float = _POLL_S) -> float:
        """Call ``done()`` until it is true; returns the seconds that took. ``what`` names it in the error."""
        started = time.monotonic()
        while not done():
            if time.monotonic() - started > timeout_s:
                raise PairkeepError(f"in lab {self.name}: not within {timeout_s:g} s: {what}")
            time.sleep(poll_s)
        return time.monotonic() - started

    def ask(self, do: str, **more: Any) -> Any:
        """One request to the keeper (see keeper.py); raises what it answers as an error."""
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._connect()
        try:
            return connection.ask(do, **more)
        except KeeperGone:
            del self._own.connection
            raise

    def _not_up(self) -> InputError:
        if (self.folder / keeper.STATE).exists():
            return InputError(
                f"the lab {self.name} has crashed: its keeper has ended, and its machines with it",
                hint=f"pairkeep lab --lab {self.name} down",
            )
        others = [name for name in self.names() if Lab(name).is_up()]
        return InputError(
            f"the lab {self.name} is not up",
            hint=f"up is: {', '.join(others)} (--lab NAME)" if others else "pairkeep lab up",
        )

    def _snapshot_folder(self, name: str | Path) -> Path:
        return name if isinstance(name, Path) else self.folder / "snapshots" / name

    def _start_keeper(self) -> None:
        own_users = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        command = (sys.executable, "-m", "appliance.lab.keeper", str(self.folder))
        with (self.folder / "keeper.log").open("wb") as log:
            started = subprocess.Popen(
                ["unshare", *own_users, "--net", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # The module is found from wherever this process found it.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        deadline = time.monotonic() + _KEEPER_START_S
        while not (self.folder / keeper.STATE).exists():
            if started.poll() is not None or time.monotonic() > deadline:
                started.kill()
                words = (self.folder / "keeper.log").read_text(errors="replace").strip().splitlines()
                raise PairkeepError(
                    f"the lab's networks could not be made: {(words or ['no word'])[-1]}",
                    hint="the lab needs network namespaces with bridges and taps (and user namespaces"
                    " when not run by root)",
                )
            time.sleep(0.02)

    def _connect(self) -> Connection:
        if not self.is_up():
            raise self._not_up()
        return Connection(self.folder)

    def _recorded(self) -> dict[str, Process]:
        """The processes of this lab as the keeper wrote them down."""
        try:
            state = json.loads((self.folder / keeper.STATE).read_text())
        except FileNotFoundError:
            return {}
        found = {name: Process(**process) for name, process in state["machines"].items()}
        return found if state["keeper"] is None else {**found, "keeper": Process(**state["keeper"])}

    def _clean(self) -> None:
        """With the lock held: end the keeper, which ends the machines, and whatever outlived it."""
        if self.is_up():
            with contextlib.suppress(PairkeepError):
                self.ask("quit")
        self._own = threading.local()
        self._lease = None
        recorded = self._recorded()
        # The keeper goes first, for it could still start another machine.
        for name in sorted(recorded, key=lambda name: name != "keeper"):
            recorded[name].kill()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self._topology = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f".{self.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(f"another program is starting or ending the lab {self.name}") from error
            yield
