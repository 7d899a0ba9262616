# SPDX-License-Identifier: GPL-2.0-or-later
"""What groups have to do with each other: who runs with whom, apart from whom, and after whom.

A group's place depends on those that it names, never the other way round, so the ones named are placed first.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.config.model import Group
from appliance.decide.view import ClusterView, GroupReport

# Where the groups that were placed already are to run; None for nowhere.
Placed = Mapping[str, str | None]


def share_of(view: ClusterView, group: str, node: str) -> GroupReport | None:
    """What ``node`` says of ``group``; None when it does not know it, or is not here."""
    report = view.reports.get(node)
    return report.groups.get(group) if report is not None else None


def is_active(view: ClusterView, group: str, node: str) -> bool:
    """Something of ``group`` runs on ``node``, or may."""
    share = share_of(view, group, node)
    return share is not None and share.active


def misplaced(view: ClusterView, group: Group, node: str, placed: Placed) -> str | None:
    """Why ``node`` is no place for ``group``, given where the groups that it names are."""
    if group.leader is not None:
        where = placed[group.leader]
        if where is None:
            return f"it runs with {group.leader}, which runs nowhere"
        if where != node:
            return f"it runs with {group.leader}, which belongs on {where}"
    for other in group.apart_from:
        if placed[other] == node:
            return f"it keeps apart from {other}, which belongs there"
        if is_active(view, other, node):
            return f"it keeps apart from {other}, which is still there"
    return None


def awaited(view: ClusterView, group: Group, placed: Placed) -> str | None:
    """What has to happen before ``group`` may run, or why it may run no longer; None when it may.

    A group that was started stays while one that it comes after is restarted in place; when that one leaves its
    node, it is stopped first.
    """
    runs = any(is_active(view, group.name, node) for node in view.members)
    for name in group.after:
        where = placed[name]
        leaving = [node for node in view.members if node != where and is_active(view, name, node)]
        share = share_of(view, name, where) if where is not None else None
        if leaving:
            return f"it runs after {name}, which is leaving {leaving[0]}"
        if share is None:
            return f"it runs after {name}, which runs nowhere"
        if not (share.active if runs else share.running):
            return f"it runs after {name}, which does not run yet"
    return None


def forbidden(view: ClusterView, group: Group, node: str) -> str | None:
    """Why nobody can order ``group`` to ``node``, as the groups stand now."""
    if group.leader is not None:
        return f"it runs with {group.leader}, so that is what has to be moved"
    near = next((other for other in group.apart_from if is_active(view, other, node)), None)
    return f"it keeps apart from {near}, which runs there" if near is not None else None


def may_stop(view: ClusterView, group: Group) -> bool:
    """Nothing that runs after ``group`` is still there."""
    later = [g.name for g in view.cluster.groups if group.name in g.after]
    return not any(_is_held(view, name, node) for name in later for node in view.members)


def may_start(view: ClusterView, group: Group, node: str) -> bool:
    """Nothing that keeps apart from ``group`` is still on ``node``."""
    shy = [g.name for g in view.cluster.groups if group.name in g.apart_from]
    return not any(_is_held(view, name, node) for name in shy)


def _is_held(view: ClusterView, group: str, node: str) -> bool:
    """As `is_active`, or about to be."""
    share = share_of(view, group, node)
    return share is not None and share.holds
