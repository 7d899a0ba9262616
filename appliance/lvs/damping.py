# SPDX-License-Identifier: GPL-2.0-or-later
"""No storms: what is told of one thing within a minute is told once, and the rest of it as a digest.

A server that comes and goes says so once a minute; a switch that takes five hundred along fills one message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_S = 60.0
# So many things may have their own message within a window; of all the others one tells.
AT_ONCE = 10
# A digest names so many.
NAMED = 50


@dataclass
class _Held:
    """What was not told of one thing since ``until`` was set."""

    until: float
    changes: int = 0
    last: str = ""


@dataclass
class Damper:
    """Times are seconds of one clock, whichever."""

    window_s: float = WINDOW_S
    at_once: int = AT_ONCE
    _held: dict[str, _Held] = field(default_factory=dict)
    # A window after the last digest: things become due one by one, and each digest takes all of them along.
    _next_digest: float = 0.0

    def offer(self, now: float, subject: str, text: str) -> str | None:
        """``text`` if it is to be told at once; otherwise it is kept for a digest."""
        held = self._held.get(subject)
        if held is None:
            told = sum(1 for other in self._held.values() if not other.changes)
            self._held[subject] = held = _Held(now + self.window_s)
            if told < self.at_once:
                return text
        held.changes += 1
        held.last = text
        return None

    def due(self, now: float) -> list[str]:
        """The lines of the digest whose time has come; empty for none.

        Whatever else is held goes into it as well, so that a storm takes one digest a window.
        """
        if not any(self._due(held) <= now for held in self._held.values() if held.changes):
            self._held = {s: held for s, held in self._held.items() if held.changes or held.until > now}
            return []
        self._next_digest = now + self.window_s
        lines: list[str] = []
        for subject, held in list(self._held.items()):
            if held.changes:
                times = f" ({held.changes} changes)" if held.changes > 1 else ""
                lines.append(f"{held.last}{times}")
                # It was told of just now.
                self._held[subject] = _Held(now + self.window_s)
            elif held.until <= now:
                del self._held[subject]
        more = len(lines) - NAMED
        return [*lines[:NAMED], *([f"and {more} more"] if more > 0 else [])]

    def next_due(self) -> float | None:
        """When ``due`` is to be asked next."""
        return min(map(self._due, self._held.values()), default=None)

    def _due(self, held: _Held) -> float:
        return max(held.until, self._next_digest) if held.changes else held.until
