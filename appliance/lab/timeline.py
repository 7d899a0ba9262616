# SPDX-License-Identifier: GPL-2.0-or-later
"""A picture of a failover: acknowledged writes over time, with what happened marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

WIDTH, HEIGHT = 960, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 96, 44
# Rows are counted in slots of this many seconds.
SLOT_S = 0.5


@dataclass(frozen=True)
class Mark:
    """Something that happened at Unix time ``at``."""

    at: float
    text: str
    colour: str = "#555"


@dataclass(frozen=True)
class _Bar:
    x: float
    y: float
    width: float
    height: float


_TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined, autoescape=True
).get_template("timeline.svg.j2")


def svg(title: str, rows: Sequence[float], marks: Sequence[Mark], gap: tuple[float, float] | None = None) -> str:
    """``rows``: Unix times of acknowledged writes; ``gap``: the outage, from and to."""
    start, end = rows[0], max(rows[-1], *(mark.at for mark in marks))
    floor = HEIGHT - BOTTOM
    scale = (WIDTH - LEFT - RIGHT) / max(end - start, 1.0)
    slots = [0] * (int((end - start) / SLOT_S) + 1)
    for at in rows:
        slots[int((at - start) / SLOT_S)] += 1
    most = max(slots)

    def x(at: float) -> float:
        return round(LEFT + (at - start) * scale, 1)

    def bar(slot: int, count: int) -> _Bar:
        height = round((floor - TOP - 10) * count / most, 1)
        return _Bar(x(start + slot * SLOT_S), floor - height, round(max(1.0, SLOT_S * scale - 0.5), 1), height)

    step = next(s for s in (5, 10, 20, 30, 60, 120, 300, 600) if (end - start) / s <= 14 or s == 600)
    return _TEMPLATE.render(
        title=title,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        top=TOP,
        floor=floor,
        most=int(most / SLOT_S),
        bars=[bar(slot, count) for slot, count in enumerate(slots) if count],
        gap=_Bar(x(gap[0]), TOP, round((gap[1] - gap[0]) * scale, 1), floor - TOP) if gap else None,
        # Text to the left of a late mark, and each on a line of its own, so that none hides another.
        marks=[
            {
                "x": x(mark.at),
                "y": 40 + 13 * (number % 5),
                "text": mark.text,
                "colour": mark.colour,
                "anchor": "end" if x(mark.at) > WIDTH * 0.7 else "start",
                "shift": -4 if x(mark.at) > WIDTH * 0.7 else 4,
            }
            for number, mark in enumerate(sorted(marks, key=lambda mark: mark.at))
        ],
        ticks=[{"x": x(start + s), "text": s} for s in range(0, int(end - start) + 1, step)],
    )
