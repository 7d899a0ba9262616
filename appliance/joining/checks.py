# SPDX-License-Identifier: GPL-2.0-or-later
"""What the creating machine asks of every candidate by itself: a version and a clock that fit."""

from __future__ import annotations

from datetime import UTC, datetime

from appliance.joining.messages import Candidate

# Logs and certificates of machines further apart than this cannot be held against each other.
CLOCKS_APART_S = 60.0


def reason_against(own: Candidate, other: Candidate, now_s: float) -> str | None:
    """In words for both screens, or None. ``now_s``: this machine's clock."""
    if _release(own.version) != _release(other.version):
        return (
            f"{other.name} has Pairkeep {other.version}, {own.name} has {own.version}; expected the same on both: "
            f"start {other.name} from the image that {own.name} was started from, or the other way round"
        )
    apart = other.clock_s - now_s
    if abs(apart) > CLOCKS_APART_S:
        return (
            f"the clocks are {_span(abs(apart))} apart: {own.name} has {_shown(now_s)}, {other.name} has "
            f"{_shown(other.clock_s)}; expected at most {CLOCKS_APART_S:g} seconds"
        )
    return None


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _shown(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "no date at all"
