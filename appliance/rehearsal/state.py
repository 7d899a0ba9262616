# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster as a supervisor dumped it, which is where a dry run begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.config.load import parse
from appliance.config.model import Cluster
from appliance.decide.view import ClusterView
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
