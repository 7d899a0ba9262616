# SPDX-License-Identifier: GPL-2.0-or-later
"""What switches a simulated machine off, as the fence driver sees it: an agent's off, and then its status."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from appliance.sim.clock import Action
from appliance.sim.machine import Machine

# It works; refuses; gives no answer; says that it did and did not; or does it after the agent was given up.
Mood = Literal["works", "fails", "hangs", "lies", "late"]
MOODS: tuple[Mood, ...] = ("fails", "hangs", "lies", "late")

OFF_S = (1.0, 5.0)
LATE_S = (0.5, 15.0)
# Between off and on the driver looks whether it is off.
ON_S = (1.0, 4.0)


class Device:
    """Of ``target``; whoever uses it does so by its own clock. ``shots``: how often that was not off already.
    ``off_s``: how long it takes."""

    def __init__(self, target: Machine, timeout_s: float) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self.mood: Mood = "works"
        self.shots = 0
        self.off_s = OFF_S

    def off(self, shooter: Machine, done: Callable[[str | None], None]) -> None:
        """``done`` gets an error, or None when the machine is off and its status says so."""
        match self.mood:
            case "works":
                shooter.soon(*self.off_s, partial(self._off, shooter, done))
            case "hangs" | "late":
                shooter.after(self.timeout_s, partial(done, f"no answer within {self.timeout_s:.0f} s"))
                if self.mood == "late":
                    shooter.soon(
                        self.timeout_s + LATE_S[0], self.timeout_s + LATE_S[1], partial(self._late, shooter)
                    )
            case "lies":
                shooter.soon(*self.off_s, partial(self._check, done))
            case _:
                shooter.soon(*self.off_s, partial(done, "the agent failed"))

    def _off(self, shooter: Machine, done: Callable[[str | None], None]) -> None:
        self._cut(shooter)
        done(None)

    def _late(self, shooter: Machine) -> None:
        if self.mood == "late":
            self._cut(shooter)

    def _cut(self, shooter: Machine) -> None:
        if self.target.powered:
            self.shots += 1
        self.target.power_off(f"is switched off by {shooter.name}")

    def _check(self, done: Callable[[str | None], None]) -> None:
        done("its status still says on" if self.target.powered else None)

    def on(self, shooter: Machine, done: Action) -> None:
        def end() -> None:
            self.target.power_on()
            done()

        shooter.soon(*ON_S, end)
