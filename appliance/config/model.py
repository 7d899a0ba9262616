# SPDX-License-Identifier: GPL-2.0-or-later
"""What `cluster.toml` says, as values. `config.load` makes them; nothing else in here does I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import ClassVar, Literal

from appliance.config.initiator import Initiator, InitiatorRole
from appliance.config.notify import Notify
from appliance.config.realserver import RealServer, RealServerRole
from appliance.config.target import Target, TargetRole
from appliance.config.virtual import Director, Virtual, VirtualService, Vrrp

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


# What follows when a resource does not stop: the node is fenced, or the group is left blocked and tried again.
OnStopFailure = Literal["fence", "block"]
# How many points `prefer` is worth among `scores`.
PREFERRED = 100

# How a node that has fallen silent is known to be down: its devices switched it off, its watchdog has surely
# reset it, or a person says so.
Fencing = Literal["devices", "watchdog", "manual"]


@dataclass(frozen=True)
class FenceDevice:
    """What can switch a node off: the name of a fence agent, and ``options`` in the agent's own words.

    ``files`` holds, on every node, what options are that not everyone may know: the path of a file for each. One
    action takes at most ``timeout_s``.
    """

    agent: str
    options: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 20.0


@dataclass(frozen=True)
class Node:
    """A member of the cluster. ``id`` is corosync's node id, counted from 1 in the file's order.

    ``fence``: what switches it off; the second is tried when the first fails, and so on.
    """

    name: str
    id: int
    links: tuple[IPAddress, ...]
    votes_only: bool = False
    fence: tuple[FenceDevice, ...] = ()


@dataclass(frozen=True)
class Drbd:
    """A replicated disk: ``/dev/drbd<minor>`` over ``disk`` on every node that is not votes_only.

    ``link`` counts from 1: the network in ``Cluster.networks`` that carries the replication. ``verify_every_h``:
    how often both disks are compared by themselves; None for never. ``io_timeout_s``: a disk that has had
    something to do for so long and finished nothing counts as lost.
    """

    name: str
    disk: str
    link: int
    minor: int
    port: int
    verify_every_h: float | None = None
    io_timeout_s: float = 15.0

    @property
    def device(self) -> str:
        return f"/dev/drbd{self.minor}"


@dataclass(frozen=True)
class DrbdRole:
    """The resource of a group that is *started* while DRBD resource ``drbd`` is Primary here."""

    drbd: str
    on_stop_failure: ClassVar[OnStopFailure] = "fence"

    @property
    def id(self) -> str:
        return f"drbd:{self.drbd}"


@dataclass(frozen=True)
class Filesystem:
    """``device`` (a path, or ``drbd:NAME`` or ``initiator:NAME`` as written) mounted on ``target``."""

    target: str
    device: str
    type: str = "ext4"
    options: str = "noatime"
    start_timeout_s: float = 120.0
    stop_timeout_s: float = 20.0
    on_stop_failure: OnStopFailure = "fence"

    @property
    def id(self) -> str:
        return f"filesystem:{self.target}"

    @property
    def mount_options(self) -> str:
        """After an error ext4 goes on by default: spreads what is wrong, or tries again on a disk it has lost."""
        silent = self.type == "ext4" and "errors=" not in self.options
        return f"{self.options},errors=remount-ro" if silent else self.options


@dataclass(frozen=True)
class Service:
    """A systemd unit; ``probe`` (``mysql`` or None) asks the service itself whether it works."""

    unit: str
    probe: str | None = None
    probe_timeout_s: float = 5.0
    start_timeout_s: float = 120.0
    stop_timeout_s: float = 60.0
    on_stop_failure: OnStopFailure = "fence"

    @property
    def id(self) -> str:
        return f"service:{self.unit}"


@dataclass(frozen=True)
class Address:
    """A service address. Without ``interface`` it goes where its heartbeat network ``link`` is."""

    address: IPInterface
    interface: str | None = None
    link: int | None = None
    on_stop_failure: ClassVar[OnStopFailure] = "fence"

    @cached_property
    def id(self) -> str:
        return f"address:{self.address}"


Resource = DrbdRole | Filesystem | Service | Address | VirtualService | RealServerRole | TargetRole | InitiatorRole


@dataclass(frozen=True)
class Group:
    """Resources that live on one node together: started in this order, stopped in the reverse.

    ``migration_threshold`` failures within ``failure_timeout_s`` seconds move the group away from a node.
    ``scores``: points by node; ``never``: nodes that must not run it. With ``failback`` it moves to a node that
    has more points than the present one and ``stickiness`` together, once that node has been fit for it for
    ``failback_delay_s``. ``leader`` (written as ``with``): the group on whose node this one runs.
    ``after``: groups that have to run before it starts, and that stop after it. ``apart_from``: groups whose
    node it avoids, and gives up to them.
    """

    name: str
    resources: tuple[Resource, ...]
    prefer: str | None = None
    scores: Mapping[str, int] = field(default_factory=dict)
    never: tuple[str, ...] = ()
    failback: bool = False
    failback_delay_s: float = 0.0
    stickiness: int = 0
    migration_threshold: int = 3
    failure_timeout_s: float = 600.0
    after: tuple[str, ...] = ()
    leader: str | None = None
    apart_from: tuple[str, ...] = ()

    def score(self, node: str) -> int:
        """The points that speak for ``node``."""
        return self.scores.get(node, 0) + (PREFERRED if node == self.prefer else 0)

    def index(self, resource_id: str) -> int:
        return next(i for i, r in enumerate(self.resources) if r.id == resource_id)

    @cached_property
    def drbd(self) -> tuple[str, ...]:
        """Names of the DRBD resources that the group promotes."""
        return tuple(r.drbd for r in self.resources if isinstance(r, DrbdRole))

    @cached_property
    def initiators(self) -> tuple[str, ...]:
        """Names of the initiators that the group logs in with."""
        return tuple(r.initiator for r in self.resources if isinstance(r, InitiatorRole))

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Names of the iSCSI targets of the group."""
        return tuple(r.target for r in self.resources if isinstance(r, TargetRole))


def dependencies(groups: Iterable[Group]) -> dict[str, tuple[str, ...]]:
    """For each group by name those that its own place depends on."""
    return {g.name: (*g.after, *((g.leader,) if g.leader else ()), *g.apart_from) for g in groups}


@dataclass(frozen=True)
class Cluster:
    """The whole of `cluster.toml`.

    ``token_ms``: corosync's token time-out. ``watchdog_s``: after this many seconds without the
    supervisor's word the watchdog resets a node. ``networks``: one per heartbeat link, in order.
    ``fence_then``: whether a node that was switched off is switched on again. ``fence_delay_s``: of two nodes
    that have no witness and lost each other, the one without the service waits so long before it shoots.
    ``ping``: what a node has to reach to be of use, such as the gateway; a group leaves one that reaches less of
    it than the other.
    """

    name: str
    nodes: tuple[Node, ...]
    networks: tuple[IPNetwork, ...]
    drbd: tuple[Drbd, ...] = ()
    groups: tuple[Group, ...] = ()
    virtuals: tuple[Virtual, ...] = ()
    vrrps: tuple[Vrrp, ...] = ()
    director: Director = field(default_factory=Director)
    realservers: tuple[RealServer, ...] = ()
    notify: Notify = field(default_factory=Notify)
    token_ms: int = 1000
    watchdog_s: int = 10
    fencing: Fencing = "watchdog"
    fence_then: Literal["on", "off"] = "on"
    fence_delay_s: float = 5.0
    ping: tuple[IPAddress, ...] = ()
    targets: tuple[Target, ...] = ()
    initiators: tuple[Initiator, ...] = ()

    def node(self, name: str) -> Node:
        return next(n for n in self.nodes if n.name == name)

    def node_by_id(self, node_id: int) -> Node:
        return next(n for n in self.nodes if n.id == node_id)

    def group(self, name: str) -> Group:
        return next(g for g in self.groups if g.name == name)

    def realserver(self, name: str) -> RealServer:
        return next(r for r in self.realservers if r.name == name)

    def virtual(self, name: str) -> Virtual:
        return next(v for v in self.virtuals if v.name == name)

    def drbd_named(self, name: str) -> Drbd:
        return next(d for d in self.drbd if d.name == name)

    def initiator_named(self, name: str) -> Initiator:
        return next(i for i in self.initiators if i.name == name)

    def device_of(self, filesystem: Filesystem) -> str:
        """The path of the device that ``filesystem`` is on."""
        match filesystem.device.partition(":"):
            case ("drbd", ":", name):
                return self.drbd_named(name).device
            case ("initiator", ":", name):
                return self.initiator_named(name).device
        return filesystem.device

    def target_named(self, name: str) -> Target:
        return next(t for t in self.targets if t.name == name)

    @cached_property
    def workers(self) -> tuple[Node, ...]:
        """The nodes that can run groups, in the file's order."""
        return tuple(n for n in self.nodes if not n.votes_only)

    @cached_property
    def two_node(self) -> bool:
        """No third vote: when two nodes lose each other both keep quorum, so only fencing tells who goes on."""
        return len(self.nodes) == 2

    @cached_property
    def silence_means_down(self) -> bool:
        """A node that was cut off for long enough has lost quorum, so its watchdog has reset it."""
        return self.fencing != "manual" and not self.two_node

    def peer_of(self, worker: str) -> str:
        """The other of the two workers."""
        return next(n.name for n in self.workers if n.name != worker)

    @cached_property
    def groups_in_order(self) -> tuple[Group, ...]:
        """Each group behind those that its own place depends on."""
        return tuple(self.group(name) for name in TopologicalSorter(dependencies(self.groups)).static_order())

    def followers(self, group: str) -> tuple[Group, ...]:
        """The groups that run where ``group`` runs, directly or by way of another."""
        direct = [g for g in self.groups if g.leader == group]
        return tuple(found for g in direct for found in (g, *self.followers(g.name)))

    @cached_property
    def directors_networks(self) -> tuple[IPNetwork, ...]:
        """Every network in which each director has an address."""
        return (*self.networks, *self.director.networks)

    @property
    def sync_network(self) -> IPNetwork:
        """Where directors tell each other their connections."""
        return self.director.sync_network or self.networks[-1]

    @property
    def consensus_ms(self) -> int:
        """corosync's default of 1.2 times the token (corosync.conf(5))."""
        return self.token_ms * 12 // 10

    @cached_property
    def safety_wait_s(self) -> float:
        """How long after a node fell silent its watchdog has surely reset it.

        Its last word to the watchdog came before the ring noticed its absence: that is ``watchdog_s``.
        One more token and consensus covers the difference between the two sides' noticing, and a
        second the granularity of the kernel's softdog (drivers/watchdog/softdog.c counts whole seconds).
        """
        return self.watchdog_s + (self.token_ms + self.consensus_ms) / 1000 + 1.0
