# SPDX-License-Identifier: GPL-2.0-or-later
"""How each message changes the common view. Pure: the same messages in the same order give the same view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from appliance.config.model import Cluster
from appliance.decide.company import forbidden
from appliance.decide.eligible import obstacle, worn_out
from appliance.decide.messages import (
    Beat,
    Change,
    Check,
    Checked,
    Cleanup,
    Configure,
    Detach,
    Discard,
    Established,
    Exclude,
    Farewell,
    Fenced,
    Force,
    Formatted,
    Include,
    Lost,
    Message,
    Persisted,
    Reported,
    SetDrained,
    SetMaintenance,
    SetStandby,
    Switchover,
)
from appliance.decide.view import ClusterView, DrbdReport, Record, Report, Stamp


def new_view_id(ring: int, processes: Iterable[tuple[str, int]]) -> str:
    """Names one membership: the ring and the very processes in it, so that a restarted one is another."""
    return f"{ring}/" + ",".join(f"{name}:{pid}" for name, pid in sorted(processes))


def with_members(view: ClusterView, ring: int, processes: Iterable[tuple[str, int]]) -> ClusterView:
    """The view after a membership change: nothing that was reported before counts any more."""
    processes = tuple(processes)
    names = {name for name, _pid in processes}
    return replace(
        view,
        view_id=new_view_id(ring, processes),
        ring=ring,
        members=tuple(n.name for n in view.cluster.nodes if n.name in names),
        reports={},
        persisted={},
        adopted=False,
        claims={},
    )


def fold(view: ClusterView, sender: str, message: Message) -> ClusterView:
    """The view after ``message`` of ``sender``; the same object when it changed nothing."""
    if sender not in view.members:
        return view
    match message:
        case Beat() | Check() | Checked():
            return view
        case Persisted(stamp):
            return replace(view, persisted={**view.persisted, sender: stamp})
        case Reported(report):
            if report.view_id != view.view_id:
                return view
            view = _claimed(replace(view, reports={**view.reports, sender: report}))
            return _tidied(_adopted(view))
        case Fenced():
            return view  # heard by the nodes themselves, who report what they know of it
        case Include(node=node) if node not in view.members:
            return view  # only DRBD knows it; when it is here, whoever vouches for it asks again
        case _:
            if message.view_id != view.view_id or not (view.adopted and view.quorate):
                return view
            return _tidied(_stamped(view, changed(view.cluster, view.record, sender, message)))


def changed(cluster: Cluster, record: Record, sender: str, message: Change) -> Record:
    """The record after ``message``; unchanged when the message asks for what must not be.

    Exclude and Include are heard only from a node that is current itself. So of two nodes that want
    to go on without each other the first wins, and a node that has missed writes can vouch for no one.
    """
    match message:
        case Established() | Exclude() | Lost() | Include() | Force() | Discard():
            return _copies_changed(cluster, record, sender, message)
        case Formatted(resource=resource):
            return replace(record, formatted=_with(record.formatted, resource, True))
        case SetStandby(node=node, alone=True) if any(other != node for other in record.standby):
            return record
        case SetStandby(node=node, on=on):
            return replace(record, standby=_with(record.standby, node, on))
        case SetMaintenance(on=on):
            return replace(record, maintenance=on)
        case SetDrained(server=server, on=on):
            return replace(record, drained=_with(record.drained, server, on))
        case Switchover(group=group, node=None):
            return replace(record, wanted={g: n for g, n in record.wanted.items() if g != group})
        case Switchover(group=group, node=str(node)):
            return replace(record, wanted={**record.wanted, group: node})
        case Detach():
            return replace(record, detached=_with(record.detached, sender, True))
        case Configure(config=config) if config.version == record.config.version + 1:
            return replace(record, config=config)
        case Cleanup() | Farewell():
            return record  # heard by the nodes themselves
        case _:
            return record


def _copies_changed(
    cluster: Cluster, record: Record, sender: str, message: Established | Exclude | Lost | Include | Force | Discard
) -> Record:
    match message:
        case Established(drbd=drbd) if drbd not in record.current:
            workers = tuple(n.name for n in cluster.workers)
            return replace(record, current={**record.current, drbd: workers})
        case Exclude(drbd=drbd, node=node) if {sender, node} <= set(record.current.get(drbd, ())):
            rest = tuple(n for n in record.current[drbd] if n != node)
            return replace(record, current={**record.current, drbd: rest}) if rest else record
        case Lost(drbd=drbd) if sender in (had := record.current.get(drbd, ())):
            return replace(record, current={**record.current, drbd: tuple(n for n in had if n != sender)})
        case Include(drbd=drbd, node=node) if sender in (had := record.current.get(drbd, ())):
            return record if node in had else replace(record, current={**record.current, drbd: (*had, node)})
        case Force(drbd=drbd, node=node):
            current = {**record.current, drbd: (node,)}
            discard = {d: n for d, n in record.discard.items() if d != drbd}
            return replace(record, current=current, forced={**record.forced, drbd: node}, discard=discard)
        case Discard(drbd=drbd, node=node) if node not in record.current.get(drbd, ()):
            return replace(record, discard={**record.discard, drbd: node})
        case _:
            return record


def _with(names: tuple[str, ...], name: str, present: bool) -> tuple[str, ...]:
    rest = tuple(n for n in names if n != name)
    return tuple(sorted((*rest, name))) if present else rest


def _adopted(view: ClusterView) -> ClusterView:
    """Once all have reported and are a majority: take the newest record and put this ring's stamp on it.

    The new stamp matters: without it a version that an older, interrupted ring wrote on one node alone
    could outrank what this majority goes on to rely on (the case of figure 8 in the Raft paper,
    Ongaro and Ousterhout 2014).
    """
    if view.adopted or not view.quorate:
        return view
    newest = max((r.record for r in view.reports.values()), key=lambda r: (r.stamp, repr(_canonical(r))))
    stamped = replace(newest, stamp=Stamp(max(view.ring, newest.stamp.ring + 1), 0))
    return replace(view, record=stamped, adopted=True)


def _claimed(view: ClusterView) -> ClusterView:
    """Whoever was the first to hold a group keeps it until it says that it holds it no more.

    Placements change from one message to the next, and a node begins to act before the others hear of
    it. So a start needs the sender's claim to have come first in the order that all see.
    """
    claims: dict[str, str] = {}
    for group in view.cluster.groups:
        holders = [n for n in view.members if n in view.reports and _holds(view.reports[n], group.name)]
        if holders:
            had = view.claims.get(group.name)
            claims[group.name] = had if had in holders else holders[0]
    return view if claims == view.claims else replace(view, claims=claims)


def _holds(report: Report, group: str) -> bool:
    return group in report.groups and report.groups[group].holds


def _canonical(record: Record) -> tuple[object, ...]:
    return (
        sorted(record.current.items()),
        record.formatted,
        record.standby,
        record.detached,
        record.maintenance,
        record.drained,
        sorted(record.wanted.items()),
        sorted(record.forced.items()),
        sorted(record.discard.items()),
        record.config.name,
    )


def _stamped(view: ClusterView, record: Record) -> ClusterView:
    if record == view.record:
        return view
    stamp = replace(view.record.stamp, count=view.record.stamp.count + 1)
    return replace(view, record=replace(record, stamp=stamp))


def _tidied(view: ClusterView) -> ClusterView:
    """Drop what has been overtaken: orders that are done or cannot be, nodes that are attached again."""
    if not (view.adopted and view.quorate):
        return view
    wanted = {group: node for group, node in view.record.wanted.items() if _still_wanted(view, group, node)}
    detached = tuple(n for n in view.record.detached if n not in view.members or _is_stopping(view, n))
    forced = {d: n for d, n in view.record.forced.items() if _side(view, d, n).disk != "UpToDate"}
    discard = {d: n for d, n in view.record.discard.items() if _side(view, d, n).disconnected}
    had = view.record
    if (wanted, detached, forced, discard) == (had.wanted, had.detached, had.forced, had.discard):
        return view
    return _stamped(view, replace(view.record, wanted=wanted, detached=detached, forced=forced, discard=discard))


def _side(view: ClusterView, drbd: str, node: str) -> DrbdReport:
    """What ``node`` says of its side of ``drbd``; what is not known counts as disconnected and stale."""
    report = view.reports.get(node)
    return report.drbd.get(drbd, DrbdReport()) if report is not None else DrbdReport()


def _is_stopping(view: ClusterView, node: str) -> bool:
    report: Report | None = view.reports.get(node)
    return report is not None and report.stopping


def _still_wanted(view: ClusterView, name: str, node: str) -> bool:
    """An order is done when the group runs there, but for one that would move back: that stays as ordered."""
    if name not in {g.name for g in view.cluster.groups} or node not in view.members:
        return False
    group = view.cluster.group(name)
    if any(speaks(view, group, node) for speaks in (obstacle, forbidden, worn_out)):
        return False
    report = view.reports[node].groups.get(name)
    done = report is not None and report.running
    return not done or (
        group.failback and any(group.score(n.name) > group.score(node) for n in view.cluster.workers)
    )
