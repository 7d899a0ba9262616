# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster as a supervisor dumped it, which is where a dry run begins."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from appliance.config.load import parse
from appliance.config.model import Cluster, Group
from appliance.decide.view import ClusterView, GroupReport, Report, State
from appliance.errors import InputError, PairkeepError
from appliance.membership.codec import CodecError, view_from_value


@dataclass(frozen=True)
class LiveState:
    """``node``: whose supervisor saw it so."""

    node: str
    view: ClusterView

    @property
    def cluster(self) -> Cluster:
        return self.view.cluster

    def took(self, node: str) -> dict[str, float]:
        """How long steps take on ``node``: its own last figures, and where it has none another node's."""
        reports = self.view.reports
        others = [r.took for name, r in reports.items() if name != node]
        own = [reports[node].took] if node in reports else []
        return {key: seconds for took in (*others, *own) for key, seconds in took.items()}

    def under(self, cluster: Cluster, stops: Collection[str]) -> LiveState:
        """The same nodes at the moment when they have changed to ``cluster``, with these groups stopped for it."""
        reports = {
            name: replace(
                report,
                groups={
                    g.name: _nothing(g) if g.name in stops else _share(self.cluster, report, g)
                    for g in cluster.groups
                },
            )
            for name, report in self.view.reports.items()
        }
        return LiveState(self.node, replace(self.view, cluster=cluster, reports=reports, claims={}))


def _share(cluster: Cluster, report: Report, group: Group) -> GroupReport:
    """What ``report``, made by ``cluster``, says of the resources of ``group``."""
    had = next((g for g in cluster.groups if g.name == group.name), None)
    share = report.groups.get(group.name)
    if had is None or share is None:
        return _nothing(group)
    states: dict[str, State] = dict(zip((r.id for r in had.resources), share.states, strict=True))
    fails = dict(zip((r.id for r in had.resources), share.fails, strict=True))
    ids = [r.id for r in group.resources]
    stopped: State = "stopped"
    found: tuple[State, ...] = tuple(states.get(i, stopped) for i in ids)
    return GroupReport(found, tuple(fails.get(i, 0) for i in ids), share.stuck, blocked=share.blocked)


def _nothing(group: Group) -> GroupReport:
    return GroupReport(tuple("stopped" for _ in group.resources), (0,) * len(group.resources))


def from_text(text: str, name: str) -> LiveState:
    """What `pairkeep simulate --dump` has written into the file ``name``. Raises InputError."""
    try:
        return from_value(json.loads(text))
    except (ValueError, KeyError, TypeError, CodecError) as error:
        raise InputError(
            f"{name}: found no dump of a cluster ({error})", hint="pairkeep simulate --dump"
        ) from error


def from_value(value: Mapping[str, Any]) -> LiveState:
    """What the supervisor's Dump answers. Raises PairkeepError when nothing can begin there."""
    cluster = parse(value["cluster_toml"], "cluster.toml of the dump")
    view = view_from_value(value["view"], cluster)
    if not view.members:
        raise PairkeepError(
            f"the supervisor of {value['node']} takes no part in a cluster", hint="systemctl status corosync"
        )
    if not view.complete:
        missing = " and ".join(n for n in view.members if n not in view.reports)
        raise PairkeepError(f"{missing} has not reported yet", hint="try again in a moment")
    return LiveState(value["node"], view)
