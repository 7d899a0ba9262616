# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a disk gets done what it was asked for, by the kernel's own counters: asking it would hang as well.

The fields are those of Documentation/block/stat.rst of the kernel.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Fields that count finished requests: reads, writes, discards, flushes. What older kernels do not have is 0.
_FINISHED = (0, 4, 11, 15)
_IN_FLIGHT = 8
MOST_S = 5.0


@dataclass(frozen=True)
class Activity:
    """``finished`` requests since the disk is there, and how many are ``in_flight`` now."""

    finished: int
    in_flight: int


def parse_stat(text: str) -> Activity:
    """``text``: of a block device's ``stat`` file."""
    fields = [int(word) for word in text.split()]
    return Activity(sum(fields[i] for i in _FINISHED if i < len(fields)), fields[_IN_FLIGHT])


def activity(disk: str) -> Activity | None:
    """Of the block device ``disk`` (a path); None when it is not there."""
    try:
        number = Path(disk).stat().st_rdev
        return parse_stat(Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat").read_text())
    except OSError:
        return None


class Standstill:
    """Of one disk: for how long it has had something to do and has finished nothing."""

    def __init__(self) -> None:
        self._finished = -1
        self._last = 0.0
        self._seconds = 0.0

    def seen(self, now: float, found: Activity | None) -> float:
        """Seconds up to ``now``, a clock that never goes back.

        Between two looks counts for no more than MOST_S: a machine that stood still gave its disk no time either.
        """
        idle = found is None or found.in_flight == 0 or found.finished != self._finished
        self._finished = found.finished if found is not None else -1
        self._seconds = 0.0 if idle else self._seconds + min(now - self._last, MOST_S)
        self._last = now
        return self._seconds
