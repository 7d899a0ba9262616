# SPDX-License-Identifier: GPL-2.0-or-later
"""A formed pair under a client's load: what demo, scenarios and benchmarks do things to."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab import topology
from appliance.lab.cluster import formed
from appliance.lab.collect import collect
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.pair import SERVICE_ADDRESS
from appliance.lab.spec import Topology
from appliance.lab.watch import WORKERS, RoleWatch
from appliance.lab.writer import Acknowledged, read_log

Status = dict[str, Any]
STATUS_CALL = (
    *("busctl", "--json=short", "call", "org.pairkeep.Supervisor1", "/org/pairkeep/Supervisor1"),
    "org.pairkeep.Supervisor1",
)
WRITER = (sys.executable, "-m", "appliance.lab.writer")
# Of a cluster of which no machine answers: what can be asked of any status. No version is in force, not even 0.
UNHEARD: Status = {
    "quorate": False,
    "votes": {"present": 0, "total": 0},
    "settled": False,
    "maintenance": False,
    "config": -1,
    "nodes": [],
    "groups": [],
    "drbd": [],
}
# A minute is several times what anything here usually takes; it bounds tests and asserts nothing.
PATIENCE_S = 180.0
# What a client may wait for a service that nobody has touched. A busy host that stalls costs it a time-out and a
# new connection (1.3 s, writer.py), perhaps again and again. A takeover costs more: 13 s for the watchdog alone.
# A restart in place may cost less, and shows in the server's process.
UNTOUCHED_S = 8.0
# Asking costs the machines processor time that a takeover needs.
POLL_S = 1.0


@dataclass(frozen=True)
class Verdict:
    """What must hold at the end of every scenario, as found."""

    acknowledged: int
    lost: tuple[int, ...]
    both_primary_s: float
    disks: dict[str, str]

    @property
    def sound(self) -> bool:
        return not self.lost and self.both_primary_s == 0


class Trial:
    """One run on a restored pair. ``rows`` are the acknowledged rows up to now."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.log = lab.folder / "acknowledged.jsonl"
        self._writer: subprocess.Popen[str] | None = None
        self._watch = RoleWatch(lab)

    @property
    def rows(self) -> list[Acknowledged]:
        return read_log(self.log) if self.log.exists() else []

    def ask(self, machine: str, method: str) -> Any:
        """The value of one of the supervisor's D-Bus methods without arguments, asked on ``machine``."""
        answer = self.lab[machine].exec([*STATUS_CALL, method], timeout_s=10).stdout
        return json.loads(json.loads(answer)["data"][0])

    def status(self, machine: str | None = None) -> Status:
        """The status as ``machine`` sees it; without one, as the first that has quorum does, if any has."""
        first = UNHEARD
        for name in (machine,) if machine else ("witness", *WORKERS):
            with contextlib.suppress(PairkeepError):
                answer: Status = self.ask(name, "Status")
                if answer["quorate"] or machine:
                    return answer
                first = first if first["nodes"] else answer
        return first

    def wait(
        self,
        what: str,
        true: Callable[[Status], object],
        *,
        machine: str | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> Status:
        """Wait until ``true`` holds for the status; returns that status. The error shows the last one."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status(machine)
            if true(status):
                return status
            if time.monotonic() > deadline:
                raise PairkeepError(f"not within {timeout_s:g} s: {what}; status: {json.dumps(status)[:3000]}")
            time.sleep(POLL_S)

    def running_on(self, machine: str | None = None) -> str | None:
        """Where the group runs, wholly; None when it does not."""
        return running_on(self.status(machine))

    @property
    def active(self) -> Machine:
        """The machine with the service. Waits for it: right after a restore the ring may be forming again."""
        return self.lab[self.wait_running()]

    def other(self, machine: Machine) -> Machine:
        return self.lab[next(name for name in WORKERS if name != machine.name)]

    def wait_running(self, node: str | None = None, *, timeout_s: float = PATIENCE_S) -> str:
        """Wait until the group runs (on ``node``); returns where."""
        status = self.wait(
            f"the group runs {f'on {node}' if node else ''}",
            lambda s: (here := running_on(s)) is not None and (node is None or here == node),
            timeout_s=timeout_s,
        )
        return str(running_on(status))

    def wait_paired(self, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until both disks are UpToDate and connected, and on record as such."""
        self.wait("both disks are UpToDate", paired, timeout_s=timeout_s)

    def start_writer(self) -> None:
        self._writer = self.lab.popen_client([*WRITER, str(self.log)], stdout=subprocess.DEVNULL)

    def wait_rows(self, count: int, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until ``count`` more rows than now are acknowledged."""
        goal = len(self.rows) + count
        self.lab.wait_for(f"{count} more rows", lambda: len(self.rows) >= goal, timeout_s=timeout_s, poll_s=0.1)

    def pause_writer(self) -> None:
        """Let the client stand still, its connection open."""
        self._signal_writer(signal.SIGSTOP)

    def resume_writer(self) -> None:
        self._signal_writer(signal.SIGCONT)

    def _signal_writer(self, number: signal.Signals) -> None:
        if self._writer is None:
            raise PairkeepError("there is no client")
        self._writer.send_signal(number)

    def order_switchover(self, node: str) -> None:
        """Order the group to ``node``, by way of the witness, and wait for nothing."""
        order = ["systemd-run", "--quiet", "--collect", "pairkeep", "switchover", "shop", node]
        self.lab["witness"].exec(order, timeout_s=60)

    def stop_writer(self) -> None:
        if self._writer is not None:
            self._writer.send_signal(signal.SIGTERM)
            self._writer.wait(timeout=30)
            self._writer = None

    def start(self) -> None:
        """Begin to watch the roles and to write."""
        self._watch.start()
        self.start_writer()

    def begin(self, rows: int) -> tuple[Machine, Machine]:
        """`start`, and wait for ``rows``; returns the active machine and the standby."""
        self.start()
        self.wait_rows(rows)
        active = self.active
        return active, self.other(active)

    def stop(self) -> None:
        """End the client and the watching."""
        self.stop_writer()
        self._watch.stop()

    def finish(self) -> Verdict:
        """Stop the client, and see what the database holds of what was acknowledged.

        Raises PairkeepError when nobody has seen what the verdict tells of.
        """
        self.stop()
        rows = {row.row for row in self.rows}
        held: set[int] = set()
        if rows:
            found = self.lab.run_client([*WRITER, str(self.log), "--check"], timeout_s=60).stdout
            held = set(json.loads(found))
        sides = self.status()["drbd"]
        if sides:
            self._watch.require_sight()
        disks = {name: side["disk"] for drbd in sides for name, side in drbd["nodes"].items()}
        return Verdict(len(rows), tuple(sorted(rows - held)), self._watch.both_primary_s(), disks)


def reason(status: Status) -> str:
    """Why the group does not run and what speaks against each node, in the product's words."""
    return "; ".join(
        part
        for group in status["groups"]
        for part in (group["reason"], *(f"{node}: {why}" for node, why in group["nodes"].items()))
    )


def running_on(status: Status) -> str | None:
    return next((g["node"] for g in status["groups"] if g["state"] == "running"), None)


def paired(status: Status) -> bool:
    """Both disks are UpToDate, connected, and on record as current."""
    return bool(status["drbd"]) and all(
        len(drbd["nodes"]) == len(drbd["current"]) == len(WORKERS)
        and all(s["disk"] == "UpToDate" and s["connection"] == "Connected" for s in drbd["nodes"].values())
        for drbd in status["drbd"]
    )


def waiting_for(lab: Lab) -> str | None:
    """What a lab that is being formed still lacks, in words; None when its cluster is ready for scenarios."""
    trial = Trial(lab)
    status = trial.status()
    online = [n["name"] for n in status["nodes"] if n["state"] == "online"]
    if len(online) < len(lab.machines):
        return f"{len(online)} of {len(lab.machines)} nodes take part"
    group = status["groups"][0]
    if group["state"] != "running":
        return f"{group['name']} is {group['state']}: {group['reason']}"
    if not paired(status) or not status["settled"]:
        return "the disks are not both UpToDate"
    reached = lab.run_client([*WRITER, "/dev/null", "--ping"], check=False, timeout_s=20).returncode == 0
    return None if reached else f"the database does not answer at {SERVICE_ADDRESS}"


@contextlib.contextmanager
def trial(name: str, progress: Progress, machines: Topology | None = None) -> Iterator[Trial]:
    """A restored pair of its own (of ``machines``, or the plain one), taken down at the end.

    Nothing is written to it yet.
    """
    with formed(name, machines or topology.pair(progress), waiting_for, progress) as lab:
        yield Trial(lab)


def events(trial: Trial, machine: str) -> list[dict[str, Any]]:
    """What happened on ``machine``, oldest first."""
    found: list[dict[str, Any]] = trial.ask(machine, "Events")
    return found


def keep_evidence(trial: Trial, folder: Path) -> None:
    """After a failure: everything that may tell why."""
    collect(trial.lab, folder)
    if trial.log.exists():
        (folder / trial.log.name).write_text(trial.log.read_text())
