# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node does next so that a group comes to where it was placed. One step per lane at a time."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.config.model import Address, Group
from appliance.config.target import TargetRole
from appliance.decide.company import may_start, may_stop
from appliance.decide.placement import Placement
from appliance.decide.view import ClusterView, DrbdReport, GroupReport


@dataclass(frozen=True)
class Start:
    """Start resource number ``index`` of ``group``. ``may_format``: its filesystem was never made.

    ``peer_down``: the other node is surely down, so DRBD need not wait for its answer.
    """

    group: str
    index: int
    may_format: bool = False
    peer_down: bool = False


@dataclass(frozen=True)
class Stop:
    group: str
    index: int


@dataclass(frozen=True)
class Up:
    """Attach the disk of a DRBD resource and connect to the peer, as Secondary."""

    drbd: str


@dataclass(frozen=True)
class SkipFirstSync:
    """Declare two blank disks equal, on one node of a connected pair."""

    drbd: str


@dataclass(frozen=True)
class Outdate:
    """Write into this disk's metadata that it lacks writes, as the record says."""

    drbd: str


@dataclass(frozen=True)
class Connect:
    """Take up a connection that was given up, because the peer was surely dead, or by hand.

    ``discard``: after a split brain this side's own changes are thrown away.
    """

    drbd: str
    discard: bool = False


@dataclass(frozen=True)
class ForceUpToDate:
    """Declare this disk the newest, because an operator said so."""

    drbd: str


@dataclass(frozen=True)
class Fence:
    """Switch ``node`` off, and see that it is."""

    node: str


Step = Start | Stop | Up | SkipFirstSync | Outdate | Connect | ForceUpToDate | Fence


def lane(step: Step) -> str:
    """Steps of one lane are done one after the other; lanes do not wait for each other."""
    if isinstance(step, Fence):
        return f"fence:{step.node}"
    return step.group if isinstance(step, Start | Stop) else f"drbd:{step.drbd}"


def group_steps(view: ClusterView, group: Group, placement: Placement) -> dict[str, Step]:
    """The next step of every node that has one for ``group``."""
    steps: dict[str, Step] = {}
    for node in view.members:
        share = view.reports[node].groups.get(group.name)
        if share is None or share.stuck or not share.active or node == placement.node:
            continue
        if may_stop(view, group):
            steps[node] = stop_step(group, share)
    here = placement.node
    if (
        here is None
        or not may_start(view, group, here)
        or any(_holds(view, group, node) for node in view.members if node != here)
    ):
        return steps
    share = view.reports[here].groups[group.name]
    step = None if share.stuck else _forward(view, group, here, share)
    return steps if step is None else {**steps, here: step}


def _holds(view: ClusterView, group: Group, node: str) -> bool:
    share = view.reports[node].groups.get(group.name)
    return share is not None and share.holds


def stop_step(group: Group, share: GroupReport) -> Stop:
    """Stop from the end: what was started last goes first."""
    return Stop(group.name, max(i for i, state in enumerate(share.states) if state != "stopped"))


def _forward(view: ClusterView, group: Group, here: str, share: GroupReport) -> Step | None:
    """The next step towards a running group: the first resource that is not up, once nothing stands on it."""
    for index, state in enumerate(share.states):
        if state == "started":
            continue
        above = [
            i
            for i in range(index + 1, len(share.states))
            if share.states[i] != "stopped" and not _stays(group, index, i)
        ]
        if above:
            return Stop(group.name, above[-1])
        if state == "failed":
            return Stop(group.name, index)
        resource = group.resources[index]
        others = [n.name for n in view.cluster.workers if n.name != here]
        return Start(
            group.name,
            index,
            may_format=resource.id.startswith("filesystem:") and resource.id not in view.record.formatted,
            peer_down=all(view.surely_down(n) for n in others),
        )
    return None


def _stays(group: Group, down: int, index: int) -> bool:
    """Addresses stand on nothing: they stay while a service before them is restarted, for clients ask again.

    But initiators take a target that answers without its LUNs, or refuses a login, at its word.
    """
    behind = group.resources[down:index]
    return isinstance(group.resources[index], Address) and not any(isinstance(r, TargetRole) for r in behind)


def _unused_elsewhere(view: ClusterView, name: str, node: str) -> bool:
    """No other node is Primary of ``name``, nor about to be, nor perhaps so unseen: to force is to promote."""

    def unused(other: str) -> bool:
        if other not in view.members:
            return view.surely_down(other)
        primary = view.reports[other].drbd.get(name, DrbdReport()).role == "Primary"
        return not primary and not any(_holds(view, g, other) for g in view.cluster.groups if name in g.drbd)

    return all(unused(n.name) for n in view.cluster.workers if n.name != node)


def drbd_steps(view: ClusterView, name: str) -> dict[str, Step]:
    """What nodes do for a DRBD resource whoever uses it."""
    steps: dict[str, Step] = {}
    reports = {
        n.name: view.reports[n.name].drbd.get(name, DrbdReport())
        for n in view.cluster.workers
        if n.name in view.members
    }
    current = view.record.current.get(name)
    victim = view.record.discard.get(name)
    for node, report in reports.items():
        if report.role == "Unconfigured":
            steps[node] = Up(name)
        elif view.record.forced.get(name) == node and report.role == "Secondary" and report.disk != "UpToDate":
            if _unused_elsewhere(view, name, node):
                steps[node] = ForceUpToDate(name)
        elif report.split_brain or victim is not None:
            if victim is not None and report.connection == "StandAlone":
                steps[node] = Connect(name, discard=node == victim)
        elif (
            current is not None
            and node not in current
            and report.role == "Secondary"
            and report.disk in ("UpToDate", "Consistent")
            and report.connection in ("WFConnection", "StandAlone")
        ):
            steps[node] = Outdate(name)
        elif report.connection == "StandAlone":
            steps[node] = Connect(name)
    ready = [r for r in reports.values() if r.fresh and r.connection == "Connected" and r.disk == "Inconsistent"]
    if current is None and len(ready) == len(view.cluster.workers):
        steps[next(iter(reports))] = SkipFirstSync(name)
    return steps
