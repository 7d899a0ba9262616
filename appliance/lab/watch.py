# SPDX-License-Identifier: GPL-2.0-or-later
"""Watches both disks throughout a scenario: at no moment may two machines be Primary."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from itertools import pairwise

from appliance.errors import PairkeepError
from appliance.lab.lab import Lab

PERIOD_S = 0.4
WORKERS = ("alpha", "beta")
SILENT = "silent"


@dataclass(frozen=True)
class Sample:
    """What a machine said of its role at some moment between ``asked`` and ``answered`` (monotonic s)."""

    asked: float
    answered: float
    role: str


@dataclass(frozen=True)
class Interval:
    """A machine was surely Primary all the time from ``start`` to ``end``."""

    start: float
    end: float


def primary_intervals(samples: list[Sample]) -> list[Interval]:
    """The times between two answers that both said Primary; what lay before the first is not claimed."""
    return [
        Interval(first.answered, second.asked)
        for first, second in pairwise(samples)
        if first.role == second.role == "Primary" and second.asked > first.answered
    ]


def overlap_s(first: list[Interval], second: list[Interval]) -> float:
    """For how many seconds both were Primary."""
    return sum(max(0.0, min(a.end, b.end) - max(a.start, b.start)) for a in first for b in second)


class RoleWatch:
    """Samples /proc/drbd on both workers from `start` to `stop`, in threads of its own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._end = threading.Event()
        self.samples: dict[str, list[Sample]] = {name: [] for name in WORKERS}
        self._threads = [threading.Thread(target=self._watch, args=(name,), daemon=True) for name in WORKERS]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def both_primary_s(self) -> float:
        alpha, beta = (primary_intervals(self.samples[name]) for name in WORKERS)
        return overlap_s(alpha, beta)

    def require_sight(self) -> None:
        """Raise PairkeepError when nothing was seen that could tell of two Primaries. Only where DRBD is.

        A fault may silence a machine, but not for the whole of a scenario: each answers before it, or after it.
        """
        roles = {name: {sample.role for sample in samples} for name, samples in self.samples.items()}
        unseen = [name for name, seen in roles.items() if not seen - {SILENT}]
        if unseen or not any("Primary" in seen for seen in roles.values()):
            raise PairkeepError(f"the roles were not seen, of {' and '.join(unseen or ['a Primary'])}: {roles}")

    def _watch(self, name: str) -> None:
        while not self._end.wait(PERIOD_S):
            asked = time.monotonic()
            try:
                text = self._lab[name].read_text("/proc/drbd")
                found = re.search(r"\bro:(\w+)/", text)
                role = found[1] if found else "Unconfigured"
            except PairkeepError:
                role = SILENT
            self.samples[name].append(Sample(asked, time.monotonic(), role))
