# SPDX-License-Identifier: GPL-2.0-or-later
"""When this node may change over to the configuration that is on record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from appliance.config.model import Cluster
from appliance.decide.view import ClusterView, Configuration
from appliance.supervisor.absences import Absences
from appliance.supervisor.local import LocalState

# How long nodes that left while the cluster changes to another configuration are waited for: as long as a
# supervisor's restart may take on a slow machine. Nothing is decided meanwhile.
CHANGE_S = 60.0


@dataclass
class Changeover:
    """Of node ``me``, which runs by ``config``; ``now`` gives monotonic seconds.

    One node after the other: a machine on which a supervisor starts slowly must not lose all of them at once, or
    the watchdogs reset all. So who has left since the change began is waited for, within reason.
    """

    cluster: Cluster
    me: str
    config: Configuration
    local: LocalState
    absences: Absences
    now: Callable[[], float]
    _begun: str | None = None
    # The configuration that nodes are changing to, and since when.
    _change: tuple[str | None, float] = (None, 0.0)

    def due(self, view: ClusterView, *, working: bool) -> Configuration | None:
        """The configuration to take up now, which is given once; ``working``: a step is under way here.

        It is in force for good, what it changes is stopped here, and it is this node's turn.
        """
        config = view.record.config
        if config.name in (self.config.name, self._begun):
            return None
        if self._change[0] != config.name:
            self._change = (config.name, self.now())
        if not (view.settled and view.quorate):
            return None
        late = [n for n in view.members if view.reports[n].config != config.name]
        began = self._change[1]
        out = self.now() - began < CHANGE_S and self.absences.left_since(began)
        if late[:1] != [self.me] or out or working or any(map(self._has, config.stops)):
            return None
        self._begun = config.name
        return config

    def _has(self, group: str) -> bool:
        return any(g.name == group for g in self.cluster.groups) and self.local.is_active(group)
