# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the seconds of an outage went, from the client's log and the survivor's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from appliance.errors import PairkeepError
from appliance.lab.writer import Acknowledged, longest_outage

# The kind of resource in an event's resource id -> the phase that its start makes.
PHASES = {"drbd": "promote", "filesystem": "mount", "service": "service_start", "address": "address"}


@dataclass(frozen=True)
class Breakdown:
    """Seconds. ``total`` is between two acknowledged rows, and the sum of all others.

    ``between_steps`` is what passes from one step's end to the next one's start, ``client`` what the client
    takes to connect again once the address is there.
    """

    total: float
    detection: float
    safety_wait: float
    promote: float
    mount: float
    service_start: float
    address: float
    between_steps: float
    client: float

    @property
    def takeover(self) -> float:
        """From the survivor's first step to the end of its last: what a hand-written script does as well."""
        return self.promote + self.mount + self.service_start + self.address + self.between_steps

    def as_json(self) -> dict[str, float]:
        return {
            **{key: round(value, 3) for key, value in asdict(self).items()},
            "takeover": round(self.takeover, 3),
        }


def breakdown(
    cut_at: float, lost: str, rows: Sequence[Acknowledged], events: Sequence[dict[str, Any]]
) -> Breakdown:
    """Take apart the outage that began when ``lost`` lost power at ``cut_at`` (Unix time).

    ``events`` are the survivor's. Its clock and the host's are set equal when a cluster is restored. Raises
    PairkeepError when they do not tell of the loss.
    """
    outage = longest_outage(list(rows), since=cut_at)
    after = [event for event in events if event["at"] >= cut_at]
    left = next((e["at"] for e in after if e["kind"] == "left" and e["node"] == lost), None)
    if left is None:
        raise PairkeepError(f"the survivor did not see {lost} leave after the cut", hint="was the host overloaded?")
    starts = [
        event for event in after if event["kind"] == "step" and event["step"] == "start" and event["at"] > left
    ]
    phases = {PHASES[event["resource"].partition(":")[0]]: float(event["seconds"]) for event in starts}
    began = starts[0]["at"] - starts[0]["seconds"]
    ended = starts[-1]["at"]
    return Breakdown(
        total=outage.seconds,
        detection=left - outage.last_before,
        safety_wait=began - left,
        **phases,
        between_steps=ended - began - sum(phases.values()),
        client=outage.first_after - ended,
    )
