# SPDX-License-Identifier: GPL-2.0-or-later
"""One simulated machine with all that runs on it: corosync, the supervisor, DRBD's fence-peer handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Literal

from appliance.config.model import Cluster, Service
from appliance.decide.view import Configuration
from appliance.sim.clock import Story
from appliance.sim.disks import Pair
from appliance.sim.judge import Judge
from appliance.sim.machine import Machine
from appliance.sim.process import Process
from appliance.sim.resources import Resources
from appliance.sim.ring import Corosync
from appliance.supervisor.core import Core
from appliance.supervisor.exclusions import PEER_FENCED, PEER_OUTDATED

COROSYNC_STARTS_S = (0.3, 1.5)
SUPERVISOR_STARTS_S = (0.3, 2.0)


@dataclass
class _Handler:
    """A running fence-peer handler; ``meetings``: how often the kernel had met its peer when it began."""

    meetings: int
    waits: bool = False


class Site:
    """One machine with all that runs on it. ``known``: clusters by the texts that describe them."""

    def __init__(
        self, cluster: Cluster, machine: Machine, pairs: dict[str, Pair], corosync: Corosync, judge: Judge
    ) -> None:
        # Written out, as mypy infers no types across the circle of Site, Process and Judge.
        self.cluster: Cluster = cluster
        self.machine: Machine = machine
        self.pairs: dict[str, Pair] = pairs
        self.corosync: Corosync = corosync
        self.judge: Judge = judge
        self.story: Story = machine.story
        self.resources: Resources = Resources(cluster, machine, pairs, judge.mounted)
        self.resources.changed = self._changed
        self.process: Process | None = None
        self.config: Configuration = machine.record.config
        self.known: dict[str, Cluster] = {"": cluster}
        self.cut: Literal["before", "after"] | None = None
        self._handlers: dict[str, list[_Handler]] = {d.name: [] for d in cluster.drbd}
        self._pids = count(100)
        machine.on_boot.append(self._booted)
        machine.on_halt.append(self._halted)

    def _booted(self) -> None:
        # As upkeep/versions.py: after a boot nothing runs that another version could still look after.
        self._configure(self.machine.record.config)
        self.machine.soon(*COROSYNC_STARTS_S, self._start_corosync)

    def _start_corosync(self) -> None:
        self._restart_corosync()
        self.machine.soon(*SUPERVISOR_STARTS_S, self.start_supervisor)

    def _halted(self) -> None:
        if self.process is not None:
            self.process.ended = True
            self.process = None
        for handlers in self._handlers.values():
            handlers.clear()
        self.corosync.halt(self.machine.name)

    def _changed(self) -> None:
        if self.process is not None:
            self.process.after(0.01, 0.1, self.process.look)

    # The supervisor ---------------------------------------------------------------------------------

    def start_supervisor(self, prepare: Callable[[Core], None] = lambda _core: None) -> None:
        """``prepare`` is called before it takes part."""
        if self.process is None and self.machine.powered and self.machine.booted:
            self.story.tell(self.machine.name, "supervisor starts")
            self.process = Process(self, next(self._pids))
            prepare(self.process.core)
            self.process.start()

    def kill_supervisor(self) -> None:
        """SIGKILL; systemd starts it again.

        Assumes that the watchdog's descriptor outlives the process, in systemd's descriptor store: closing
        it gives the watchdog its full time again (watchdog_release in watchdog_dev.c, Linux 6.12), and so
        a cut-off machine would live longer than the others wait.
        """
        if self.process is not None:
            self.story.tell(self.machine.name, "supervisor is killed")
            self._end()
            self.resources.orphaned()
            self.machine.soon(*SUPERVISOR_STARTS_S, self.start_supervisor)

    def process_finished(self) -> None:
        if self.process is not None:
            leaving = self.process.core.leaving
            self.story.tell(self.machine.name, "supervisor has ended")
            self._end()
            if leaving:
                self.machine.power_off("is shut down")

    def _end(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None
        for drbd, handlers in self._handlers.items():
            for handler in handlers:
                self._later(drbd, handler)

    def process_failed(self) -> None:
        """It has ended by itself before it took part; systemd starts it again."""
        self.story.tell(self.machine.name, "supervisor cannot look at its resources, and ends")
        self._end()
        self.machine.soon(*SUPERVISOR_STARTS_S, self.start_supervisor)

    def take_up(self, config: Configuration) -> None:
        """The supervisor has ended in order to be started again by another configuration."""
        self.story.tell(self.machine.name, "takes up version {} of cluster.toml", config.version)
        self._end()
        self._configure(config)
        self.machine.soon(*SUPERVISOR_STARTS_S, self.start_supervisor)

    def _configure(self, config: Configuration) -> None:
        self.config = config
        self.cluster = self.known.get(config.text, self.cluster)
        self.resources.configure(self.cluster)

    def crash_corosync(self) -> None:
        """systemd starts it again; the supervisor runs on meanwhile."""
        if self.corosync.ring_of(self.machine.name):
            self.story.tell(self.machine.name, "corosync crashes")
            self.corosync.crash(self.machine.name)
            self.machine.soon(*COROSYNC_STARTS_S, self._restart_corosync)

    def _restart_corosync(self) -> None:
        if not self.corosync.ring_of(self.machine.name):
            self.corosync.start(self.machine.name)

    def io_error(self, drbd: str) -> None:
        """A database that cannot write ends."""
        for group in self.cluster.groups:
            for resource in group.resources if drbd in group.drbd else ():
                if isinstance(resource, Service):
                    self.resources.fail(resource)

    def take_cut(self) -> Literal["before", "after"] | None:
        """An armed power cut hits the next write of the record, once."""
        cut, self.cut = self.cut, None
        return cut

    def spare(self) -> None:
        """Disarm a power cut that has not hit."""
        self.cut = None

    # The fence-peer handler -------------------------------------------------------------------------

    def ask_fence(self, drbd: str) -> None:
        """The kernel starts the handler."""
        handler = _Handler(self.pairs[drbd].sides[self.machine.name].meetings)
        self._handlers[drbd].append(handler)
        self.machine.soon(0.02, 0.3, partial(self._call, drbd, handler))

    def _call(self, drbd: str, handler: _Handler) -> None:
        if self.process is None:
            self._later(drbd, handler)
        else:
            handler.waits = True
            self.process.core.on_fence_request(drbd)

    def _later(self, drbd: str, handler: _Handler) -> None:
        handler.waits = False
        self.machine.after(1.0, partial(self._call, drbd, handler))

    def fence_answered(self, drbd: str, code: int) -> None:
        waiting = [h for h in self._handlers[drbd] if h.waits]
        if not waiting and code in (PEER_OUTDATED, PEER_FENCED):
            self.machine.soon(0.02, 0.1, partial(self.pairs[drbd].resume_io, self.machine.name))
        for handler in waiting:
            self._handlers[drbd].remove(handler)
            answer = partial(self.pairs[drbd].fence_answer, self.machine.name, code, handler.meetings)
            self.machine.soon(0.005, 0.05, answer)
