# SPDX-License-Identifier: GPL-2.0-or-later
"""Where each group should run, or why nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.config.model import Group
from appliance.decide.eligible import absence, obstacle, worn_out
from appliance.decide.view import ClusterView


@dataclass(frozen=True)
class Placement:
    """``node`` should run the group (None: nobody); ``hands_off``: nothing may be started or stopped.

    ``reason`` says why in one sentence, ``nodes`` what speaks against each node that is not chosen.
    ``waits_for``: the node that has to be known to be down before the group can go on.
    """

    node: str | None
    reason: str
    nodes: tuple[tuple[str, str], ...] = ()
    hands_off: bool = False
    waits_for: str | None = None


def place(view: ClusterView, group: Group) -> Placement:
    """Decide for one group. The view must be quorate and its record adopted."""
    holders = [n for n in view.members if _active(view, group, n)]
    against = _against(view, group)
    if view.record.maintenance:
        where = f"runs on {holders[0]}" if holders else "does not run"
        return Placement(
            holders[0] if holders else None, f"maintenance: {where}, left as it is", against, hands_off=True
        )
    for name in holders:
        if view.reports[name].stopping:
            reason = f"runs on {name}, left as it is while the supervisor there is stopped"
            return Placement(name, reason, against, hands_off=True)
    unsure = [n.name for n in view.cluster.workers if n.name not in view.members and not view.surely_down(n.name)]
    if len(holders) > 1:
        owners = [n for n in holders if _owns(view, group, n)]
        # A node that was away too long still holds what it has: its copy lacks the other's newer writes.
        owners.sort(key=lambda n: obstacle(view, group, n) is not None)
        keeper = next(iter(owners), None)
        return Placement(keeper, f"found on {' and '.join(holders)} at once; the others stop it", against)
    for name in holders:
        stuck = view.reports[name].groups[group.name].stuck
        if stuck:
            reason = f"{stuck}; nothing can start elsewhere until {name} is reset"
            return Placement(name, reason, against, waits_for=name)
    if holders and (not unsure or _owns(view, group, holders[0])):
        return _stay_or_move(view, group, holders[0], against)
    if unsure:
        name = unsure[0]
        return Placement(None, f"waiting for {name}: {absence(view, name)}", against, waits_for=name)
    return _fresh(view, group, against)


def _active(view: ClusterView, group: Group, node: str) -> bool:
    share = view.reports[node].groups.get(group.name)
    return share is not None and share.active


def _owns(view: ClusterView, group: Group, node: str) -> bool:
    """The group's first resource is up on ``node``: what the others depend on is this node's already."""
    return view.reports[node].groups[group.name].states[0] == "started"


def _against(view: ClusterView, group: Group) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for node in view.cluster.workers:
        reason = obstacle(view, group, node.name)
        if reason is None and node.name in view.members:
            reason = worn_out(view, group, node.name)
        if reason is not None:
            found.append((node.name, reason))
    return tuple(found)


def _stay_or_move(view: ClusterView, group: Group, here: str, against: tuple[tuple[str, str], ...]) -> Placement:
    speaks = dict(against)
    free = [n for n in _ranking(view, group) if n not in speaks]
    wanted = view.record.wanted.get(group.name)
    if wanted in free and wanted != here:
        return Placement(wanted, f"moving to {wanted} as ordered", against)
    if here in free:
        if group.failback and group.prefer in free and group.prefer != here:
            return Placement(group.prefer, f"moving back to {group.prefer}, which it prefers", against)
        runs = view.reports[here].groups[group.name].running
        return Placement(here, f"{'runs' if runs else 'is being started'} on {here}", against)
    if free:
        return Placement(free[0], f"moving to {free[0]}; {here}: {speaks[here]}", against)
    if obstacle(view, group, here) is None:
        return Placement(here, f"stays on {here} although {speaks[here]}: no other node can run it", against)
    return Placement(None, f"cannot stay on {here}: {speaks[here]}; no other node can run it", against)


def _fresh(view: ClusterView, group: Group, against: tuple[tuple[str, str], ...]) -> Placement:
    speaks = dict(against)
    free = [n for n in _ranking(view, group) if n not in speaks]
    # A start that has begun goes on, even if another node would be better by now.
    free.sort(key=lambda n: n != view.claims.get(group.name))
    if free:
        return Placement(free[0], f"starts on {free[0]}", against)
    worn = [n for n in _ranking(view, group) if n in view.members and obstacle(view, group, n) is None]
    if worn:
        return Placement(worn[0], f"tries {worn[0]} again although {speaks[worn[0]]}", against)
    return Placement(None, "no node can run it", against)


def _ranking(view: ClusterView, group: Group) -> list[str]:
    """Nodes in the order in which they are tried: ordered, preferred, then the file's order."""
    first = (view.record.wanted.get(group.name), group.prefer)
    names = [n.name for n in view.cluster.workers]
    return sorted(names, key=lambda n: (first.index(n) if n in first else len(first), names.index(n)))
