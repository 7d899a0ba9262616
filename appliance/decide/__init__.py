# SPDX-License-Identifier: GPL-2.0-or-later
"""The decision: which node runs which group, why, and what each node does next.

Pure functions over values. Every supervisor of a partition holds the same ClusterView and calls the
same ``decide``, so there is no coordinator that could fail; each node carries out its own steps only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.config.model import Cluster
from appliance.decide.eligible import absence
from appliance.decide.fencing import shots
from appliance.decide.placement import Placement, place
from appliance.decide.steps import Fence, Step, Stop, drbd_steps, group_steps, stop_step
from appliance.decide.view import NEVER, ClusterView, GroupReport


@dataclass(frozen=True)
class Decision:
    """``placements`` per group; ``steps`` per node, at most one in each lane."""

    placements: Mapping[str, Placement]
    steps: Mapping[str, tuple[Step, ...]]


def decide(view: ClusterView) -> Decision:
    """What should run where and what to do next, for the members of ``view``."""
    if not view.complete:
        missing = [n for n in view.members if n not in view.reports]
        return nothing(view.cluster, f"waiting for the report of {' and '.join(missing) or 'this node'}")
    if not view.quorate:
        alone = view.cluster.two_node and len(view.members) == 1 and view.reports[view.members[0]].quorate
        return _alone(view) if alone else nothing(view.cluster, _no_quorum(view))
    if any(report.config != view.record.config.name for report in view.reports.values()):
        return _configuring(view)
    placements: dict[str, Placement] = {}
    for group in view.cluster.groups_in_order:
        placements[group.name] = place(view, group, {name: p.node for name, p in placements.items()})
    steps: dict[str, list[Step]] = {name: [] for name in view.members}
    for group in view.cluster.groups:
        placement = placements[group.name]
        if not placement.hands_off:
            for node, step in group_steps(view, group, placement).items():
                steps[node].append(step)
    for drbd in view.cluster.drbd:
        for node, step in drbd_steps(view, drbd.name).items():
            steps[node].append(step)
    awaited = sorted({p.waits_for for p in placements.values() if p.waits_for and not p.hands_off})
    for node, targets in shots(view, awaited).items():
        steps[node] += [Fence(target) for target in targets]
    return Decision(placements, {node: tuple(todo) for node, todo in steps.items()})


def decide_without_quorum(cluster: Cluster, shares: Mapping[str, GroupReport]) -> tuple[Step, ...]:
    """What a node without quorum does, whatever else it believes: stop all its groups at once."""
    return tuple(
        stop_step(group, shares[group.name])
        for group in cluster.groups
        if group.name in shares and any(state != "stopped" for state in shares[group.name].states)
    )


def decide_to_leave(cluster: Cluster, shares: Mapping[str, GroupReport]) -> tuple[Stop, ...]:
    """What a node that shuts down does about groups for which nothing is decided: it stops them, in order."""
    held = {name for name, share in shares.items() if share.active}
    return tuple(
        stop_step(group, shares[group.name])
        for group in cluster.groups
        if group.name in held
        and not shares[group.name].stuck
        and not any(group.name in later.after for later in cluster.groups if later.name in held)
    )


def nothing(cluster: Cluster, reason: str) -> Decision:
    """Nothing is begun, for ``reason``."""
    return Decision({g.name: Placement(None, reason, hands_off=True) for g in cluster.groups}, {})


def _alone(view: ClusterView) -> Decision:
    """One of two nodes without a witness: nothing is begun before the other is surely down, and nothing ended."""
    other = next(n.name for n in view.cluster.nodes if n.name not in view.members)
    reason = f"waiting for {other}: {absence(view, other)}"
    if view.record.maintenance:
        reason = (
            f"maintenance: {other} has left and nobody switches it off; if it is: pairkeep confirm-fenced {other}"
        )
    placements = {g.name: Placement(None, reason, hands_off=True, waits_for=other) for g in view.cluster.groups}
    found = {} if view.record.maintenance else shots(view, [other])
    return Decision(placements, {node: tuple(Fence(t) for t in targets) for node, targets in found.items()})


def _configuring(view: ClusterView) -> Decision:
    """Not all run by the same cluster.toml, so they would not decide alike: nothing is begun.

    What must not run meanwhile is stopped by those that run by another version than the one to come.
    """
    config = view.record.config
    late = [n for n in view.members if view.reports[n].config != config.name]
    reason = f"waiting for {' and '.join(late)} to take up version {config.version} of cluster.toml"
    steps: dict[str, list[Step]] = {name: [] for name in late}
    for group in view.cluster.groups if not view.record.maintenance else ():
        for node in late if group.name in config.stops else ():
            share = view.reports[node].groups.get(group.name)
            if share is not None and any(state != "stopped" for state in share.states):
                steps[node].append(stop_step(group, share))
    placements = {g.name: Placement(None, reason, hands_off=True) for g in view.cluster.groups}
    return Decision(placements, {node: tuple(todo) for node, todo in steps.items()})


def _no_quorum(view: ClusterView) -> str:
    total = len(view.cluster.nodes)
    if 2 * len(view.members) > total:
        if not view.remembers:
            blank = [n for n in view.members if view.reports[n].record.stamp == NEVER]
            absent = [n.name for n in view.cluster.nodes if n.name not in view.members]
            forgetful = " and ".join(blank)
            return (
                f"no quorum: no record of what was agreed on is on {forgetful} (new or restored), so "
                f"{' and '.join(absent)} must be here once"
            )
        doubtful = [n for n in view.members if not view.reports[n].quorate]
        return f"no quorum: corosync on {' and '.join(doubtful)} does not see a majority yet"
    met = ": after a cold start both nodes have to meet first" if view.cluster.two_node else ""
    return f"no quorum: {len(view.members)} of {total} nodes are here ({', '.join(view.members)}){met}"


__all__ = ["Decision", "Placement", "Step", "decide", "decide_to_leave", "decide_without_quorum", "nothing"]
