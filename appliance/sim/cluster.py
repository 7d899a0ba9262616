# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated cluster: three sites, what joins them, and a client that writes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import count

from appliance.config.model import Address, Cluster, Drbd, DrbdRole, Filesystem, Group, Node, Service
from appliance.decide.view import Record
from appliance.sim.clock import Clock, Story
from appliance.sim.disks import Pair
from appliance.sim.judge import Judge, ViolationError
from appliance.sim.machine import Machine
from appliance.sim.network import Network
from appliance.sim.ring import Corosync
from appliance.sim.site import Site

CLIENT_S = 0.5
LOOK_S = 0.5


def lab_cluster() -> Cluster:
    """The cluster of the lab, as the simulator runs it."""
    networks = (IPv4Network("10.9.1.0/24"), IPv4Network("10.9.2.0/24"))
    nodes = tuple(
        Node(name, i, tuple(IPv4Address(int(n[10 + i])) for n in networks), votes_only=name == "witness")
        for i, name in enumerate(("alpha", "beta", "witness"), start=1)
    )
    group = Group(
        "shop",
        (
            DrbdRole("shopdata"),
            Filesystem("/srv/mysql", "drbd:shopdata"),
            Service("mariadb.service", probe="mysql"),
            Address(IPv4Interface("10.9.1.100/24"), link=1),
        ),
        prefer="alpha",
    )
    drbd = Drbd("shopdata", "/dev/disk/by-id/virtio-data", link=2, minor=0, port=7788)
    return Cluster("shop", nodes, networks, (drbd,), (group,))


class SimCluster:
    """Everything; ``seed`` decides every random choice in it."""

    def __init__(self, seed: int) -> None:
        self.cluster = lab_cluster()
        self.chance = random.Random(seed)  # noqa: S311
        self.clock = Clock()
        self.story = Story(self.clock)
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
        self.judge.sites = self.sites
        for pair in self.pairs.values():
            pair.asks = partial(self._ask_fence, pair.name)
            pair.changed = partial(self._drbd_changed, pair)
            pair.promoted = partial(self.judge.promoted, pair.name)
        for machine in self.machines.values():
            machine.on_pause.append(self.reachability_changed)
            machine.on_halt.append(self.reachability_changed)
        self._writes = count(1)
        self.clock.after(0.0, self._client)
        self.clock.after(0.0, self._look)

    def reachability_changed(self) -> None:
        """After every change of cables, power or pausing."""
        self.corosync.changed()
        for pair in self.pairs.values():
            pair.reach()

    def plug(self, network: int, node: str, *, plugged: bool) -> None:
        (self.network.cut.discard if plugged else self.network.cut.add)((network, node))
        self.story.tell(node, f"cable of network {network} is {'plugged' if plugged else 'pulled'}")
        self.reachability_changed()

    def run_until(self, reached: Callable[[], bool], bound: float, what: str) -> None:
        """Let time pass until ``reached``; a violation (invariant 4) when that takes over ``bound`` seconds."""
        end = self.clock.now + bound
        while not reached():
            if self.clock.now >= end:
                raise ViolationError(f"not within {bound:.0f} s: {what}")
            self.clock.run_until(self.clock.now + 0.5)

    def run_for(self, seconds: float) -> None:
        self.clock.run_until(self.clock.now + seconds)

    # States -----------------------------------------------------------------------------------------

    def holders(self) -> list[str]:
        """Nodes on which something of a group is up."""
        return [n for n, site in self.sites.items() if any(s != "stopped" for s in self._states(site))]

    def serving(self) -> list[str]:
        """Nodes that a client gets an answer from."""
        found = []
        for name, site in self.sites.items():
            if site.machine.running and all(s == "started" for s in self._states(site)):
                frozen = any(p.sides[name].frozen for p in self.pairs.values())
                found += [] if frozen else [name]
        return found

    def healthy(self) -> bool:
        """Everything is up, agreed, and redundant again."""
        workers = {n.name for n in self.cluster.workers}
        cores = [s.process.core for s in self.sites.values() if s.process is not None]
        return (
            len(cores) == len(self.cluster.nodes)
            and len(self.serving()) == len(self.holders()) == 1
            and all(p.report(w).paired for p in self.pairs.values() for w in workers)
            and len({c.view.view_id for c in cores}) == 1
            and all(c.view.settled and c.view.quorate for c in cores)
            and not (cores[0].view.record.standby or cores[0].view.record.wanted)
            and all(set(cores[0].view.record.current.get(p, ())) == workers for p in self.pairs)
            and not any(c.busy or c.leaving or c.stopping for c in cores)
        )

    def all_know(self, has: Callable[[Record], bool]) -> bool:
        """Every supervisor takes part and remembers what ``has`` looks for."""
        cores = [s.process.core for s in self.sites.values() if s.process is not None]
        return len(cores) == len(self.sites) and all(has(c.view.record) and c.view.settled for c in cores)

    def _states(self, site: Site) -> tuple[str, ...]:
        return tuple(s for g in self.cluster.groups for s in site.resources.states(g))

    # What goes on all the time ------------------------------------------------------------------------

    def _drbd_changed(self, pair: Pair, node: str) -> None:
        process = self.sites[node].process
        if process is not None:
            process.after(0.003, 0.06, partial(process.drbd_changed, pair.name))

    def _ask_fence(self, pair: str, node: str) -> None:
        self.sites[node].ask_fence(pair)

    def _client(self) -> None:
        self.clock.after(CLIENT_S, self._client)
        for node in self.serving():
            for pair in self.pairs.values():
                write = next(self._writes)
                pair.write(node, write, partial(self.judge.acknowledge, pair.name, node, write))

    def _look(self) -> None:
        self.clock.after(LOOK_S, self._look)
        for pair in self.pairs:
            self.judge.look(pair, LOOK_S)
