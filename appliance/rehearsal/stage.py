# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets a simulated cluster up as the live one stands: machines, disks, services, supervisors that adopt them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from appliance.config.model import Address, Cluster, DrbdRole, Filesystem, Group
from appliance.decide.view import DrbdReport, State
from appliance.rehearsal.state import LiveState
from appliance.sim.cluster import SimCluster
from appliance.sim.connection import RESYNC_S
from appliance.sim.disks import Pair
from appliance.sim.metadata import DISK_ORDER, Metadata
from appliance.sim.side import Side

# What no supervisor measures is taken to last so long, in seconds.
BOOT_S = 40.0
# Rings and supervisors need a few seconds to meet; a cluster that is on the move is left moving after this.
MEETING_S = 15.0
# Writes that were there before, by number: both disks have the one, only the newest have the other.
OLD_WRITE, NEW_WRITE = 0, -1
# Generations of data, likewise; the simulator's own count from 1.
OLD, NEW, APART = -1, -2, -3


class Steady(random.Random):
    """Everything takes about as long as it takes on average, and yet nothing happens twice at one moment."""

    def random(self) -> float:
        return 0.45 + 0.1 * super().random()


class Stage:
    """``sim`` stands as the cluster does, at second ``began`` of its clock. ``assumed``: what had to be guessed.

    ``behind``: the link that leads to each thing that nodes have to reach (see supervisor/links.py);
    ``out_of_reach``: per node what it cannot reach for reasons beyond its own cables.
    """

    def __init__(self, state: LiveState) -> None:
        self.state = state
        self.assumed: list[str] = []
        self.sim = SimCluster(state.cluster, Steady(0), told=True)
        self.present = [n.name for n in state.cluster.nodes if n.name in state.view.members]
        self.behind = dict(_behind(state.cluster))
        self.out_of_reach: dict[str, tuple[str, ...]] = {}
        for node in state.cluster.nodes:
            self._machine(node.name)
            self._cables(node.name)
        for pair in self.sim.pairs.values():
            self._pair(pair)
        for worker in state.cluster.workers:
            if self.sim.machines[worker.name].powered:
                self._resources(worker.name)
        self._failed()
        self._meet()
        self.began = self.sim.clock.now
        self.sim.story.lines.clear()

    def _machine(self, node: str) -> None:
        view, machine = self.state.view, self.sim.machines[node]
        machine.boot_s = (BOOT_S, BOOT_S)
        self.sim.sites[node].config = view.record.config
        resources = self.sim.sites[node].resources
        resources.took = self.state.took(node)
        if node in self.sim.devices and f"fence {node}" in resources.took:
            took = resources.took[f"fence {node}"]
            self.sim.devices[node].off_s = (took, took)
        if node in self.present:
            machine.found_running()
            has_newest = view.persisted.get(node, view.record.stamp) >= view.record.stamp
            machine.record = view.record if has_newest else view.reports[node].record
            machine.full = bool(view.reports[node].unwritten)
            machine.ring_seq = view.ring
        elif node in view.record.detached:
            self.assumed.append(f"{node} runs, without its supervisor")
            machine.found_running()
            machine.record = view.record
        elif not (view.quorate and view.surely_down(node)):
            # Who has no quorum may be the one that is cut off.
            self.assumed.append(f"{node} is off")

    def _cables(self, node: str) -> None:
        """A network without a carrier is a pulled cable; what else does not answer stays so."""
        report = self.state.view.reports.get(node)
        unreached = report.unreached if report else ()
        networks = [str(network) for network in self.state.cluster.networks]
        pulled = {networks.index(name) + 1 for name in unreached if name in networks}
        self.sim.network.cut |= {(link, node) for link in pulled}
        self.out_of_reach[node] = tuple(name for name in unreached if self.behind.get(name) not in pulled)

    # Disks ------------------------------------------------------------------------------------------

    def _pair(self, pair: Pair) -> None:
        reports = {name: self._drbd(name, pair.name) for name in pair.sides}
        current = self.state.view.record.current.get(pair.name)
        for name, side in pair.sides.items():
            side.disk_md = _metadata(name, reports[name], current)
            if reports[name].role != "Unconfigured":
                _take_over(side, reports[name])
        whole = [s for s in pair.sides.values() if NEW_WRITE in s.disk_md.writes]
        self.sim.judge.acknowledged[pair.name] = set(whole[0].disk_md.writes) if whole else set()
        first, second = (reports[name] for name in pair.sides)
        if not first.disconnected and not second.disconnected:
            source, target = sorted(pair.sides.values(), key=lambda side: side.disk == "Inconsistent")
            left = first.sync_left_s or second.sync_left_s
            pair.resync_s = RESYNC_S if left is None else (left, left)
            pair.found_connected(source, target)
            pair.resync_s = RESYNC_S
        elif first.connection == second.connection == "WFConnection":
            one, other = pair.sides
            self.assumed.append(f"network {pair.link} between {one} and {other} is broken")
            self.sim.network.deaf |= {(pair.link, one, other), (pair.link, other, one)}

    def _drbd(self, node: str, drbd: str) -> DrbdReport:
        report = self.state.view.reports.get(node)
        if report is not None:
            return report.drbd.get(drbd, DrbdReport())
        if node not in self.state.view.record.detached:
            return DrbdReport()
        # Its own word is missing; what the other side of the connection says of it is not.
        report = self.state.view.reports.get(self.state.cluster.peer_of(node))
        peer = report.drbd.get(drbd, DrbdReport()) if report is not None else DrbdReport()
        if peer.disconnected:
            return DrbdReport()
        return DrbdReport(peer.peer_role, peer.peer_disk, "Connected", peer.disk, peer.role)

    def _resources(self, node: str) -> None:
        resources = self.sim.sites[node].resources
        for group in self.state.cluster.groups:
            for resource, state in zip(group.resources, self._states(node, group), strict=True):
                if isinstance(resource, DrbdRole) or state == "stopped":
                    continue
                if state == "started" or isinstance(resource, Filesystem):
                    resources.on.add(resource.id)
                if state == "failed":
                    resources.broken.add(resource.id)

    def _failed(self) -> None:
        for node, report in self.state.view.reports.items():
            for group in self.state.cluster.groups:
                share = report.groups.get(group.name)
                if share is not None and share.blocked:
                    self.assumed.append(f"the stop of {group.name} that fails on {node} works at the next try")
                for resource, fails in zip(group.resources, share.fails if share else (), strict=False):
                    if fails:
                        self.assumed.append(
                            f"{resource.id}, which has failed on {node}, starts there if it is tried"
                        )

    def _states(self, node: str, group: Group) -> tuple[State, ...]:
        report = self.state.view.reports.get(node)
        if report is not None and group.name in report.groups:
            return report.groups[group.name].states
        left_running = group.drbd and all(self.sim.pairs[d].sides[node].role == "Primary" for d in group.drbd)
        return tuple("started" if left_running else "stopped" for _ in group.resources)

    # Supervisors ------------------------------------------------------------------------------------

    def _meet(self) -> None:
        sim, view = self.sim, self.state.view
        for name in self.present:
            sim.corosync.start(name, met_all=view.reports[name].quorate)
        sim.run_for((sim.cluster.token_ms + 1.2 * sim.cluster.consensus_ms) / 1000)
        for name in self.present:
            sim.sites[name].start_supervisor(lambda core, name=name: core.recall(view.reports[name]))  # type: ignore[misc]
        end = sim.clock.now + MEETING_S
        while not self._met() and sim.clock.now < end:
            sim.run_for(0.1)
        for pair in sim.pairs.values():
            for name, side in pair.sides.items():
                if side.frozen:
                    sim.sites[name].ask_fence(pair.name)
        sim.reachability_changed()

    def _met(self) -> bool:
        processes = [self.sim.sites[name].process for name in self.present]
        views = [p.core.view for p in processes if p is not None]
        agreed = len({v.view_id for v in views}) == 1 and all(set(v.members) == set(self.present) for v in views)
        return agreed and all(v.settled or not self.state.view.quorate for v in views)


def _behind(cluster: Cluster) -> Iterator[tuple[str, int]]:
    for group in cluster.groups:
        for resource in group.resources:
            if isinstance(resource, Address) and resource.link is not None:
                yield str(resource.address.network), resource.link
    for address in cluster.ping:
        # Of what is in none of the links' networks one only knows that the first link leads there.
        yield str(address), next((i for i, net in enumerate(cluster.networks, start=1) if address in net), 1)


def _take_over(side: Side, report: DrbdReport) -> None:
    """What the kernel holds in memory."""
    side.up, side.role = True, report.role
    side.disk = _disk(report.disk)
    side.peer_disk = _disk(report.peer_disk)
    side.connection = "StandAlone" if report.connection == "StandAlone" else "WFConnection"
    side.frozen = side.new_generation_due = report.suspended != "no"
    side.split = report.split_brain
    side.dead = not side.attached


def _disk(state: str) -> str:
    return state if state in DISK_ORDER else "DUnknown"


def _metadata(node: str, report: DrbdReport, current: tuple[str, ...] | None) -> Metadata:
    """What the disk holds, by its own word or else by the record's."""
    if current is None or report.fresh:
        return Metadata()
    newest = node in current
    alone = newest and len(current) == 1
    known = report.role != "Unconfigured" and not report.diskless
    consistent = report.disk != "Inconsistent" if known else True
    return Metadata(
        consistent=consistent,
        was_up_to_date=report.disk in ("UpToDate", "Consistent") if known else newest,
        peer_outdated=report.peer_disk in ("Outdated", "Inconsistent") if known else alone,
        primary=report.role == "Primary",
        current=NEW if alone else APART if report.split_brain else OLD,
        bitmap=OLD if alone or report.split_brain else 0,
        writes={OLD_WRITE, NEW_WRITE} if newest else {OLD_WRITE} if consistent else set(),
    )
