# SPDX-License-Identifier: GPL-2.0-or-later
"""A DRBD 8.4 pair, simulated: protocol C, `fencing resource-and-stonith`, after-sb policies `disconnect`.

The rules are those of drbd_state.c, drbd_nl.c and drbd_receiver.c (Linux 6.12), in the kernel's words.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from appliance.decide.view import DrbdReport
from appliance.sim.clock import Action, Story
from appliance.sim.machine import Machine
from appliance.sim.metadata import Meeting, Metadata, at_least, compare
from appliance.sim.network import Network

# net { timeout 20; ping-int 2; ping-timeout 5; connect-int 2; } of the rendered configuration, in seconds.
LOSS_S = (0.5, 2.5)
CONNECT_S = (0.05, 2.0)
RESYNC_S = (1.0, 12.0)
# Promotions are tried so often while the fence-peer handler gives an answer (drbd_set_role).
PROMOTE_TRIES = 4

Done = Callable[[str | None], None]


@dataclass
class Side:
    """The kernel's volatile state on one machine. ``session`` names the connection, None without one."""

    machine: Machine
    disk_md: Metadata = field(default_factory=Metadata)
    up: bool = False
    role: str = "Secondary"
    disk: str = "Diskless"
    peer_disk: str = "DUnknown"
    connection: str = "StandAlone"
    frozen: bool = False
    crashed_primary: bool = False
    session: int | None = None
    new_generation_due: bool = False
    meetings: int = 0
    in_flight: list[tuple[int, Action]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def connected(self) -> bool:
        return self.session is not None


class Pair:
    """``asks`` calls a node's fence-peer handler, ``changed`` tells a node of a new state, ``promoted``
    and ``first_data`` are for the judge and the story."""

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
        self.sides = {m.name: Side(m) for m in machines}
        self.asks: Callable[[str], None] = lambda _node: None
        self.changed: Callable[[str], None] = lambda _node: None
        self.promoted: Callable[[str], None] = lambda _node: None
        self._sessions = count(1)
        self._generations = count(1)
        self._promoting: dict[str, Action] = {}
        self._connecting = False
        for machine in machines:
            machine.on_halt.append(partial(self._halt, machine.name))

    def peer(self, side: Side) -> Side:
        return next(s for s in self.sides.values() if s is not side)

    def readable(self, node: str) -> set[int]:
        """The writes that a reader finds on ``node``: what its own disk lacks, DRBD reads from the peer's."""
        side = self.sides[node]
        remote = side.disk == "Inconsistent" and self._alive(side)
        return self.peer(side).disk_md.writes if remote else side.disk_md.writes

    def report(self, node: str) -> DrbdReport:
        side = self.sides[node]
        if not side.up:
            return DrbdReport()
        return DrbdReport(
            role=side.role,
            disk=side.disk,
            connection=side.connection,
            peer_disk=side.peer_disk,
            peer_role=self.peer(side).role if side.connected else "Unknown",
            suspended="fencing" if side.frozen else "no",
            fresh=side.disk_md.current == 0,
        )

    # What drivers ask of the kernel ---------------------------------------------------------------

    def bring_up(self, node: str) -> str | None:
        side = self.sides[node]
        if not side.up:
            side.up, side.role = True, "Secondary"
            side.disk, side.peer_disk = side.disk_md.attached()
            side.crashed_primary = side.disk_md.primary
            self.story.tell(node, f"{self.name} attached as {side.disk}")
        if side.connection == "StandAlone":
            side.connection = "WFConnection"
        self._settle(side)
        self.reach()
        return None

    def outdate(self, node: str) -> str | None:
        side = self.sides[node]
        if side.connected or side.role == "Primary" or not at_least(side.disk, "Outdated"):
            return "State change failed: Outdating is refused"
        side.disk = "Outdated"
        self._settle(side)
        return None

    def skip_first_sync(self, node: str) -> str | None:
        """`new-current-uuid --clear-bitmap` on a connected, just created pair."""
        side = self.sides[node]
        peer = self.peer(side)
        if not side.connected or side.disk_md.current or peer.disk_md.current:
            return "the pair is not connected, or not new"
        side.disk_md.current = peer.disk_md.current = next(self._generations)
        for each in (side, peer):
            each.disk = each.peer_disk = "UpToDate"
            self._settle(each)
        return None

    def promote(self, node: str, done: Done, *, peer_dead: bool) -> None:
        """``peer_dead``: `disconnect --force` a connection that nobody answers any more, then promote."""
        side = self.sides[node]
        if peer_dead and side.connected:
            self._lose(side, "StandAlone")
        self._try_promote(side, PROMOTE_TRIES, done)

    def _try_promote(self, side: Side, tries: int, done: Done) -> None:
        peer = self.peer(side)
        if side.role == "Primary":
            done(None)
        elif side.connected and not self._alive(side):
            # The ping before the state change gets no answer: soon the connection is known to be lost.
            side.machine.after(0.2, partial(self._try_promote, side, tries, done))
        elif side.connected and peer.role == "Primary":
            done("Multiple primaries not allowed by config")
        elif not side.connected and side.peer_disk == "DUnknown" and at_least(side.disk, "Consistent"):
            if tries == 0:
                done("Need access to UpToDate data")
            else:
                self._promoting[side.name] = partial(self._try_promote, side, tries - 1, done)
                self.asks(side.name)
        elif side.disk == "UpToDate" or (side.connected and side.peer_disk == "UpToDate"):
            side.role = "Primary"
            if not side.connected and side.disk_md.bitmap == 0:
                side.disk_md.new_generation(next(self._generations))
            self._settle(side)
            self.promoted(side.name)
            done(None)
        else:
            done("Need access to UpToDate data")

    def demote(self, node: str) -> str | None:
        side = self.sides[node]
        if side.in_flight:
            return "Device is held open by someone"
        side.role, side.frozen, side.new_generation_due = "Secondary", False, False
        self._settle(side)
        self.reach()
        return None

    def fence_answer(self, node: str, code: int, meetings: int) -> None:
        """The handler, begun after so many ``meetings``, has ended (drbd_nl.c, conn_try_outdate_peer)."""
        side = self.sides[node]
        valid = code in (4, 7) and meetings == side.meetings
        if valid and side.up and not side.connected and at_least(side.peer_disk, "DUnknown"):
            side.peer_disk = "Outdated"
            if side.disk == "Consistent":
                side.disk = "UpToDate"
            if side.frozen:
                if side.new_generation_due and side.disk_md.bitmap == 0:
                    side.disk_md.new_generation(next(self._generations))
                self._thaw(side)
            self._settle(side)
        again = self._promoting.pop(node, None)
        if again is not None:
            again()

    # Writes -----------------------------------------------------------------------------------------

    def write(self, node: str, write: int, acknowledge: Action) -> None:
        """A client's write: ``acknowledge`` is called once it is where protocol C wants it."""
        side = self.sides[node]
        side.disk_md.writes.add(write)
        side.in_flight.append((write, acknowledge))
        side.machine.soon(0.001, 0.004, partial(self._send, side, write))

    def _send(self, side: Side, write: int) -> None:
        peer = self.peer(side)
        if not side.connected:
            self._complete_all(side)
        elif self._alive(side):
            peer.disk_md.writes.add(write)
            side.machine.soon(0.001, 0.004, partial(self._complete, side, write))

    def _complete(self, side: Side, write: int) -> None:
        if not side.frozen:
            for entry in [e for e in side.in_flight if e[0] == write]:
                side.in_flight.remove(entry)
                entry[1]()

    def _complete_all(self, side: Side) -> None:
        if not side.frozen:
            done, side.in_flight = side.in_flight, []
            for _write, acknowledge in done:
                acknowledge()

    def _thaw(self, side: Side) -> None:
        if side.frozen:
            self.story.tell(side.name, f"{self.name}: I/O goes on")
        side.frozen = side.new_generation_due = False
        self._complete_all(side)

    # The connection ---------------------------------------------------------------------------------

    def reach(self) -> None:
        """Call whenever a cable, power, or what the kernel wants of the connection has changed."""
        sides = tuple(self.sides.values())
        for side in sides:
            if side.session is not None and not self._alive(side):
                times = (0.01, 0.2) if self._reachable() else LOSS_S
                side.machine.soon(*times, partial(self._notice_loss, side, side.session))
        if not self._connecting and self._both_call():
            self._connecting = True
            sides[0].machine.clock.after(self.chance.uniform(*CONNECT_S), self._connect)

    def _alive(self, side: Side) -> bool:
        """The connection that ``side`` believes in still carries something."""
        return self._reachable() and self.peer(side).session == side.session

    def _reachable(self) -> bool:
        first, second = self.sides.values()
        running = all(s.machine.running and s.up for s in (first, second))
        return running and self.network.joins(self.link, first.name, second.name)

    def _both_call(self) -> bool:
        return self._reachable() and all(s.connection == "WFConnection" for s in self.sides.values())

    def _connect(self) -> None:
        self._connecting = False
        if self._both_call():
            self._meet(*self.sides.values())

    def _meet(self, first: Side, second: Side) -> None:
        outcome = compare(first.disk_md, second.disk_md, crashed=(first.crashed_primary, second.crashed_primary))
        # A consistent disk is the source for an inconsistent one, whatever the identifiers say.
        if (first.disk == "Inconsistent") != (second.disk == "Inconsistent"):
            outcome = Meeting.TARGET if first.disk == "Inconsistent" else Meeting.SOURCE
        source, target = (second, first) if outcome is Meeting.TARGET else (first, second)
        if outcome is Meeting.SPLIT_BRAIN or (source.role == target.role == "Primary"):
            self._refuse(outcome.value if outcome is Meeting.SPLIT_BRAIN else "two primaries", first, second)
        elif outcome is not Meeting.EQUAL and target.role == "Primary":
            self._refuse("would become SyncTarget, but is Primary", target)
        else:
            self._join(source, target, resync=outcome is not Meeting.EQUAL)

    def _refuse(self, why: str, *sides: Side) -> None:
        for side in sides:
            self.story.tell(side.name, f"{self.name}: {why}, StandAlone")
            side.connection = "StandAlone"
            self._settle(side)

    def _join(self, source: Side, target: Side, *, resync: bool) -> None:
        session = next(self._sessions)
        for side in (source, target):
            side.session = session
            side.meetings += 1
            if side.disk in ("Consistent", "Outdated"):
                side.disk = "UpToDate"
        if resync:
            sync = next(self._generations)
            target.disk_md.history |= {target.disk_md.current, target.disk_md.bitmap}
            source.disk_md.history |= {source.disk_md.bitmap}
            target.disk_md.current, target.disk_md.bitmap = sync, 0
            source.disk_md.bitmap = sync
            # Some of the blocks are old and some are new from here on.
            target.disk_md.writes.clear()
            target.disk = "Inconsistent"
            source.machine.soon(*RESYNC_S, partial(self._finish, source, target, session))
        else:
            self._equal(source, target)
        source.connection = "SyncSource" if resync else "Connected"
        target.connection = "SyncTarget" if resync else "Connected"
        source.peer_disk, target.peer_disk = target.disk, source.disk
        self.story.tell(source.name, f"{self.name}: {source.connection}, {source.disk}/{target.disk}")
        for side in (source, target):
            self.peer(side).disk_md.writes.update(write for write, _acknowledge in side.in_flight)
            self._thaw(side)
            self._settle(side)
            again = self._promoting.pop(side.name, None)
            if again is not None:
                again()

    @staticmethod
    def _equal(*sides: Side) -> None:
        for side in sides:
            side.disk_md.bitmap, side.crashed_primary = 0, False

    def _finish(self, source: Side, target: Side, session: int) -> None:
        if not source.session == target.session == session:
            return
        if not self._reachable():
            source.machine.after(0.5, partial(self._finish, source, target, session))
            return
        target.disk_md.same_as(source.disk_md)
        for side in (source, target):
            side.disk = side.peer_disk = "UpToDate"
            side.connection = "Connected"
            side.crashed_primary = False
            self._settle(side)
        self.story.tell(source.name, f"{self.name}: resync done")

    def _notice_loss(self, side: Side, session: int) -> None:
        if side.session == session and not self._alive(side):
            self._lose(side, "WFConnection")

    def _lose(self, side: Side, connection: str) -> None:
        side.session, side.connection = None, connection
        if at_least(side.peer_disk, "DUnknown"):
            side.peer_disk = "DUnknown"
        if side.role == "Primary" and side.peer_disk == "DUnknown":
            self.story.tell(side.name, f"{self.name}: connection lost, I/O is frozen")
            side.frozen = side.new_generation_due = True
            self._settle(side)
            self.asks(side.name)
        else:
            self._complete_all(side)
            self._settle(side)
        self.reach()

    def _halt(self, node: str) -> None:
        self._promoting.pop(node, None)
        old = self.sides[node]
        old.session = None
        self.sides[node] = Side(old.machine, old.disk_md)

    def _settle(self, side: Side) -> None:
        """Write the state into the metadata, as after every state change (drbd_state.c), and tell of it."""
        md = side.disk_md
        md.consistent = at_least(side.disk, "Outdated")
        md.was_up_to_date = at_least(side.disk, "Consistent")
        md.peer_outdated = side.peer_disk in ("Inconsistent", "Outdated")
        md.primary = side.role == "Primary" or side.crashed_primary
        self.changed(side.name)
