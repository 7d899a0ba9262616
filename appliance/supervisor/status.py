# SPDX-License-Identifier: GPL-2.0-or-later
"""What the supervisor tells of itself: one JSON value for the status screen, scripts and tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from appliance.decide.eligible import absence
from appliance.decide.placement import Placement
from appliance.decide.view import Report
from appliance.supervisor.core import OUTSIDE, Core

Json = dict[str, Any]


def status(core: Core, verifies: Mapping[str, Json], events: Iterable[Json]) -> Json:
    """The whole state as this node sees it.

    ``quorate`` is corosync's word; ``acts``: something can be begun, which takes supervisors that agree besides.
    ``verifies``: per DRBD resource the running or last verify; ``events``: the last ones, oldest first.
    """
    view = core.view
    return {
        "cluster": core.cluster.name,
        "node": core.me,
        "quorate": core.quorate,
        "acts": view.quorate,
        "fencing": core.cluster.fencing,
        "votes": {"present": len(view.members), "total": len(core.cluster.nodes)},
        "settled": view.settled,
        "maintenance": view.record.maintenance,
        "config": view.record.config.version,
        "nodes": [_node(core, name.name) for name in core.cluster.nodes],
        "groups": [_group(core, group.name) for group in core.cluster.groups],
        "drbd": [
            {
                "name": drbd.name,
                "current": list(view.record.current.get(drbd.name, ())),
                "established": drbd.name in view.record.current,
                "nodes": {
                    name: asdict(report.drbd[drbd.name])
                    for name, report in _reports(core).items()
                    if drbd.name in report.drbd
                },
                "verify": verifies.get(drbd.name),
            }
            for drbd in core.cluster.drbd
        ],
        "events": list(events),
    }


def why(core: Core, name: str) -> Json:
    """Why group ``name`` is where it is, and what speaks against each other node."""
    placement = core.decision.placements[name]
    return {
        "group": name,
        "node": placement.node,
        "state": _state(core, name, placement)[0],
        "reason": placement.reason,
        "nodes": dict(placement.nodes),
    }


def _reports(core: Core) -> Mapping[str, Report]:
    """What nodes say of themselves. One that is in no ring knows how it does itself all the same."""
    return core.view.reports if core.me in core.view.members else {core.me: core.news()}


def _node(core: Core, name: str) -> Json:
    view = core.view
    report: Report | None = _reports(core).get(name)
    if name == core.me and name not in view.members:
        state, detail = "offline", OUTSIDE
    elif name not in view.members and not core.quorate:
        # It may well be that the others go on without this one.
        state, detail = "offline", "not seen from here: this node has no quorum and knows nothing of it"
    elif name not in view.members:
        state, detail = "offline", absence(view, name)
    elif report is None:
        state, detail = "silent", "it has not reported yet"
    elif name in view.record.standby:
        state, detail = "standby", ""
    elif report.leaving or report.stopping:
        state, detail = "leaving", ""
    else:
        state, detail = "online", "" if report.quorate else "without quorum"
    return {
        "name": name,
        "state": state,
        "detail": detail,
        "votes_only": core.cluster.node(name).votes_only,
        "fence_devices": [device.agent for device in core.cluster.node(name).fence],
        "warnings": list(report.warnings) if report else [],
        "boot_id": report.boot_id if report else None,
        "up_to_date": report is not None and report.config == view.record.config.name,
    }


def _group(core: Core, name: str) -> Json:
    group = core.cluster.group(name)
    placement = core.decision.placements[name]
    state, holder = _state(core, name, placement)
    # A node that does not run by the same cluster.toml yet may have fewer resources in it.
    shares = {n: r.groups[name] for n, r in _reports(core).items() if name in r.groups}
    share = shares[holder] if holder else None
    elsewhere = "unknown" if state == "unknown" else "stopped"
    return {
        "name": name,
        "state": state,
        "node": holder,
        "target": placement.node,
        "ordered": core.view.record.wanted.get(name),
        "reason": placement.reason,
        "nodes": dict(placement.nodes),
        "resources": [
            {
                "id": resource.id,
                "state": next(iter(share.states[index:]), "stopped") if share else elsewhere,
                "fails": {n: next(iter(s.fails[index:]), 0) for n, s in shares.items()},
            }
            for index, resource in enumerate(group.resources)
        ],
    }


def _state(core: Core, name: str, placement: Placement) -> tuple[str, str | None]:
    """In one word how the group does, and on which node it is, wholly or in part."""
    for node, report in _reports(core).items():
        share = report.groups.get(name)
        if share is None or not share.active:
            continue
        if share.stuck:
            return "stuck", node
        if share.running:
            return "running", node
        if "failed" in share.states:
            return "failed", node
        return ("starting" if placement.node == node else "stopping"), node
    if placement.node:
        return "starting", None
    return ("unknown" if any(_is_unseen(core, n.name) for n in core.cluster.workers) else "stopped"), None


def _is_unseen(core: Core, node: str) -> bool:
    """What runs there is not known: it has not reported, or is away and not surely down."""
    down = core.quorate and core.view.surely_down(node)
    return node not in _reports(core) and not down
