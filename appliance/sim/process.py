# SPDX-License-Identifier: GPL-2.0-or-later
"""A supervisor process: the product's `Core` in a simulated `World`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from appliance.decide.messages import Message
from appliance.decide.steps import Fence, Start, Step, Stop, lane
from appliance.decide.view import Configuration, Record, State
from appliance.sim.machine import PowerCutError
from appliance.supervisor.core import BEAT_S, Core
from appliance.supervisor.world import Event

if TYPE_CHECKING:
    from appliance.sim.site import Site

# How often resources are looked at whether or not something told of a change.
MONITOR_S = 10.0
# Before a look that was in the way of a step is taken again.
LOOK_AFTER_S = 0.2
# How often a step looks whether its lane is free.
LANE_S = 0.1
# How often a lost corosync is looked for.
RECONNECT_S = 0.5


class Process:
    """One run of the supervisor. Implements `supervisor.world.World` and `sim.ring.Listener`."""

    def __init__(self, site: Site, pid: int) -> None:
        self.site = site
        self.machine = site.machine
        self.name = site.machine.name
        self.pid = pid
        self.ended = False
        self._ring = 0
        self.core = Core(site.cluster, self.name, self.machine.boot_id, self.machine.record, self, site.config)

    def start(self) -> None:
        """As service.py does it: look at everything, say ready, join. Who cannot look ends, to be started again."""
        resources = self.site.resources
        if resources.blind:
            self.after(0.0, 0.1, self.site.process_failed)
            return
        self.machine.arm(self.site.cluster.watchdog_s)
        for pair in self.site.pairs.values():
            self.drbd_changed(pair.name)
        for group in self.site.cluster.groups:
            self.core.local.observed(group.name, resources.states(group.name), count=False)
        self.core.ready()
        self._connect()
        self.after(0.05, BEAT_S, self._tick)
        self.after(1.0, MONITOR_S, self._monitor)

    def _connect(self) -> None:
        """As supervisor/ring.py does it, again and again."""
        if not self.site.corosync.join(self.name, self):
            self.after(RECONNECT_S, RECONNECT_S, self._connect)

    def after(self, least: float, most: float, action: Callable[[], None]) -> None:
        """Do ``action`` unless this process has ended by then."""
        self.machine.soon(least, most, partial(self._unless_ended, action))

    def _unless_ended(self, action: Callable[[], None]) -> None:
        if not self.ended:
            action()

    def _tick(self) -> None:
        self.after(BEAT_S, BEAT_S, self._tick)
        self.core.on_tick()

    def _monitor(self) -> None:
        self.after(MONITOR_S, MONITOR_S, self._monitor)
        self.look()

    def look(self) -> None:
        """Observe all groups, each when no step of it is under way."""
        for group in self.site.cluster.groups:
            self._look(group.name)

    def _look(self, group: str) -> None:
        if self.core.works_on(group):
            self.after(LOOK_AFTER_S, LOOK_AFTER_S, partial(self._look, group))
        else:
            self.core.on_states(group, self._states(group) or self.core.local.states(group))

    def _states(self, group: str) -> tuple[State, ...] | None:
        """None: they cannot be looked at."""
        resources = self.site.resources
        return None if group in resources.blind else resources.states(group)

    def drbd_changed(self, pair: str) -> None:
        if self.name in self.site.pairs[pair].sides:
            self.core.on_drbd(pair, self.site.pairs[pair].report(self.name))

    def end(self) -> None:
        self.ended = True
        self.site.corosync.leave(self.name, self.pid)

    # Listener ---------------------------------------------------------------------------------------

    def members(self, ring: int, processes: tuple[tuple[str, int], ...], nodes: tuple[str, ...]) -> None:
        self._ring = ring
        self.core.on_members(ring, processes, nodes)

    def message(self, sender: str, message: Message) -> None:
        self.core.on_message(sender, message)

    def quorum(self, quorate: bool) -> None:
        self.core.on_quorum(quorate)

    def lost(self) -> None:
        """corosync is gone, as in supervisor/ring.py."""
        self.core.on_quorum(False)
        self.core.on_members(self._ring, (), ())
        self._connect()

    # World ------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.machine.now()

    def multicast(self, message: Message) -> None:
        self.site.corosync.multicast(self.name, self.pid, message)

    def persist(self, record: Record) -> None:
        if self.machine.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        cut = self.site.take_cut()
        if cut == "before":
            raise PowerCutError
        self.machine.record = record
        if cut == "after":
            raise PowerCutError

    def begin(self, step: Step) -> None:
        self.site.judge.began(self.name, step)
        if self.site.story.told:
            self.site.story.tell(self.name, f"begins {self._words(step)}")
        if isinstance(step, Fence):
            self._fence(step)
        else:
            self.site.resources.perform(step, partial(self._done, step))

    def _fence(self, step: Fence) -> None:
        """As in service.py: a shot that had to wait for its lane is asked for again before it is done."""
        if step.node in self.site.resources.switching_on:
            self.after(LANE_S, LANE_S, partial(self._fence, step))
        elif not self.core.wants(step):
            self.core.on_step_dropped(step)
        else:
            self.site.resources.perform(step, partial(self._done, step))

    def _done(self, step: Step, error: str | None) -> None:
        """As in service.py: what succeeded is known, and only a failure is worth a look at the whole group."""
        if self.ended:
            return
        if self.site.story.told:
            ended = "done" if error is None else f"failed: {error}"
            self.site.story.tell(self.name, f"{self._words(step)} {ended}")
        states: tuple[State, ...] | None = None
        if isinstance(step, Start | Stop):
            states = self._states(step.group) if error is not None else None
            if states is None:
                known = list(self.core.local.states(step.group))
                known[step.index] = "started" if isinstance(step, Start) else "stopped"
                if error is not None:
                    known[step.index] = "failed"
                states = tuple(known)
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

    def take_up(self, config: Configuration) -> None:
        # Not from within Core: the loop ends once what is being handled has ended.
        self.after(0.0, 0.01, partial(self.site.take_up, config))

    def tell(self, event: Event) -> None:
        self.site.story.tell(self.name, "[{}]", event.text)

    def finished(self) -> None:
        # As above.
        self.after(0.0, 0.01, self.site.process_finished)
