# SPDX-License-Identifier: GPL-2.0-or-later
"""A supervisor process: the product's `Core` in a simulated `World`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from appliance.decide.messages import Message
from appliance.decide.steps import Start, Step, Stop, lane
from appliance.decide.view import Record
from appliance.sim.machine import PowerCutError
from appliance.supervisor.core import BEAT_S, Core
from appliance.supervisor.world import Event

if TYPE_CHECKING:
    from appliance.sim.site import Site

# How often resources are looked at whether or not something told of a change.
MONITOR_S = 10.0


class Process:
    """One run of the supervisor. Implements `supervisor.world.World` and `sim.ring.Listener`."""

    def __init__(self, site: Site, pid: int) -> None:
        self.site = site
        self.machine = site.machine
        self.name = site.machine.name
        self.pid = pid
        self.ended = False
        self.core = Core(site.cluster, self.name, self.machine.boot_id, self.machine.record, self)

    def start(self) -> None:
        """As service.py does it: look at everything, say ready, join."""
        self.machine.arm(self.site.cluster.watchdog_s)
        for pair in self.site.pairs.values():
            self.drbd_changed(pair.name)
        for group in self.site.cluster.groups:
            states = self.site.resources.states(group)
            self.core.local.observed(group.name, states, count=False)
        self.core.ready()
        self.site.corosync.join(self.name, self)
        self.after(0.05, BEAT_S, self._tick)
        self.after(1.0, MONITOR_S, self._monitor)

    def after(self, least: float, most: float, action: Callable[[], None]) -> None:
        """Do ``action`` unless this process has ended by then."""
        self.machine.soon(least, most, lambda: None if self.ended else action())

    def _tick(self) -> None:
        self.after(BEAT_S, BEAT_S, self._tick)
        self.core.on_tick()

    def _monitor(self) -> None:
        self.after(MONITOR_S, MONITOR_S, self._monitor)
        self.look()

    def look(self) -> None:
        """Observe all groups."""
        for group in self.site.cluster.groups:
            self.core.on_states(group.name, self.site.resources.states(group))

    def drbd_changed(self, pair: str) -> None:
        if self.name in self.site.pairs[pair].sides:
            self.core.on_drbd(pair, self.site.pairs[pair].report(self.name))

    def end(self) -> None:
        self.ended = True
        self.site.corosync.leave(self.name, self.pid)

    # Listener ---------------------------------------------------------------------------------------

    def members(self, ring: int, processes: tuple[tuple[str, int], ...], nodes: tuple[str, ...]) -> None:
        self.core.on_members(ring, processes, nodes)

    def message(self, sender: str, message: Message) -> None:
        self.core.on_message(sender, message)

    def quorum(self, quorate: bool) -> None:
        self.core.on_quorum(quorate)

    # World ------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.machine.now()

    def multicast(self, message: Message) -> None:
        self.site.corosync.multicast(self.name, self.pid, message)

    def persist(self, record: Record) -> None:
        cut = self.site.take_cut()
        if cut == "before":
            raise PowerCutError
        self.machine.record = record
        if cut == "after":
            raise PowerCutError

    def begin(self, step: Step) -> None:
        self.site.judge.began(self.name, step)
        self.site.story.tell(self.name, f"begins {self._words(step)}")
        self.site.resources.perform(step, partial(self._done, step))

    def _done(self, step: Step, error: str | None) -> None:
        if self.ended:
            return
        if error is not None:
            self.site.story.tell(self.name, f"{self._words(step)} failed: {error}")
        group = self.site.cluster.group(step.group) if isinstance(step, Start | Stop) else None
        states = self.site.resources.states(group) if group else None
        self.core.on_step_done(step, error, states)

    def _words(self, step: Step) -> str:
        if isinstance(step, Start | Stop):
            resource = self.site.cluster.group(step.group).resources[step.index].id
            return f"{type(step).__name__.lower()} of {resource}"
        return f"{type(step).__name__.lower()} of {lane(step)}"

    def pet(self) -> None:
        self.machine.pet(self.site.cluster.watchdog_s)

    def disarm(self) -> None:
        self.machine.disarm()

    def answer(self, drbd: str, code: int) -> None:
        self.site.fence_answered(drbd, code)

    def tell(self, event: Event) -> None:
        self.site.story.tell(self.name, f"[{event.text}]")

    def finished(self) -> None:
        # Not from within Core: the loop ends once what is being handled has ended.
        self.after(0.0, 0.01, self.site.process_finished)
