# SPDX-License-Identifier: GPL-2.0-or-later
"""Since when this node could run the groups that wait a while before they move back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.config.model import Cluster
from appliance.decide import Decision


@dataclass
class Fitness:
    """Of node ``me``; ``now`` gives monotonic seconds."""

    cluster: Cluster
    me: str
    now: Callable[[], float]
    _since: dict[str, float] = field(default_factory=dict)

    def decided(self, decision: Decision) -> None:
        """A decision with quorum says what speaks against this node."""
        for group in self.cluster.groups:
            if group.failback_delay_s == 0:
                continue
            if self.me in dict(decision.placements[group.name].nodes):
                self._since.pop(group.name, None)
            else:
                self._since.setdefault(group.name, self.now())

    def fit(self) -> tuple[str, ...]:
        """Groups for which nothing has spoken against this node for as long as they wait."""
        delays = {group.name: group.failback_delay_s for group in self.cluster.groups}
        return tuple(sorted(g for g, since in self._since.items() if self.now() - since >= delays[g]))
