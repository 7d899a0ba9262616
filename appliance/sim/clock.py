# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated time, and the story of what happened in it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

Action = Callable[[], None]


@dataclass
class Clock:
    """Runs actions in the order of their time; ``now`` is in seconds since the simulation began."""

    now: float = 0.0
    _due: list[tuple[float, int, Action]] = field(default_factory=list)
    _count: int = 0

    def after(self, delay: float, action: Action) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + delay, self._count, action))

    def run_until(self, end: float) -> None:
        while self._due and self._due[0][0] <= end:
            self.now, _count, action = heapq.heappop(self._due)
            action()
        self.now = end


@dataclass
class Story:
    """What happened, for a person who has to understand a failed run: (time, who, what)."""

    clock: Clock
    lines: list[tuple[float, str, str]] = field(default_factory=list)

    def tell(self, who: str, text: str) -> None:
        self.lines.append((self.clock.now, who, text))

    def text(self, last: int | None = None) -> str:
        """The last ``last`` lines (None: all), one timestamped line each."""
        told = self.lines if last is None else self.lines[-last:]
        return "\n".join(f"{time:9.3f}  {who:<8} {text}" for time, who, text in told)
