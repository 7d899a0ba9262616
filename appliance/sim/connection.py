# SPDX-License-Identifier: GPL-2.0-or-later
"""How the two sides of a simulated DRBD pair meet, resync, and lose each other (drbd_receiver.c, drbd_state.c)."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import count

from appliance.sim.clock import Action, Story
from appliance.sim.machine import Machine
from appliance.sim.metadata import Meeting, at_least, compare
from appliance.sim.network import Network
from appliance.sim.side import Side

# net { timeout 20; ping-int 2; ping-timeout 5; connect-int 2; } of the rendered configuration, in seconds.
LOSS_S = (0.5, 2.5)
CONNECT_S = (0.05, 2.0)
RESYNC_S = (1.0, 12.0)


class Connection:
    """``asks`` calls a node's fence-peer handler, ``changed`` tells a node of a new state, ``promoted`` is for the
    judge, ``io_error`` tells a node that its file system got an error. ``resync_s``: how long one takes."""

    def __init__(
        self,
        name: str,
        link: int,
        machines: tuple[Machine, Machine],
        network: Network,
        story: Story,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.link = link
        self.network = network
        self.story = story
        self.chance = chance
        self.first, self.second = (Side(m) for m in machines)
        self.sides = {s.name: s for s in (self.first, self.second)}
        self.asks: Callable[[str], None] = lambda _node: None
        self.changed: Callable[[str], None] = lambda _node: None
        self.promoted: Callable[[str], None] = lambda _node: None
        self.io_error: Callable[[str], None] = lambda _node: None
        self.resync_s = RESYNC_S
        self._sessions = count(1)
        self._generations = count(1)
        self._promoting: dict[str, Action] = {}
        self._connecting = False
        for machine in machines:
            machine.on_halt.append(partial(self._halt, machine.name))

    def peer(self, side: Side) -> Side:
        return self.second if side is self.first else self.first

    def reach(self) -> None:
        """Call whenever a cable, power, or what the kernel wants of the connection has changed."""
        for side in (self.first, self.second):
            if side.session is not None and not self._alive(side):
                times = (0.01, 0.2) if self._reachable() else LOSS_S
                side.machine.soon(*times, partial(self._notice_loss, side, side.session))
        if not self._connecting and self._both_call():
            self._connecting = True
            self.first.machine.clock.after(self.chance.uniform(*CONNECT_S), self._connect)

    def _alive(self, side: Side) -> bool:
        """The connection that ``side`` believes in still carries something both ways."""
        return self.peer(side).session == side.session and self._reachable()

    def _reachable(self) -> bool:
        first, second = self.first, self.second
        running = first.up and second.up and first.machine.running and second.machine.running
        return running and self.network.joins(self.link, first.name, second.name)

    def _both_call(self) -> bool:
        called = self.first.connection == self.second.connection == "WFConnection" and self._reachable()
        # A promotion holds what a meeting needs until its handler has ended (state_mutex in drbd_set_role).
        return called and not (self.first.stalls or self.second.stalls or self._promoting)

    def _connect(self) -> None:
        self._connecting = False
        if self._both_call():
            self._meet(self.first, self.second)

    def _meet(self, first: Side, second: Side, *, attaching: Side | None = None) -> None:
        """Also when a disk is attached while connected: that starts the same negotiation.

        A Primary can become the target of a resync only so: what is read is the peer's until it is done.
        """
        if not (first.attached and second.attached):
            self._meet_diskless(first, second)
            return
        outcome = compare(first.disk_md, second.disk_md, crashed=(first.crashed_primary, second.crashed_primary))
        # A consistent disk is the source for an inconsistent one, whatever the identifiers say.
        if (first.disk == "Inconsistent") != (second.disk == "Inconsistent"):
            outcome = Meeting.TARGET if first.disk == "Inconsistent" else Meeting.SOURCE
        if outcome is Meeting.SPLIT_BRAIN and first.discards != second.discards:
            outcome = Meeting.TARGET if first.discards else Meeting.SOURCE
        first.split = second.split = outcome is Meeting.SPLIT_BRAIN
        source, target = (second, first) if outcome is Meeting.TARGET else (first, second)
        if outcome is Meeting.SPLIT_BRAIN or (source.role == target.role == "Primary"):
            self._refuse(outcome.value if outcome is Meeting.SPLIT_BRAIN else "two primaries", first, second)
        elif outcome is not Meeting.EQUAL and target.role == "Primary" and target is not attaching:
            self._refuse("would become SyncTarget, but is Primary", target)
        else:
            self._join(source, target, resync=outcome is not Meeting.EQUAL)

    def _meet_diskless(self, first: Side, second: Side) -> None:
        """No disks are compared, so a disk that was Outdated is UpToDate from then on (sanitize_state)."""
        for side, peer in ((first, second), (second, first)):
            if not side.attached and side.role == "Primary" and side.exposed != peer.disk_md.current:
                self._refuse("can only connect to data with the current identifier", side)
                return
        if first.role == second.role == "Primary":
            self._refuse("two primaries", first, second)
            return
        self._join(first, second, resync=False)

    def _refuse(self, why: str, *sides: Side) -> None:
        for side in sides:
            self.story.tell(side.name, "{}: {}, StandAlone", self.name, why)
            if side.connected:
                self._lose(side, "StandAlone")
            else:
                side.connection = "StandAlone"
                self._settle(side)
        self.reach()

    def _join(self, source: Side, target: Side, *, resync: bool) -> None:
        session = next(self._sessions)
        for side in (source, target):
            side.session = session
            side.discards = False
            side.meetings += 1
            if side.disk in ("Consistent", "Outdated"):
                side.disk = "UpToDate"
        if resync:
            self._begin_resync(source, target, session)
        elif source.attached and target.attached:
            for side in (source, target):
                side.disk_md.bitmap, side.crashed_primary = 0, False
        source.connection = "SyncSource" if resync else "Connected"
        target.connection = "SyncTarget" if resync else "Connected"
        source.peer_disk, target.peer_disk = target.disk, source.disk
        self.story.tell(source.name, "{}: {}, {}/{}", self.name, source.connection, source.disk, target.disk)
        for side in (source, target):
            self._send_again(side)
            self._expose(side)
            self._thaw(side)
            self._settle(side)

    def _begin_resync(self, source: Side, target: Side, session: int) -> None:
        sync = next(self._generations)
        target.disk_md.history |= {target.disk_md.current, target.disk_md.bitmap}
        source.disk_md.history |= {source.disk_md.bitmap}
        target.disk_md.current, target.disk_md.bitmap = sync, 0
        source.disk_md.bitmap = sync
        # Some of the blocks are old and some are new from here on.
        target.disk_md.writes.clear()
        target.disk = "Inconsistent"
        source.machine.soon(*self.resync_s, partial(self._finish, source, target, session))

    def found_connected(self, source: Side, target: Side) -> None:
        """Both are connected, as they are: nothing is negotiated. A target that is Inconsistent gets a resync."""
        source.session = target.session = session = next(self._sessions)
        source.connection = target.connection = "Connected"
        if target.disk == "Inconsistent" and source.disk == "UpToDate":
            source.connection, target.connection = "SyncSource", "SyncTarget"
            self._begin_resync(source, target, session)

    def _send_again(self, side: Side) -> None:
        """What was written meanwhile goes to the peer as well: what waits does, a resync brings the rest."""
        peer = self.peer(side)
        for write in side.in_flight:
            if peer.attached:
                peer.disk_md.writes.add(write.number)
                write.there = True

    def _expose(self, side: Side) -> None:
        """What side goes on with whose peer has no disk, or with a peer's disk in place of its own.

        Assumes of a Primary that meets a diskless peer that it begins a new generation, as it does when a
        connected peer detaches its disk.
        """
        peer = self.peer(side)
        if side.connected and side.attached and not peer.attached and "Primary" in (side.role, peer.role):
            if side.disk == "UpToDate" and side.disk_md.bitmap == 0 and side.disk_md.current:
                side.disk_md.new_generation(next(self._generations))
            peer.exposed = side.disk_md.current
        elif side.connected and not side.attached and peer.attached:
            side.exposed = peer.disk_md.current

    def _finish(self, source: Side, target: Side, session: int) -> None:
        if not source.session == target.session == session or source.connection != "SyncSource":
            return
        if not self._reachable() or source.stalls or target.stalls:
            source.machine.after(0.5, partial(self._finish, source, target, session))
            return
        target.disk_md.same_as(source.disk_md)
        for side in (source, target):
            side.disk = side.peer_disk = "UpToDate"
            side.connection = "Connected"
            side.crashed_primary = False
            self._settle(side)
        self.story.tell(source.name, "{}: resync done", self.name)

    def _notice_loss(self, side: Side, session: int) -> None:
        if side.session == session and not self._alive(side):
            self._lose(side, "WFConnection")

    def _lose(self, side: Side, connection: str) -> None:
        side.session, side.connection = None, connection
        if not side.attached:
            # Without a disk there are no fencing options either, and no data: I/O fails (on-no-data-accessible).
            side.peer_disk = "DUnknown"
            self._fail_all(side)
            self._settle(side)
            self.reach()
            return
        if at_least(side.peer_disk, "DUnknown") or not at_least(side.peer_disk, "Inconsistent"):
            side.peer_disk = "DUnknown"
        if side.role == "Primary" and side.peer_disk == "DUnknown":
            self.story.tell(side.name, "{}: connection lost, I/O is frozen", self.name)
            side.frozen = side.new_generation_due = True
            self._settle(side)
            self.asks(side.name)
        else:
            self._complete_all(side)
            self._settle(side)
        self.reach()

    def _halt(self, node: str) -> None:
        self._promoting.pop(node, None)
        self.sides[node].reset()

    # Writes that wait ---------------------------------------------------------------------------------

    def _thaw(self, side: Side) -> None:
        if side.frozen:
            self.story.tell(side.name, "{}: I/O goes on", self.name)
        side.frozen = side.new_generation_due = False
        self._complete_all(side)

    def _complete_all(self, side: Side) -> None:
        """Acknowledge what is on any disk that this side can read; the rest is an error."""
        if side.frozen or side.stalls:
            return
        waiting, side.in_flight = side.in_flight, []
        for write in waiting:
            if write.here or write.there:
                write.acknowledge()
            else:
                self.io_error(side.name)

    def _fail_all(self, side: Side) -> None:
        had, side.in_flight, side.frozen = bool(side.in_flight), [], False
        if side.role == "Primary" or had:
            self.io_error(side.name)

    def _settle(self, side: Side) -> None:
        """Write the state into the metadata, as after every state change (drbd_state.c), and tell of it."""
        if side.attached and not side.stalls:
            md = side.disk_md
            md.consistent = at_least(side.disk, "Outdated")
            md.was_up_to_date = at_least(side.disk, "Consistent")
            md.peer_outdated = side.peer_disk in ("Inconsistent", "Outdated")
            md.primary = side.role == "Primary" or side.crashed_primary
        self.changed(side.name)
