# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an operator may order a group to; the supervisor and a dry run of it refuse alike."""

from __future__ import annotations

from appliance.config.model import Group
from appliance.decide.company import forbidden, is_active
from appliance.decide.eligible import obstacle, worn_out
from appliance.decide.view import ClusterView
from appliance.errors import InputError


def holder(view: ClusterView, group: str) -> str | None:
    """The node on which ``group`` is, wholly or in part."""
    return next((node for node in view.members if is_active(view, group, node)), None)


def destination(view: ClusterView, group: Group, node: str = "") -> str:
    """``node``, or without one the best other than the present, if ``group`` can go there. Raises InputError."""
    if view.record.maintenance:
        raise InputError("the cluster is in maintenance", hint="pairkeep maintenance off")
    if not view.quorate:
        raise InputError("there is no quorum, so nothing can be moved", hint="pairkeep status")
    here = holder(view, group.name)
    reasons: list[str] = []
    for name in [node] if node else [n.name for n in view.cluster.workers if n.name != here]:
        reason = forbidden(view, group, name) or obstacle(view, group, name)
        if reason is None and (worn := worn_out(view, group, name)) is not None:
            reason = f"{worn} (pairkeep cleanup {group.name}, once that is repaired)"
        if reason is None:
            return name
        reasons.append(f"{name}: {reason}")
    raise InputError(f"{group.name} cannot go to {'; '.join(reasons)}")
