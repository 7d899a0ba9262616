# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated cluster: its sites, what joins them, and a client that writes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import count

from appliance.config.model import Cluster, Group
from appliance.decide.view import Record
from appliance.sim.clock import Action, Clock, Story
from appliance.sim.device import Device
from appliance.sim.disks import Pair
from appliance.sim.judge import Judge, ViolationError
from appliance.sim.machine import Machine
from appliance.sim.network import Network
from appliance.sim.ring import Corosync
from appliance.sim.shapes import cluster_of
from appliance.sim.site import Site
from appliance.supervisor.core import Core

# How often clients write, and the judge looks whether two are Primary.
PULSE_S = 0.5


def lab_cluster() -> Cluster:
    """The cluster of the lab, as the simulator runs it."""
    return cluster_of("lab")


class SimCluster:
    """Everything; ``chance`` makes every random choice in it. ``told``: keep the story of what happens."""

    def __init__(self, cluster: Cluster, chance: random.Random, *, told: bool = False) -> None:
        self.cluster = cluster
        self.chance = chance
        self.clock = Clock()
        self.story = Story(self.clock, told)
        self.judge = Judge()
        self.network = Network(len(self.cluster.networks))
        self.machines = {n.name: Machine(n.name, self.clock, self.story, self.chance) for n in self.cluster.nodes}
        self.corosync = Corosync(self.cluster, self.clock, self.story, self.network, self.machines, self.chance)
        first, second = (self.machines[n.name] for n in self.cluster.workers)
        self.pairs = {
            d.name: Pair(d.name, d.link, (first, second), self.network, self.story, self.chance)
            for d in self.cluster.drbd
        }
        self.sites = {
            name: Site(self.cluster, machine, self.pairs, self.corosync, self.judge)
            for name, machine in self.machines.items()
        }
        self.devices = {
            n.name: Device(self.machines[n.name], n.fence[0].timeout_s) for n in self.cluster.nodes if n.fence
        }
        for site in self.sites.values():
            site.resources.devices = self.devices
        self.judge.sites, self.judge.pairs = self.sites, self.pairs
        for pair in self.pairs.values():
            pair.asks = partial(self._ask_fence, pair.name)
            pair.changed = partial(self._drbd_changed, pair)
            pair.promoted = partial(self.judge.promoted, pair.name)
            pair.io_error = partial(self._io_error, pair.name)
        for machine in self.machines.values():
            machine.on_pause.append(self.reachability_changed)
            machine.on_halt.append(self.reachability_changed)
        self._workers = tuple(n.name for n in self.cluster.workers)
        self._groups = tuple((g.name, tuple(self.pairs[d] for d in g.drbd)) for g in self.cluster.groups)
        self._writes = count(1)
        self._healed = 0
        self.clock.after(0.0, self._pulse)

    def reachability_changed(self) -> None:
        """After every change of cables, power or pausing."""
        self.corosync.changed()
        for pair in self.pairs.values():
            pair.reach()

    def later(self, seconds: float, action: Action) -> None:
        """Part of a fault: it does not happen any more once all has been put right."""
        self.clock.after(seconds, partial(self._unless_healed, self._healed, action))

    def _unless_healed(self, healed: int, action: Action) -> None:
        if healed == self._healed:
            action()

    def healed(self) -> None:
        self._healed += 1

    def plug(self, network: int, node: str, *, plugged: bool) -> None:
        (self.network.cut.discard if plugged else self.network.cut.add)((network, node))
        self.story.tell(node, "cable of network {} is {}", network, "plugged" if plugged else "pulled")
        self.reachability_changed()

    def run_until(self, reached: Callable[[], bool], bound: float, what: str) -> None:
        """Let time pass until ``reached``; a violation (invariant 4) when that takes over ``bound`` seconds."""
        end = self.clock.now + bound
        while not reached():
            if self.clock.now >= end:
                raise ViolationError(what, f"not within {bound:.0f} s: {what}")
            self.clock.run_until(self.clock.now + 0.5)

    def run_for(self, seconds: float) -> None:
        self.clock.run_until(self.clock.now + seconds)

    # States -----------------------------------------------------------------------------------------

    def holders(self, group: str) -> list[str]:
        """Nodes on which something of ``group`` is up."""
        return [n for n in self._workers if self.sites[n].resources.any_up(group)]

    def serving(self, group: str) -> list[str]:
        """Nodes on which a client of ``group`` gets an answer."""
        pairs = next(pairs for name, pairs in self._groups if name == group)
        return [
            n
            for n in self._workers
            if self._takes_writes(n, group, pairs) and not any(p.sides[n].stalls for p in pairs)
        ]

    def _takes_writes(self, node: str, group: str, pairs: tuple[Pair, ...]) -> bool:
        site = self.sites[node]
        return (
            site.machine.running
            and site.resources.all_up(group)
            and all(not p.sides[node].frozen and p.has_data(node) for p in pairs)
        )

    def served(self) -> bool:
        """Every group runs on one node, but those for which one node is not enough."""
        return all(len(self.serving(g.name)) == 1 for g in self.cluster.groups if not g.apart_from)

    def healthy(self) -> bool:
        """Everything is up, agreed, and redundant again."""
        cores = [s.process.core for s in self.sites.values() if s.process is not None]
        if len(cores) != len(self.sites):
            return False
        record = cores[0].view.record
        return (
            all(len(self.serving(name)) == len(self.holders(name)) == 1 for name, _pairs in self._groups)
            and all(map(self._well_placed, self.cluster.groups))
            and all(p.report(w).paired for p in self.pairs.values() for w in self._workers)
            and len({c.view.view_id for c in cores}) == 1
            and all(c.view.settled and c.view.quorate for c in cores)
            and not (record.standby or record.wanted or record.maintenance)
            and all(set(record.current.get(p, ())) == set(self._workers) for p in self.pairs)
            and not any(c.busy or c.leaving or c.stopping or c.local.stuck for c in cores)
            and all(self._at_ease(c, name) for c in cores for name, _pairs in self._groups)
        )

    def _well_placed(self, group: Group) -> bool:
        """Where the other groups let it be, and where it would move back to."""
        here = self.serving(group.name)
        best = max(group.score(node) for node in self._workers)
        return (
            (group.leader is None or here == self.serving(group.leader))
            and all(here != self.serving(other) for other in group.apart_from)
            and (not group.failback or group.score(here[0]) == best)
        )

    def _at_ease(self, core: Core, group: str) -> bool:
        """It counts no failures, and knows that ``group`` is up here, or that it is not."""
        share = core.local.group_reports()[group]
        return not any(share.fails) and share.running == (core.me in self.serving(group))

    def all_know(self, has: Callable[[Record], bool]) -> bool:
        """Every supervisor takes part and remembers what ``has`` looks for."""
        cores = [s.process.core for s in self.sites.values() if s.process is not None]
        return len(cores) == len(self.sites) and all(has(c.view.record) and c.view.settled for c in cores)

    # What goes on all the time ------------------------------------------------------------------------

    def _drbd_changed(self, pair: Pair, node: str) -> None:
        process = self.sites[node].process
        if process is not None:
            process.after(0.003, 0.06, partial(process.drbd_changed, pair.name))

    def _ask_fence(self, pair: str, node: str) -> None:
        self.sites[node].ask_fence(pair)

    def _io_error(self, pair: str, node: str) -> None:
        self.sites[node].io_error(pair)

    def _pulse(self) -> None:
        self.clock.after(PULSE_S, self._pulse)
        for name in self.pairs:
            self.judge.look(name, PULSE_S)
        for group, pairs in self._groups:
            for node in self._workers:
                if self._takes_writes(node, group, pairs):
                    for pair in pairs:
                        write = next(self._writes)
                        pair.write(node, write, partial(self.judge.acknowledge, pair.name, node, write))
