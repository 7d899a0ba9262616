# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated machine: power, its own clock, its watchdog, and what survives on its disk."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from appliance.decide.view import BLANK, Record
from appliance.sim.clock import Action, Clock, Story

# How long a machine needs from power or reset to a running kernel, in seconds.
BOOT_S = (3.0, 8.0)


class PowerCutError(Exception):
    """Raised inside simulated code to end it in the middle of a call, as a power cut does."""


class Machine:
    """``on_boot`` and ``on_halt`` lists are called when the kernel starts and when all that runs is gone;
    ``on_pause`` when the whole machine stands still or goes on. ``boot_s``: how long it takes to boot."""

    def __init__(self, name: str, clock: Clock, story: Story, chance: random.Random) -> None:
        self.name = name
        self.clock = clock
        self.story = story
        self.chance = chance
        self.powered = False
        self.paused = False
        self.booted = False
        self.boots = 0
        self.boot_s = BOOT_S
        self.record: Record = BLANK
        # Its own disk takes no more writes, so the record stays as it is.
        self.full = False
        self.ring_seq = 0
        self.formatted: set[str] = set()
        self.on_boot: list[Action] = []
        self.on_halt: list[Action] = []
        self.on_pause: list[Action] = []
        self.resumed_at = float("-inf")
        self._random = chance.random
        self._lost_s = 0.0
        self._slept_s = 0.0
        self._paused_at = 0.0
        self._sleeps = False
        self._waiting: list[tuple[float, Action]] = []
        self._watchdog_due: float | None = None

    @property
    def running(self) -> bool:
        return self.powered and not self.paused

    @property
    def boot_id(self) -> str:
        return f"{self.name}-{self.boots}"

    def now(self) -> float:
        """CLOCK_BOOTTIME: stands still while the whole machine is paused, but not while it sleeps."""
        return self._awake_s() + self._slept_s

    def _awake_s(self) -> float:
        stands_still = self.clock.now - self._paused_at if self.paused else 0.0
        return self.clock.now - self._lost_s - stands_still

    def soon(self, least: float, most: float, action: Action) -> None:
        self.after(least + (most - least) * self._random(), action)

    def after(self, delay: float, action: Action) -> None:
        """Have ``action`` done after ``delay`` seconds that the machine is awake, unless it goes down first."""
        if self.paused:
            self._waiting.append((delay, action))
        else:
            self.clock.after_on(self, delay, self._lost_s, action)

    def run(self, action: Action, lost_s: float) -> None:
        if self.paused:
            self._waiting.append((self.clock.now - self._paused_at + self._lost_s - lost_s, action))
        elif self._lost_s != lost_s:
            self.clock.after_on(self, self._lost_s - lost_s, self._lost_s, action)
        else:
            self.guard(action)

    def guard(self, action: Action) -> None:
        """Run code of this machine; a power cut in the middle of it ends the machine."""
        try:
            action()
        except PowerCutError:
            self.power_off("power cut in the middle of a write of the record")

    # Power ------------------------------------------------------------------------------------

    def power_on(self) -> None:
        if self.powered:
            return
        self.powered = True
        self.boots += 1
        self.soon(*self.boot_s, self._booted)

    def found_running(self) -> None:
        """It has booted long ago; what runs on it is for others to say."""
        self.powered = self.booted = True
        self.boots += 1

    def _booted(self) -> None:
        self.booted = True
        self.story.tell(self.name, "has booted")
        for action in self.on_boot:
            action()

    def power_off(self, why: str) -> None:
        if not self.powered:
            return
        self.story.tell(self.name, why)
        self.powered = self.booted = False
        self.boots += 1
        self._waiting.clear()
        self._watchdog_due = None
        if self.paused:
            self._resume_clock()
        for action in self.on_halt:
            action()

    def reset(self, why: str) -> None:
        if self.powered:
            self.power_off(why)
            self.power_on()

    def pause(self, *, sleeps: bool = False) -> None:
        """``sleeps``: its CLOCK_BOOTTIME goes on meanwhile, as in a suspend; its timers never do."""
        if self.running:
            self.story.tell(self.name, "falls asleep" if sleeps else "is paused")
            self.paused, self._paused_at, self._sleeps = True, self.clock.now, sleeps
            for action in self.on_pause:
                action()

    def resume(self) -> None:
        if not self.paused:
            return
        self.story.tell(self.name, "goes on after {:.1f} s of pause", self.clock.now - self._paused_at)
        self._resume_clock()
        waiting, self._waiting = self._waiting, []
        for delay, action in waiting:
            self.after(delay, action)
        for action in self.on_pause:
            action()

    def _resume_clock(self) -> None:
        seconds = self.clock.now - self._paused_at
        self._lost_s += seconds
        if self._sleeps:
            self._slept_s += seconds
        self.paused = False
        self.resumed_at = self.clock.now

    # Watchdog ---------------------------------------------------------------------------------

    def arm(self, seconds: float) -> None:
        """What a new supervisor does: a watchdog that is armed already gets no new time from it.

        Otherwise a node without quorum whose supervisor is restarted would live longer than the others wait.
        """
        if self._watchdog_due is None:
            self.pet(seconds)

    def pet(self, seconds: float) -> None:
        """Arm the watchdog, or give it its full time again."""
        armed = self._watchdog_due is not None
        self._watchdog_due = self._awake_s() + seconds
        if not armed:
            self.after(seconds, self._watchdog)

    def disarm(self) -> None:
        self._watchdog_due = None

    def _watchdog(self) -> None:
        if self._watchdog_due is None:
            return
        left = self._watchdog_due - self._awake_s()
        if left > 1e-9:
            self.after(left, self._watchdog)
        else:
            self.reset("the watchdog resets it")


def wait_until(
    machine: Machine,
    ready: Callable[[], bool],
    then: Action,
    *,
    limit: float,
    otherwise: Action,
    every: float = 0.25,
) -> None:
    """Look every ``every`` seconds of ``machine``'s time; do ``otherwise`` after ``limit`` seconds."""
    if ready():
        then()
    elif limit <= 0:
        otherwise()
    else:
        again = partial(wait_until, machine, ready, then, limit=limit - every, otherwise=otherwise, every=every)
        machine.after(every, again)
