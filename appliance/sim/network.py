# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated networks: every machine has one cable to each, which carries both ways, one way, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Network:
    """``cut`` holds the pulled cables as (network, node); networks count from 1 like heartbeat links.

    ``deaf`` holds as (network, from, to) what gets lost on the way while the opposite direction works.
    ``slow``: nodes that the messages of others reach late.
    """

    networks: int
    cut: set[tuple[int, str]] = field(default_factory=set)
    deaf: set[tuple[int, str, str]] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)

    def reaches(self, network: int, sender: str, receiver: str) -> bool:
        """What ``sender`` sends arrives; an answer need not come back."""
        cut, deaf = self.cut, self.deaf
        return (
            (network, sender) not in cut
            and (network, receiver) not in cut
            and (not deaf or (network, sender, receiver) not in deaf)
        )

    def joins(self, network: int, first: str, second: str) -> bool:
        return self.reaches(network, first, second) and self.reaches(network, second, first)

    def heartbeat(self, first: str, second: str) -> bool:
        """corosync gets through while any network joins the two.

        A link of knet is up only while its pings are answered, so one direction alone is none.
        """
        return any(self.joins(n, first, second) for n in range(1, self.networks + 1))

    def whole(self, nodes: Iterable[str]) -> bool:
        if not self.cut and not self.deaf:
            return True
        nodes = list(nodes)
        return all(self.heartbeat(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :])
