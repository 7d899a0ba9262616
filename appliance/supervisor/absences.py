# SPDX-License-Identifier: GPL-2.0-or-later
"""The nodes that are not here: since when, and what this node knows of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from appliance.config.model import Cluster
from appliance.decide.view import ClusterView, FenceTrouble, Report


@dataclass
class Absences:
    """As node ``me`` sees it. ``now`` gives monotonic seconds.

    ``fence_troubles``: whom this node failed to switch off in the present membership.
    """

    cluster: Cluster
    me: str
    now: Callable[[], float]
    _since: dict[str, float] = field(default_factory=dict)
    fence_troubles: dict[str, FenceTrouble] = field(default_factory=dict)
    # Said farewell, or were switched off.
    _gone: set[str] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)
    _ring: frozenset[str] = frozenset()
    # Had a group, by the last that was heard of them.
    _had_groups: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._since = {n.name: self.now() for n in self.cluster.nodes if n.name != self.me}

    def membership_changed(self, before: ClusterView, members: Sequence[str], ring: Sequence[str]) -> None:
        """``members``: whose supervisors take part; ``ring``: whose corosync does."""
        for node, report in before.reports.items():
            holds = any(share.active for share in report.groups.values())
            (self._had_groups.add if holds else self._had_groups.discard)(node)
        self._ring = frozenset(ring)
        self.fence_troubles.clear()
        self._seen.update(members)
        # Whoever is here has to prove anew that it is gone.
        self._gone.difference_update(members)
        now = self.now()
        for node in (n.name for n in self.cluster.nodes if n.name != self.me):
            if node in members:
                self._since.pop(node, None)
            else:
                self._since.setdefault(node, now)

    def recall(self, report: Report) -> None:
        """Know again of absent nodes what a report of this node told."""
        self._gone.update(report.down)
        self._seen.update(report.suspects)
        self.fence_troubles.update(report.fence_troubles)

    def set_gone(self, node: str) -> None:
        """It said farewell, or it was switched off; true until it is a member again."""
        self._gone.add(node)

    def in_ring(self, node: str) -> bool:
        """Its corosync is here, whether or not its supervisor is."""
        return node in self._ring

    def left_since(self, moment: float) -> bool:
        """Somebody is not here who was here then."""
        return any(since >= moment for since in self._since.values())

    def is_gone(self, node: str) -> bool:
        return node in self._gone

    def down(self, detached: Container[str]) -> tuple[str, ...]:
        """Absent nodes on which nothing of ours can run.

        Those that are ``detached`` may run their services for ever without a word, unless they were switched off.
        """
        silent = {n for n in self._since if n not in detached and self._is_down(n)}
        return tuple(sorted(silent | (self._gone & self._since.keys())))

    def suspects(self) -> tuple[str, ...]:
        """Those that fell out of the ring without a word. One that was never here is given the time to boot.

        Where only its supervisor is missing, that is restarted, or the watchdog resets the node.
        """
        return tuple(sorted(n for n in self._since if self._is_suspect(n)))

    def may_shoot(self, node: str, *, active: bool) -> bool:
        """Of two nodes without a witness that lost each other, the one with the service (``active``) is first.

        The other waits, so that they do not switch each other off. When both have a group, the first in the
        file goes first.
        """
        since = self._since.get(node)
        if since is None or not self.cluster.two_node:
            return True
        first = active and (node not in self._had_groups or self.me == self.cluster.nodes[0].name)
        return first or self.now() - since >= self.cluster.fence_delay_s

    def fence_failed(self, node: str, error: str) -> None:
        had = self.fence_troubles.get(node)
        self.fence_troubles[node] = FenceTrouble(1 + (had.tries if had else 0), error)

    def _is_down(self, node: str) -> bool:
        return node in self._gone or (self.cluster.silence_means_down and self._is_silent_long(node))

    def _is_suspect(self, node: str) -> bool:
        lost = node in self._seen or (self.cluster.two_node and self._is_silent_long(node))
        return lost and node not in self._ring and not self._is_down(node)

    def _is_silent_long(self, node: str) -> bool:
        return self.now() - self._since[node] >= self.cluster.safety_wait_s
