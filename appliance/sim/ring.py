# SPDX-License-Identifier: GPL-2.0-or-later
"""corosync, simulated: rings that form and break, agreed order within a ring, CPG, votequorum.

What it keeps of the real thing (totemsrp.c, cpg.c, votequorum.c of corosync 3.1):
- a ring number is 4 above the highest that any member has seen, and survives a power cut;
- nodes that leave a ring together have got the same of its messages, which may be more or fewer than
  the others got; what was not yet ordered is sent in the new ring, or lost;
- a process joins and leaves within a ring, ordered among its messages;
- a token that is lost costs the ring its number, even when nobody turns out to be missing.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from appliance.config.model import Cluster
from appliance.decide.messages import Beat, Message
from appliance.sim.clock import Action, Clock, Story
from appliance.sim.machine import Machine
from appliance.sim.network import Network

Process = tuple[str, int]


class Listener(Protocol):
    """A supervisor process as CPG and votequorum see it."""

    pid: int
    ended: bool

    def members(self, ring: int, processes: tuple[Process, ...], nodes: tuple[str, ...]) -> None: ...
    def message(self, sender: str, message: Message) -> None: ...
    def quorum(self, quorate: bool) -> None: ...
    def lost(self) -> None: ...


@dataclass(frozen=True)
class _Said:
    sender: Process
    message: Message


@dataclass(frozen=True)
class _Came:
    process: Process


@dataclass(frozen=True)
class _Went:
    process: Process


@dataclass(frozen=True)
class _Lists:
    """What each member of a new ring tells of its processes."""

    processes: frozenset[Process]


# Seconds from sending to its place in the order, and from there to the processes.
ORDER_S = (0.0002, 0.003)
DELIVER_S = (0.0003, 0.009)
# A process has its own work to do before it reads the next of several messages.
READ_S = (0.0001, 0.006)
# On a slow link a message takes longer, but not so long that the token is lost.
SLOW_S = (0.02, 0.4)

_Item = _Said | _Came | _Went | _Lists


@dataclass
class _Ring:
    """``closed_at``: since when it stands still, having lost a node; ``stumbled``: its token is lost for good."""

    seq: int
    nodes: tuple[str, ...]
    log: list[_Item] = field(default_factory=list)
    open: bool = True
    closed_at: float = 0.0
    stumbled: bool = False


@dataclass
class _Seat:
    """corosync on one node. ``limit``: of a broken ring's log, what has arrived here (None: all)."""

    machine: Machine
    ring: _Ring
    position: int = 0
    limit: int | None = None
    processes: frozenset[Process] = frozenset()
    unsent: list[_Item] = field(default_factory=list)
    ordering: bool = False
    listener: Listener | None = None
    inbox: deque[Action] = field(default_factory=deque)
    quorate: bool = False
    met_all: bool = False
    crossing: bool = False


class Corosync:
    """All nodes' corosync. Call `changed` whenever a cable, a machine's power or its pausing has changed."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        story: Story,
        network: Network,
        machines: dict[str, Machine],
        chance: random.Random,
    ) -> None:
        self.cluster = cluster
        self.clock = clock
        self.story = story
        self.network = network
        self.machines = machines
        self.chance = chance
        self.seats: dict[str, _Seat] = {}

    # What nodes and processes do ------------------------------------------------------------------

    def start(self, node: str, *, met_all: bool = False) -> None:
        """``met_all``: two nodes have met before, so one alone is quorate."""
        machine = self.machines[node]
        machine.ring_seq += 4
        self.seats[node] = _Seat(machine, _Ring(machine.ring_seq, (node,)), met_all=met_all)
        self._recount((node,))
        self.changed()

    def halt(self, node: str) -> None:
        if self.seats.pop(node, None) is not None:
            self.changed()

    def crash(self, node: str) -> None:
        """The daemon alone dies; its process learns it from the closed socket."""
        seat = self.seats.pop(node, None)
        if seat is not None:
            if seat.listener is not None:
                seat.machine.soon(0.001, 0.02, partial(self._say_lost, seat.listener))
            self.changed()

    @staticmethod
    def _say_lost(listener: Listener) -> None:
        if not listener.ended:
            listener.lost()

    def stumble(self, node: str) -> None:
        """The token is lost although all cables are there: the ring forms anew."""
        if node in self.seats and self.seats[node].ring.open:
            self._close(self.seats[node].ring)
            self.seats[node].ring.stumbled = True
            self._form_later()

    def join(self, node: str, listener: Listener) -> bool:
        """Connect a process: it hears of quorum at once, of members and messages once its join is ordered."""
        seat = self.seats.get(node)
        if seat is None:
            return False
        seat.listener = listener
        self._tell_quorum(seat)
        self._send(seat, _Came((node, listener.pid)))
        return True

    def leave(self, node: str, pid: int) -> None:
        seat = self.seats.get(node)
        if seat is not None:
            seat.listener = None
            seat.inbox.clear()
            self._send(seat, _Went((node, pid)))

    def multicast(self, node: str, pid: int, message: Message) -> None:
        seat = self.seats.get(node)
        if seat is None or seat.listener is None or seat.listener.pid != pid:
            return
        if isinstance(message, Beat) and seat.ring.open and not seat.unsent:
            # Nobody but its sender heeds a beat, so that it went round tells the same as that the ring is whole.
            seat.machine.soon(0.0005, 0.012, partial(self._beat, seat, seat.ring, pid, message))
        else:
            self._send(seat, _Said((node, pid), message))

    def ring_of(self, node: str) -> tuple[str, ...]:
        return self.seats[node].ring.nodes if node in self.seats else ()

    # Order within a ring --------------------------------------------------------------------------

    def _beat(self, seat: _Seat, ring: _Ring, pid: int, message: Beat) -> None:
        listener, node = seat.listener, seat.machine.name
        if listener is None or listener.pid != pid or seat is not self.seats.get(node):
            return
        if seat.ring is not ring or not ring.open:
            self._send(seat, _Said((node, pid), message))
        elif (node, pid) in seat.processes:
            listener.message(node, message)

    def _send(self, seat: _Seat, item: _Item) -> None:
        seat.unsent.append(item)
        self._order_soon(seat)

    def _order_soon(self, seat: _Seat) -> None:
        if not seat.ordering:
            seat.ordering = True
            seat.machine.soon(*ORDER_S, partial(self._order, seat))

    def _order(self, seat: _Seat) -> None:
        seat.ordering = False
        ring = seat.ring
        if not ring.open or not seat.unsent or seat is not self.seats.get(seat.machine.name):
            return
        ring.log += seat.unsent
        seat.unsent.clear()
        upto = len(ring.log)
        for node in ring.nodes:
            other = self.seats.get(node)
            if other is not None and other.ring is ring:
                takes = SLOW_S if node in self.network.slow else DELIVER_S
                other.machine.soon(*takes, partial(self._deliver, other, ring, upto))

    def _deliver(self, seat: _Seat, ring: _Ring, upto: int) -> None:
        if seat.ring is not ring or seat is not self.seats.get(seat.machine.name):
            return
        if seat.limit is not None and upto > seat.limit:
            upto = seat.limit
        while seat.position < upto:
            item = ring.log[seat.position]
            seat.position += 1
            self._take(seat, item)

    def _take(self, seat: _Seat, item: _Item) -> None:
        match item:
            case _Said(sender, message):
                listener = seat.listener
                if isinstance(message, Beat) and sender[0] != seat.machine.name:
                    return  # as Core does at once; here it saves events
                if listener is not None and (seat.machine.name, listener.pid) in seat.processes:
                    self._post(seat, partial(listener.message, sender[0], message))
            case _Came(process):
                self._processes(seat, seat.ring, seat.processes | {process})
            case _Went(process):
                self._processes(seat, seat.ring, seat.processes - {process})
            case _Lists(processes):
                self._processes(seat, seat.ring, processes)

    def _processes(self, seat: _Seat, ring: _Ring, processes: frozenset[Process]) -> None:
        seat.processes = processes
        listener = seat.listener
        if listener is not None and (seat.machine.name, listener.pid) in processes:
            self._post(seat, partial(listener.members, ring.seq, tuple(sorted(processes)), ring.nodes))

    def _post(self, seat: _Seat, call: Action) -> None:
        """Hand a callback to the process: in order, and after what it has not read yet."""
        if seat.inbox or seat.crossing:
            seat.inbox.append(call)
            if len(seat.inbox) == 1:
                seat.machine.soon(*READ_S, partial(self._read, seat, seat.listener))
        else:
            call()

    def _read(self, seat: _Seat, listener: Listener | None) -> None:
        if seat.inbox and seat.listener is listener and seat is self.seats.get(seat.machine.name):
            seat.inbox[0]()
            if seat.inbox:
                seat.inbox.popleft()
            if seat.inbox:
                seat.machine.soon(*READ_S, partial(self._read, seat, listener))

    # Rings ----------------------------------------------------------------------------------------

    def changed(self) -> None:
        """A ring that has lost a node stands still at once; who is left notices after token and consensus."""
        for ring in {id(s.ring): s.ring for s in self.seats.values()}.values():
            if ring.open and not self._intact(ring):
                self._close(ring)
            elif self._may_mend(ring):
                self._mend(ring)
        self._form_later()

    def _may_mend(self, ring: _Ring) -> bool:
        """Nobody can have missed the token yet."""
        soon = self.clock.now - ring.closed_at < self._token_s * 0.6
        return not ring.open and not ring.stumbled and soon and self._intact(ring)

    def _close(self, ring: _Ring) -> None:
        ring.open, ring.closed_at = False, self.clock.now
        for seat in self._sitting(ring):
            mine = [i for i, item in enumerate(ring.log) if self._sender(item) == seat.machine.name]
            least = max(seat.position, mine[-1] + 1 if mine else 0)
            seat.limit = self.chance.randint(least, len(ring.log))

    def _form_later(self) -> None:
        chance, consensus_s = self.chance, self.cluster.consensus_ms / 1000
        delay = self._token_s * chance.uniform(0.6, 1.0) + consensus_s * chance.uniform(1.0, 1.1)
        self.clock.after(delay, self._form)

    @property
    def _token_s(self) -> float:
        return self.cluster.token_ms / 1000

    @staticmethod
    def _sender(item: _Item) -> str | None:
        return item.sender[0] if isinstance(item, _Said) else None

    def _sitting(self, ring: _Ring) -> list[_Seat]:
        return [s for n in ring.nodes if (s := self.seats.get(n)) is not None and s.ring is ring]

    def _intact(self, ring: _Ring) -> bool:
        sitting = self._sitting(ring)
        alive = all(s.machine.running for s in sitting)
        return len(sitting) == len(ring.nodes) and alive and self.network.whole(ring.nodes)

    def _standing(self, node: str) -> int:
        ring = self.seats[node].ring
        return len(ring.nodes) if self._intact(ring) else 0

    def _form(self) -> None:
        left = [n.name for n in self.cluster.nodes if n.name in self.seats and self.machines[n.name].running]
        # Where cables leave a triangle with one side missing, any of the two rings may form, and then it stays.
        self.chance.shuffle(left)
        left.sort(key=self._standing, reverse=True)
        while left:
            group: list[str] = []
            for node in left:
                if self.network.whole([*group, node]):
                    group.append(node)
            left = [n for n in left if n not in group]
            self._settle(tuple(n.name for n in self.cluster.nodes if n.name in group))

    def _settle(self, nodes: tuple[str, ...]) -> None:
        rings = {id(self.seats[n].ring): self.seats[n].ring for n in nodes}
        first = next(iter(rings.values()))
        if len(rings) == 1 and first.nodes == nodes and first.open and len(self._sitting(first)) == len(nodes):
            return
        seq = max(self.machines[n].ring_seq for n in nodes) + 4
        ring = _Ring(seq, nodes)
        self.story.tell("corosync", "ring {}: {}", seq, " ".join(nodes))
        for old in rings.values():
            self._cross([self.seats[n] for n in nodes if self.seats[n].ring is old], ring)
        own = frozenset(p for n in nodes for p in self.seats[n].processes if p[0] == n)
        ring.log.append(_Lists(own))
        self._recount(nodes)
        for node in nodes:
            seat = self.seats[node]
            seat.machine.ring_seq = seq
            seat.machine.soon(0.0002, 0.02, partial(self._deliver, seat, ring, 1))
            seat.ordering = True
            seat.machine.soon(0.0002, 0.02, partial(self._order, seat))

    def _mend(self, ring: _Ring) -> None:
        """Whatever it was is over before anyone noticed: what is missing is sent again."""
        ring.open = True
        for seat in self._sitting(ring):
            seat.limit = None
            seat.machine.soon(*ORDER_S, partial(self._deliver, seat, ring, len(ring.log)))
            self._order_soon(seat)

    def _cross(self, together: list[_Seat], ring: _Ring) -> None:
        """Take ``together``, which were in one ring, to the new one: first all get what any of them got."""
        old = together[0].ring
        old.open = False
        upto = max(max(s.position, s.limit if s.limit is not None else len(old.log)) for s in together)
        names = {s.machine.name for s in together}
        for seat in together:
            seat.limit = None
            # It happens to all of them at this moment, and each process reads of it in its own time.
            seat.crossing = True
            self._deliver(seat, old, upto)
            if seat.unsent and self.chance.random() < 0.2:
                seat.unsent = [i for i in seat.unsent if not isinstance(i, _Said)]
            seat.ring, seat.position = ring, 0
            stay = frozenset(p for p in seat.processes if p[0] in names)
            # CPG tells of the lost processes first; the ring's own number comes in a second callback.
            if stay != seat.processes:
                self._processes(seat, old, stay)
            self._processes(seat, ring, stay)
            seat.crossing = False

    def _recount(self, nodes: tuple[str, ...]) -> None:
        """votequorum: a majority of all; with two_node one node is enough once it has met the other."""
        total = len(self.cluster.nodes)
        for seat in (self.seats[n] for n in nodes):
            seat.met_all = seat.met_all or len(nodes) == total
            quorate = seat.met_all if self.cluster.two_node else 2 * len(nodes) > total
            if quorate != seat.quorate:
                seat.quorate = quorate
                self._tell_quorum(seat)

    def _tell_quorum(self, seat: _Seat) -> None:
        seat.machine.soon(0.0002, 0.03, partial(self._say_quorum, seat, seat.listener))

    def _say_quorum(self, seat: _Seat, listener: Listener | None) -> None:
        if listener is not None and seat.listener is listener and not listener.ended:
            listener.quorum(seat.quorate)
