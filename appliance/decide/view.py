# SPDX-License-Identifier: GPL-2.0-or-later
"""The values that a decision is made from: what nodes report, what the cluster remembers, who is there."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from appliance.config.model import Cluster

State = Literal["stopped", "started", "failed"]


# What /proc/drbd says while writes do not reach the peer (drbd_strings.c, below C_CONNECTED).
DISCONNECTED = (
    "StandAlone",
    "Disconnecting",
    "Unconnected",
    "Timeout",
    "BrokenPipe",
    "NetworkFailure",
    "ProtocolError",
    "TearDown",
    "WFConnection",
    "WFReportParams",
)


@dataclass(frozen=True)
class DrbdReport:
    """One node's side of a DRBD resource, in the words of /proc/drbd.

    ``role`` is "Unconfigured" until the resource is up. ``fresh``: metadata just created, never held data.
    ``suspended``: "no", or why the kernel freezes I/O. ``out_of_sync_kib`` counts what the disks differ in.
    ``split_brain``: both copies were changed apart from each other, so DRBD refuses to connect. ``hung``: the
    disk finishes nothing that it was asked for.
    """

    role: str = "Unconfigured"
    disk: str = "Diskless"
    connection: str = "StandAlone"
    peer_disk: str = "DUnknown"
    peer_role: str = "Unknown"
    sync_percent: float | None = None
    sync_left_s: float | None = None
    out_of_sync_kib: int = 0
    suspended: str = "no"
    fresh: bool = False
    split_brain: bool = False
    hung: bool = False

    @property
    def disconnected(self) -> bool:
        return self.connection in DISCONNECTED

    @property
    def diskless(self) -> bool:
        """Without a disk of its own: none is attached yet, or it failed and was detached."""
        return self.disk in ("Diskless", "Failed")

    @property
    def works_on_peers_disk(self) -> bool:
        """Primary without a disk of its own: every read and write goes through the connection."""
        alone = self.diskless and self.role == "Primary"
        return alone and self.connection == "Connected" and self.peer_disk == "UpToDate"

    @property
    def peer_lost_its_disk(self) -> bool:
        """Writes go to this disk alone, though the nodes are connected: the other failed and was detached."""
        alone = self.disk == "UpToDate" and self.peer_disk in ("Diskless", "Failed")
        return alone and self.connection == "Connected"

    @property
    def paired(self) -> bool:
        """Both disks hold the same data and every write goes to both."""
        return self.connection == "Connected" and self.disk == "UpToDate" and self.peer_disk == "UpToDate"


@dataclass(frozen=True)
class GroupReport:
    """One node's share in a group: ``states`` and unexpired ``fails`` per resource, in the group's order.

    ``stuck`` says which stop failed: until this node is reset nothing is known to be stopped on it.
    ``blocked``: a stop failed, and is tried again and again, since nobody is to be fenced for it.
    ``claimed``: nothing runs yet, but the node is about to start the group, or its first start is under way.
    """

    states: tuple[State, ...]
    fails: tuple[int, ...]
    stuck: str = ""
    claimed: bool = False
    blocked: str = ""

    @cached_property
    def holds(self) -> bool:
        return self.active or self.claimed

    @cached_property
    def active(self) -> bool:
        return any(state != "stopped" for state in self.states) or bool(self.stuck)

    @cached_property
    def running(self) -> bool:
        return all(state == "started" for state in self.states)


@dataclass(frozen=True)
class FenceTrouble:
    """``tries``: how often a node failed to switch another off in this membership; ``text``: the last reason."""

    tries: int
    text: str


@dataclass(frozen=True, order=True)
class Stamp:
    """Orders versions of the record: the ring that changed it (its numbers only grow), then a count."""

    ring: int = 0
    count: int = 0


NEVER = Stamp()


@dataclass(frozen=True)
class Configuration:
    """A version of cluster.toml. 0 is what each node's first boot wrote, and its text is nowhere but there.

    ``stops``: groups that must not run while nodes change to this version, since it changes what they consist of.
    ``at``: Unix time at which ``who`` applied it, and ``why``.
    """

    version: int = 0
    text: str = ""
    stops: tuple[str, ...] = ()
    who: str = ""
    why: str = ""
    at: float = 0.0

    @cached_property
    def name(self) -> str:
        """The same for nobody but the same: two nodes may once have called different texts by one number."""
        return f"{self.version}:{zlib.crc32(repr(self).encode()):08x}"


FIRST = Configuration()


@dataclass(frozen=True)
class Record:
    """What the cluster must not forget. Every node keeps a copy on disk; only a majority changes it.

    ``current``: per DRBD resource, the nodes that hold every acknowledged write. A node leaves the set
    before a write is acknowledged without it, and comes back when its disk is the same again; so any
    majority knows whose data may be used, whatever disks and heartbeats say.
    ``formatted``: filesystems that were made once and never are again. ``wanted``: ordered switchovers; one of
    a group that moves back by itself stays in force as long as it can.
    ``detached``: nodes whose supervisor was stopped on purpose while services ran on. ``forced``: per DRBD
    resource the node whose copy an operator declared the newest, until it is; ``discard``: the node whose
    changes an operator gave up after a split brain, until both are connected. ``config``: the version of
    cluster.toml that is in force. ``drained``: real servers ("VIRTUAL/REAL") that get no new connections.
    """

    stamp: Stamp = NEVER
    current: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    formatted: tuple[str, ...] = ()
    standby: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    maintenance: bool = False
    wanted: Mapping[str, str] = field(default_factory=dict)
    forced: Mapping[str, str] = field(default_factory=dict)
    discard: Mapping[str, str] = field(default_factory=dict)
    config: Configuration = FIRST
    drained: tuple[str, ...] = ()


BLANK = Record()


@dataclass(frozen=True)
class Report:
    """Everything one node says of itself. It counts only for the membership ``view_id`` it was sent in.

    ``leaving``: the node is shutting down and wants its groups moved; ``stopping``: its supervisor alone
    is about to stop and leaves the services running. ``record`` is its copy on disk.
    ``down``: absent nodes on which nothing can run any more as far as this node saw: they said so when they left,
    were switched off, or were silent for the whole safety wait. ``suspects``: nodes that this one saw fall out of
    the ring, and of which it knows nothing since. ``fence_troubles``: whom it failed to switch off;
    ``unreached``: which of the addresses that it should reach do not answer it; ``unwritten``: why it cannot
    write the record, so that it promises nothing; ``warnings``: what people should know of the node. ``fit``:
    groups with a delay before they move back that could have run here for so long. ``took``: how many seconds its
    last start and stop of each resource took, by the verb and the resource's id, and switching a node off ("fence
    NODE"); a dry run reckons with them. ``config`` names the configuration that it runs by. ``serial`` tells a
    node's own reports apart.
    """

    node: str
    boot_id: str
    view_id: str
    quorate: bool
    groups: Mapping[str, GroupReport]
    drbd: Mapping[str, DrbdReport]
    record: Record
    leaving: bool = False
    stopping: bool = False
    down: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    fence_troubles: Mapping[str, FenceTrouble] = field(default_factory=dict)
    unreached: tuple[str, ...] = ()
    unwritten: str = ""
    warnings: tuple[str, ...] = ()
    fit: tuple[str, ...] = ()
    took: Mapping[str, float] = field(default_factory=dict)
    config: str = FIRST.name
    serial: int = 0


@dataclass(frozen=True)
class ClusterView:
    """What all members of a partition know alike, since all got the same messages in the same order.

    ``members``: nodes whose supervisors take part, in the file's order. ``reports`` holds those that
    count for this membership. ``persisted``: which version of the record each member has on disk.
    ``adopted``: the members have agreed on the newest record that any of them had.
    ``claims``: per group the one node that may start it: of those that hold it, the first that said so.
    """

    cluster: Cluster
    view_id: str = ""
    ring: int = 0
    members: tuple[str, ...] = ()
    reports: Mapping[str, Report] = field(default_factory=dict)
    record: Record = BLANK
    persisted: Mapping[str, Stamp] = field(default_factory=dict)
    adopted: bool = False
    claims: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def complete(self) -> bool:
        """Every member has reported since the membership last changed."""
        return bool(self.members) and all(name in self.reports for name in self.members)

    @cached_property
    def quorate(self) -> bool:
        """Enough nodes are here, all have reported, and corosync calls each of them quorate."""
        return (
            self.complete
            and self._suffices(len(self.members))
            and self.remembers
            and all(self.reports[name].quorate for name in self.members)
        )

    @cached_property
    def remembers(self) -> bool:
        """What any earlier majority has agreed on is known to one of the members.

        A node without a record, new or restored onto a new disk, has perhaps forgotten what it took part in: it
        counts only where those with a record suffice, or where nobody is away who could know more.
        """
        known = [n for n in self.members if self.reports[n].record.stamp > NEVER]
        return len(self.members) == len(self.cluster.nodes) or self._suffices(len(known))

    @cached_property
    def settled(self) -> bool:
        """Enough nodes have this version of the record on disk: no later quorum can miss it."""
        holders = [n for n in self.members if self.persisted.get(n, NEVER) >= self.record.stamp]
        return self.adopted and self._suffices(len(holders))

    def _suffices(self, nodes: int) -> bool:
        """A majority of all; without a third vote also the one that is left when the other is surely down.

        The other, when it comes back, has no quorum before it has met this one: corosync waits for all
        after a cold start of two nodes (votequorum(5), two_node).
        """
        alone = self.cluster.two_node and nodes == 1 == len(self.members)
        return 2 * nodes > len(self.cluster.nodes) or (alone and self._others_down)

    @cached_property
    def _others_down(self) -> bool:
        return all(self.surely_down(n.name) for n in self.cluster.nodes if n.name not in self.members)

    def surely_down(self, node: str) -> bool:
        """Nothing of ours can run on the absent ``node``.

        All members must say so, because a node that was away itself may have missed that ``node``
        came back for a while.
        """
        return node not in self.members and self.complete and all(node in r.down for r in self.reports.values())
