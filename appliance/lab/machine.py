# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine of a lab: what can be done to it from outside, and programs run inside it."""

from __future__ import annotations

import base64
import contextlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import InputError, PairkeepError
from appliance.lab import qemu
from appliance.lab.pair import DATA_DISK

if TYPE_CHECKING:
    from appliance.lab.lab import Lab

_PANIC = "Kernel panic - not syncing"


@dataclass(frozen=True)
class Machine:
    """One machine of a lab: what can be done to it, and programs run inside it."""

    lab: Lab
    name: str

    @property
    def folder(self) -> Path:
        """Where its serial log (``console.log``), packet captures and sockets are."""
        return self.lab.folder / self.name

    def exec(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine as root, by way of the guest agent.

        Raises PairkeepError when the agent is silent or the program has not ended after ``timeout_s``,
        and, with ``check``, when it does not exit with 0.
        """
        answer = self._ask(
            "exec",
            argv=list(argv),
            timeout_s=timeout_s,
            stdin=None if stdin is None else base64.b64encode(stdin.encode()).decode(),
        )
        out, err = (base64.b64decode(answer[key]).decode(errors="replace") for key in ("stdout", "stderr"))
        if check and answer["returncode"] != 0:
            said = (err or out).strip()[-2000:]
            raise PairkeepError(f"on {self.name}: {' '.join(argv)} ended with {answer['returncode']}: {said}")
        return subprocess.CompletedProcess(list(argv), answer["returncode"], out, err)

    def read_text(self, path: str) -> str:
        """A file of the guest, up to 64 KiB. Costs the guest less than running cat, for it starts nothing."""
        data: str = self._ask("read", path=path, timeout_s=5.0)
        return base64.b64decode(data).decode(errors="replace")

    def console(self) -> str:
        """What it has printed on its serial line since it was first started or restored."""
        return (self.folder / qemu.CONSOLE_LOG).read_text(errors="replace")

    def state(self) -> str:
        """ "running", "paused", another word of QEMU's, or "off"."""
        return str(self.lab.status()["machines"][self.name]["state"])

    def answers(self, timeout_s: float = 2.0) -> bool:
        """Whether its guest agent answers: it has booted, and lives."""
        try:
            self._ask("agent", command="guest-ping", arguments={}, timeout_s=timeout_s)
        except PairkeepError:
            return False
        return True

    def wait_booted(self, timeout_s: float = 240.0) -> float:
        """Wait until its guest agent answers; returns the seconds."""
        what = f"{self.name} answers ({self.folder / qemu.CONSOLE_LOG} tells how far it got)"
        return self.lab.wait_for(what, self.answers, timeout_s=timeout_s)

    def power_off(self) -> None:
        """Cut the power: QEMU is killed, nothing is told to the guest. Returns when it is off."""
        self._ask("power_off")

    def power_on(self) -> None:
        """Give it power; it boots. Raises InputError when it is on."""
        self._ask("power_on")

    def reset(self) -> None:
        """Press its reset button."""
        self.qmp("system_reset")

    def pause(self) -> None:
        """Stop its processor: it does nothing, and does not know."""
        self.qmp("stop")

    def resume(self) -> None:
        self.qmp("cont")

    def panic(self) -> None:
        """Crash its kernel; returns when it has panicked. It starts again by itself after 10 s."""
        if (state := self.state()) != "running":
            raise InputError(f"{self.name} is {state}: only a running machine can panic")
        before = self.console().count(_PANIC)
        crash = {"path": "/bin/sh", "arg": ["-c", "echo c > /proc/sysrq-trigger"]}
        # The kernel may be gone before the agent could answer.
        with contextlib.suppress(PairkeepError):
            self._ask("agent", command="guest-exec", arguments=crash, timeout_s=3.0)
        self.lab.wait_for(
            f"{self.name} panics", lambda: self.console().count(_PANIC) > before, timeout_s=15, poll_s=0.05
        )

    def unplug(self, network: int) -> None:
        """Pull the cable of its card in ``network``; the machine sees its carrier go."""
        self._ask("link", network=network, up=False)

    def plug(self, network: int) -> None:
        """Put the cable of its card in ``network`` back."""
        self._ask("link", network=network, up=True)

    def drop(self, network: int, way: str) -> None:
        """Drop what the machine sends to ``network`` (``way`` "out") or should get from it ("in")."""
        self._ask("drop", network=network, way=way, on=True)

    def deliver(self, network: int, way: str) -> None:
        """Undo ``drop``."""
        self._ask("drop", network=network, way=way, on=False)

    def break_disk(self, fault: str, disk: str = DATA_DISK) -> None:
        """``fault`` "errors": each read and write fails; "hang": none of them ends."""
        self._ask("disk", disk=disk, fault=fault)

    def mend_disk(self, disk: str = DATA_DISK) -> None:
        """Undo ``break_disk``. What hung ends now."""
        self._ask("disk", disk=disk, fault=None)

    def mute_bmc(self) -> None:
        """Let its BMC answer nothing, and forget what it is asked. Raises InputError without a BMC."""
        self._ask("bmc", mute=True)

    def unmute_bmc(self) -> None:
        self._ask("bmc", mute=False)

    def slow_bmc(self, delay_s: float) -> None:
        """Let its BMC take ``delay_s`` over each packet, of which a session has seven; 0 undoes it."""
        self._ask("bmc", delay_s=delay_s)

    def heal(self) -> None:
        """Repair cables, cards, disks and BMC. What goes on inside the machine is not touched (inside.py)."""
        self._ask("heal")

    def kill_process(self, pattern: str, number: int = signal.SIGKILL, *, parent: int | None = None) -> None:
        """Send a signal to each process whose command line matches ``pattern`` (pkill(1), --full).

        ``parent``: only to children of this process. Raises PairkeepError when there is none.
        """
        which = [] if parent is None else ["--parent", str(parent)]
        done = self.exec(["pkill", f"-{int(number)}", *which, "--full", "--", pattern], check=False)
        if done.returncode != 0:
            raise PairkeepError(f"no process on {self.name} matches {pattern!r} {done.stderr}".strip())

    def main_pid(self, unit: str) -> int:
        """The number of a service's main process; 0 without one."""
        return int(self.exec(["systemctl", "show", "-P", "MainPID", unit]).stdout)

    def qmp(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """One QMP command's answer (QEMU's QMP reference)."""
        return self._ask("qmp", command=command, arguments=dict(arguments or {}))

    def _ask(self, do: str, **more: Any) -> Any:
        return self.lab.ask(do, machine=self.name, **more)
