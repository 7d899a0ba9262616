# SPDX-License-Identifier: GPL-2.0-or-later
"""When this node may change over to the configuration that is on record."""

from __future__ import annotations

from collections.abc import Callable

from appliance.config.model import Cluster
from appliance.decide.view import ClusterView, Configuration
from appliance.supervisor.absences import Absences
from appliance.supervisor.local import LocalState

# How long nodes that left while the cluster changes to another configuration are waited for: as long as a
# supervisor's restart may take on a slow machine. Nothing is decided meanwhile.
CHANGE_S = 60.0


class Changeover:
    """Of node ``me``, which runs by ``config``; ``now`` gives monotonic seconds.

    One node after the other: a machine on which a supervisor starts slowly must not lose all of them at once, or
    the watchdogs reset all. So who has left since the change began is waited for, within reason.
    """

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        config: Configuration,
        local: LocalState,
        absences: Absences,
        now: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._config = config
        self._local = local
        self._absences = absences
        self._now = now
        self._begun: str | None = None
        # The configuration that nodes are changing to, and since when.
        self._change = (config.name, 0.0)

    def due(self, view: ClusterView, *, working: bool) -> Configuration | None:
        """The configuration to take up now, which is given once; ``working``: a step is under way here.

        It is in force for good, what it changes is stopped here, and it is this node's turn.
        """
        config = view.record.config
        if config.name in (self._config.name, self._begun):
            return None
        if self._change[0] != config.name:
            self._change = (config.name, self._now())
        if not (view.settled and view.quorate):
            return None
        late = [n for n in view.members if view.reports[n].config != config.name]
        began = self._change[1]
        out = self._now() - began < CHANGE_S and self._absences.left_since(began)
        if late[:1] != [self._me] or out or working or any(map(self._has, config.stops)):
            return None
        self._begun = config.name
        return config

    def _has(self, group: str) -> bool:
        return any(g.name == group for g in self._cluster.groups) and self._local.is_active(group)
