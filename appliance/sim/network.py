# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated networks: every machine has one cable to each, which is plugged or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Network:
    """``cut`` holds the pulled cables as (network, node); networks count from 1 like heartbeat links."""

    networks: int
    cut: set[tuple[int, str]] = field(default_factory=set)

    def joins(self, network: int, first: str, second: str) -> bool:
        return (network, first) not in self.cut and (network, second) not in self.cut

    def heartbeat(self, first: str, second: str) -> bool:
        """corosync gets through while any network joins the two."""
        return any(self.joins(n, first, second) for n in range(1, self.networks + 1))

    def whole(self, nodes: Iterable[str]) -> bool:
        nodes = list(nodes)
        return all(self.heartbeat(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :])
