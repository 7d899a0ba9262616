# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated time, and the story of what happened in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

Action = Callable[[], None]


class Host(Protocol):
    """A machine as the clock sees it: what it was to do is void once ``boots`` has changed."""

    boots: int

    def run(self, action: Action, lost_s: float) -> None:
        """Do what was put off when the machine had stood still for ``lost_s`` seconds in all."""


class Clock:
    """Runs actions in the order of their time; ``now`` is in seconds since the simulation began."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Action, Host | None, int, float]] = []
        self._count = 0

    def after(self, delay: float, action: Action) -> None:
        self._count += 1
        heappush(self._due, (self.now + delay, self._count, action, None, 0, 0.0))

    def after_on(self, host: Host, delay: float, lost_s: float, action: Action) -> None:
        """``action`` of ``host``, for whose present boot alone it is meant."""
        self._count += 1
        heappush(self._due, (self.now + delay, self._count, action, host, host.boots, lost_s))

    def run_until(self, end: float) -> None:
        due = self._due
        while due and due[0][0] <= end:
            self.now, _count, action, host, boots, lost_s = heappop(due)
            if host is None:
                action()
            elif host.boots == boots:
                host.run(action, lost_s)
        self.now = end


@dataclass
class Story:
    """What happened, for a person who has to understand a failed run: (time, who, what).

    Nothing is kept unless it is ``told``: a run that went well interests nobody, and one that did not is run again.
    """

    clock: Clock
    told: bool = True
    lines: list[tuple[float, str, str]] = field(default_factory=list)

    def tell(self, who: str, text: str, *values: object) -> None:
        """``values`` are put in place of the {} in ``text``."""
        if self.told:
            self.lines.append((self.clock.now, who, text.format(*values) if values else text))

    def text(self, last: int | None = None) -> str:
        """The last ``last`` lines (None: all), one timestamped line each."""
        told = self.lines if last is None else self.lines[-last:]
        return "\n".join(f"{time:9.3f}  {who:<8} {text}" for time, who, text in told)
