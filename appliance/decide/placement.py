# SPDX-License-Identifier: GPL-2.0-or-later
"""Where each group should run, or why nowhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

from appliance.config.model import Group
from appliance.decide.company import Placed, awaited, is_active, misplaced
from appliance.decide.eligible import absence, obstacle, worn_out
from appliance.decide.view import ClusterView

# What speaks against nodes, by name.
Against = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Placement:
    """``node`` should run the group (None: nobody); ``hands_off``: nothing may be started or stopped.

    ``reason`` says why in one sentence, ``nodes`` what speaks against each node that is not chosen.
    ``waits_for``: the node that has to be known to be down before the group can go on.
    """

    node: str | None
    reason: str
    nodes: Against = ()
    hands_off: bool = False
    waits_for: str | None = None


def place(view: ClusterView, group: Group, placed: Placed) -> Placement:
    """Decide for one group, given where those are to run that its place depends on.

    The view must be quorate and its record adopted.
    """
    found = _place(view, group, placed)
    blocked = [s for n in view.members if (s := view.reports[n].groups.get(group.name)) and s.blocked]
    return replace(found, reason=f"{found.reason}; {blocked[0].blocked}") if blocked else found


def _place(view: ClusterView, group: Group, placed: Placed) -> Placement:
    holders = [n for n in view.members if is_active(view, group.name, n)]
    against = _against(view, group, placed)
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
    waits = awaited(view, group, placed)
    if holders and waits is not None:
        return Placement(None, waits, against)
    if holders and (not unsure or _owns(view, group, holders[0])):
        return _stay_or_move(view, group, holders[0], against, placed)
    if unsure:
        name = unsure[0]
        return Placement(None, f"waiting for {name}: {absence(view, name)}", against, waits_for=name)
    if waits is not None:
        return Placement(None, waits, against)
    return _fresh(view, group, against, placed)


def _possible(view: ClusterView, group: Group, node: str, placed: Placed) -> bool:
    """It may run there, whether or not another node would be better."""
    return obstacle(view, group, node) is None and misplaced(view, group, node, placed) is None


def _owns(view: ClusterView, group: Group, node: str) -> bool:
    """The group's first resource is up on ``node``: what the others depend on is this node's already."""
    return view.reports[node].groups[group.name].states[0] == "started"


def _against(view: ClusterView, group: Group, placed: Placed) -> Against:
    found: list[tuple[str, str]] = []
    for node in (n.name for n in view.cluster.workers):
        reason = obstacle(view, group, node) or misplaced(view, group, node, placed)
        if reason is None:
            reason = worn_out(view, group, node) or _followers_suffer(view, group, node)
        if reason is not None:
            found.append((node, reason))
    return tuple(found)


def _followers_suffer(view: ClusterView, group: Group, node: str) -> str | None:
    """What speaks against ``node`` for a group that has to go where this one goes."""
    for follower in view.cluster.followers(group.name):
        reason = obstacle(view, follower, node) or worn_out(view, follower, node)
        if reason is not None:
            return f"{follower.name}, which runs with it: {reason}"
    return None


def _stay_or_move(view: ClusterView, group: Group, here: str, against: Against, placed: Placed) -> Placement:
    speaks = dict(against)
    free = [n for n in _ranking(view, group) if n not in speaks]
    wanted = view.record.wanted.get(group.name)
    if wanted in free and wanted != here:
        return Placement(wanted, f"moving to {wanted} as ordered", against)
    if here in free:
        better = None if wanted == here else _better(view, group, here, free)
        if better is not None:
            return Placement(better, f"moving back to {better}, which it prefers", against)
        runs = view.reports[here].groups[group.name].running
        return Placement(here, f"{'runs' if runs else 'is being started'} on {here}", against)
    if free:
        return Placement(free[0], f"moving to {free[0]}; {here}: {speaks[here]}", against)
    if _possible(view, group, here, placed):
        least, *others = _worn(view, group, placed, first=here)
        if least != here and not view.reports[here].groups[group.name].running:
            return Placement(least, f"tries {least} again; {here}: {speaks[here]}", against)
        other = next((n for n in (least, *others) if n != here), None)
        why = "no other node can run it" if other is None else f"{other}: {speaks[other]}"
        return Placement(here, f"stays on {here} although {speaks[here]}; {why}", against)
    return Placement(None, f"cannot stay on {here}: {speaks[here]}; no other node can run it", against)


def _better(view: ClusterView, group: Group, here: str, free: list[str]) -> str | None:
    """Where the group likes to be so much more than ``here`` that it moves back without need."""
    if not group.failback:
        return None
    for node in free:
        waited = group.failback_delay_s == 0 or group.name in view.reports[node].fit
        if waited and group.score(node) > group.score(here) + group.stickiness:
            return node
    return None


def _fresh(view: ClusterView, group: Group, against: Against, placed: Placed) -> Placement:
    speaks = dict(against)
    free = [n for n in _ranking(view, group) if n not in speaks]
    # A start that has begun goes on, even if another node would be better by now.
    free.sort(key=lambda n: n != view.claims.get(group.name))
    if free:
        return Placement(free[0], f"starts on {free[0]}", against)
    worn = _worn(view, group, placed, first=view.claims.get(group.name))
    if worn:
        return Placement(worn[0], f"tries {worn[0]} again although {speaks[worn[0]]}", against)
    return Placement(None, "no node can run it", against)


def _worn(view: ClusterView, group: Group, placed: Placed, first: str | None) -> list[str]:
    """Nodes that could run the group had it not failed there, where it failed least first; ``first`` of equal ones.

    Each try that fails counts there, so that they take turns: what one of them lacks may be back by now.
    """
    possible = [n for n in _ranking(view, group) if n in view.members and _possible(view, group, n, placed)]
    return sorted(possible, key=lambda n: (sum(view.reports[n].groups[group.name].fails), n != first))


def _ranking(view: ClusterView, group: Group) -> list[str]:
    """Nodes in the order in which they are tried: ordered, by their points, then the file's order."""
    wanted = view.record.wanted.get(group.name)
    return sorted((n.name for n in view.cluster.workers), key=lambda n: (n != wanted, -group.score(n)))
