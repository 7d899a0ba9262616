# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a node may run a group, and if not, why not, in words."""

from __future__ import annotations

from appliance.config.model import Group
from appliance.decide.fencing import suspected, trouble
from appliance.decide.view import ClusterView, DrbdReport


def obstacle(view: ClusterView, group: Group, node: str) -> str | None:
    """Why ``node`` must not run ``group``; None when it may."""
    if view.cluster.node(node).votes_only:
        return "it only votes"
    if node in group.never:
        return "its score there is never"
    if node not in view.members:
        return absence(view, node)
    report = view.reports.get(node)
    if report is None:
        return "it has not reported yet"
    if node in view.record.standby:
        return "it is in standby"
    if report.leaving:
        return "it is shutting down"
    if report.stopping:
        return "its supervisor is stopping"
    share = report.groups.get(group.name)
    if share is None:
        return "its configuration does not have this group"
    if share.stuck:
        return share.stuck
    if report.unwritten and not share.active:
        return report.unwritten
    for drbd in group.drbd:
        reason = _stale(view, node, drbd, report.drbd.get(drbd, DrbdReport()))
        if reason is not None:
            return reason
    return None


def worn_out(view: ClusterView, group: Group, node: str) -> str | None:
    """What speaks for moving the group away from ``node``, if it can be moved.

    A lost disk, failures, no room for the record, or a network that reaches less than the other node's.
    """
    if view.reports[node].unwritten:
        return view.reports[node].unwritten
    share = view.reports[node].groups[group.name]
    for drbd in group.drbd:
        if view.reports[node].drbd.get(drbd, DrbdReport()).works_on_peers_disk:
            return f"its disk of {drbd} has failed, it works on the other node's"
    for resource, count in zip(group.resources, share.fails, strict=True):
        if count >= group.migration_threshold:
            return f"{resource.id} has failed there too often"
    return _reaches_less(view, node)


def _reaches_less(view: ClusterView, node: str) -> str | None:
    mine = view.reports[node].unreached
    for other in (n.name for n in view.cluster.workers if n.name != node and n.name in view.members):
        theirs = view.reports[other].unreached
        if len(theirs) < len(mine):
            lost = " and ".join(address for address in mine if address not in theirs)
            return f"it cannot reach {lost}, {other} can"
    return None


def absence(view: ClusterView, node: str) -> str:
    """What is known of a node that takes no part."""
    if view.surely_down(node):
        return "it is down"
    if node in view.record.detached:
        return (
            "its supervisor was stopped while services ran on; they may still run there, "
            f"so it has to be started again first; or, if it is off: pairkeep confirm-fenced {node}"
        )
    if view.cluster.node(node).fence and suspected(view, node):
        failed = trouble(view, node)
        if failed is None:
            return "it has left the cluster and is being switched off"
        otherwise = "; its watchdog resets it soon" if view.cluster.silence_means_down else ""
        return f"it has left the cluster and could not be switched off: {failed}{otherwise}"
    if view.cluster.silence_means_down:
        return "it has left the cluster and may still be running; its watchdog resets it soon"
    return (
        f"it has left the cluster and may still be running; once you have made sure that it is off: "
        f"pairkeep confirm-fenced {node}"
    )


def _stale(view: ClusterView, node: str, drbd: str, report: DrbdReport) -> str | None:
    """Why the data of ``drbd`` on ``node`` may lack acknowledged writes (invariant 2).

    Two independent witnesses have to agree: the cluster's record and the disk's own metadata. With
    fencing configured DRBD attaches a disk after a crash as Consistent, never UpToDate, until it has
    met its peer (drbd_nl.c, adm_attach, Linux 6.12).
    """
    current = view.record.current.get(drbd)
    if report.works_on_peers_disk and any(n != node for n in current or ()):
        return None
    if current is None:
        return f"{drbd} has no data yet: both disks have to meet for the first time"
    if not current:
        return f"no node is known to hold all of {drbd} any more: pairkeep recover force {drbd} NODE"
    progress = ""
    if report.sync_percent is not None:
        left = "" if report.sync_left_s is None else f", about {report.sync_left_s:.0f} s left"
        progress = f" (resync {report.sync_percent:.0f} %{left})"
    if report.hung:
        return f"its disk of {drbd} does not answer"
    if node not in current:
        holders = " and ".join(current)
        return f"its copy of {drbd} lacks newer writes that {holders} has{progress}"
    if report.disk == "UpToDate":
        return None
    peers = " and ".join(n.name for n in view.cluster.workers if n.name != node)
    if report.disk == "Consistent":
        return f"its copy of {drbd} is Consistent: {peers} may hold newer acknowledged writes"
    return f"its copy of {drbd} is {report.disk}{progress}"
