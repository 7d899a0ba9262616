# SPDX-License-Identifier: GPL-2.0-or-later
"""A DRBD 8.4 pair, simulated: protocol C, `fencing resource-and-stonith`, `on-io-error detach`, after-sb policies
`disconnect`.

The rules are those of drbd_state.c, drbd_nl.c and drbd_receiver.c (Linux 6.12), in the kernel's words. This is what
drivers ask of it, clients write to it, and what happens to its disks; the other half is in `connection`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from appliance.config.model import Drbd
from appliance.decide.view import DrbdReport
from appliance.sim.clock import Action
from appliance.sim.connection import Connection
from appliance.sim.metadata import Metadata, at_least
from appliance.sim.side import Side, Write
from appliance.supervisor.exclusions import PEER_ACTIVE

# Promotions are tried so often while the fence-peer handler gives an answer (drbd_set_role).
PROMOTE_TRIES = 4
# net { ko-count 7; timeout 20; } as rendered, in seconds: who does not write what it got is dropped (drbd.conf(5)).
KO_S = 14.0

Done = Callable[[str | None], None]


class Pair(Connection):
    """Both sides of one resource."""

    def readable(self, node: str) -> set[int]:
        """The writes that a reader finds on ``node``: what its own disk lacks, DRBD reads from the peer's."""
        side = self.sides[node]
        remote = not at_least(side.disk, "Outdated") and side.connected and self._alive(side)
        return self.peer(side).disk_md.writes if remote else side.disk_md.writes if side.attached else set()

    def has_data(self, node: str) -> bool:
        """A read gets an answer and no error."""
        side = self.sides[node]
        remote = side.connected and self._alive(side) and at_least(side.peer_disk, "Outdated")
        return at_least(side.disk, "Outdated") or remote

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
            fresh=side.attached and side.disk_md.current == 0,
            split_brain=side.split,
            hung=side.stalls and self._hangs_for(side) >= Drbd.io_timeout_s,
        )

    # What drivers ask of the kernel ---------------------------------------------------------------

    def bring_up(self, node: str) -> str | None:
        side = self.sides[node]
        error = None
        if not side.up:
            side.up, side.role = True, "Secondary"
            error = self.attach(node)
        if error is None:
            self.connect(node)
        self._settle(side)
        return error

    def connect(self, node: str, *, discard: bool = False) -> str | None:
        """``discard``: --discard-my-data, which counts for the next meeting."""
        side = self.sides[node]
        side.discards = discard
        if side.connection == "StandAlone":
            side.connection = "WFConnection"
        self._settle(side)
        self.reach()
        return None

    def attach(self, node: str) -> str | None:
        """Take up the disk, as at the start or after it was replaced (drbd_adm_attach)."""
        side = self.sides[node]
        peer = self.peer(side)
        primaries = side.role == "Primary" or (side.connected and peer.role == "Primary")
        told = self._alive(side) and peer.peer_disk == "Diskless"
        if side.dead:
            return "attach: I/O error"
        if side.hangs_since is not None:
            return "attach: no answer from the disk"
        if not side.up or side.attached:
            return None
        other = side.exposed and side.exposed != side.disk_md.current
        if primaries and other and not (side.connected and side.peer_disk == "UpToDate"):
            return "can only attach to data with the current identifier"
        if side.connected and not told:
            return "attach: no answer from the peer"
        if side.role == "Primary" and not side.connected:
            return "Refusing to be Primary while peer is not outdated"
        side.disk, peer_disk = side.disk_md.attached()
        side.crashed_primary = side.disk_md.primary
        self.story.tell(node, "{} attached as {}", self.name, side.disk)
        if side.connected:
            self._meet(self.first, self.second, attaching=side)
        else:
            side.peer_disk = peer_disk
            self._settle(side)
        return None

    def force(self, node: str) -> str | None:
        """`primary --force` and back again: this disk counts as UpToDate from now on."""
        side = self.sides[node]
        if not side.attached or side.connected or side.stalls:
            return "State change failed"
        side.disk = "UpToDate"
        side.disk_md.new_generation(next(self._generations))
        self._settle(side)
        return None

    def outdate(self, node: str) -> str | None:
        side = self.sides[node]
        if side.connected or side.role == "Primary" or not at_least(side.disk, "Outdated") or side.stalls:
            return "State change failed: Outdating is refused"
        side.disk = "Outdated"
        self._settle(side)
        return None

    def skip_first_sync(self, node: str) -> str | None:
        """`new-current-uuid --clear-bitmap` on a connected, just created pair."""
        side = self.sides[node]
        peer = self.peer(side)
        blank = side.attached and peer.attached and not side.disk_md.current and not peer.disk_md.current
        if not side.connected or not blank or side.stalls or peer.stalls:
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
        elif side.stalls:
            side.machine.after(0.5, partial(self._try_promote, side, tries, done))
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
            for each in (side, peer) if side.connected else ():
                self._expose(each)
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
        if side.stalls:
            # What it changes is to be written first.
            side.machine.after(0.5, partial(self.fence_answer, node, code, meetings))
            return
        valid = code in (4, 7) and meetings == side.meetings
        if valid and side.attached and not side.connected and at_least(side.peer_disk, "DUnknown"):
            side.peer_disk = "Outdated"
            if side.disk == "Consistent":
                side.disk = "UpToDate"
            self._go_on_alone(side)
            self._settle(side)
        outdates = code == PEER_ACTIVE and side.role != "Primary" and not side.connected
        if outdates and at_least(side.disk, "Consistent"):
            side.disk = "Outdated"
            self._settle(side)
        again = self._promoting.pop(node, None)
        if again is not None:
            again()
            self.reach()

    def resume_io(self, node: str) -> None:
        """The supervisor lets writes go on for which no handler waits (drbd_adm_resume_io)."""
        side = self.sides[node]
        if not side.connected:
            self._go_on_alone(side)
            self._settle(side)

    def _go_on_alone(self, side: Side) -> None:
        """Frozen writes go on, as those of a new generation where there was none without the peer yet."""
        if side.frozen:
            if side.new_generation_due and side.disk_md.bitmap == 0:
                side.disk_md.new_generation(next(self._generations))
            self._thaw(side)

    # Disks ------------------------------------------------------------------------------------------

    def disk_fails(self, node: str) -> None:
        """The next I/O gets an error, so DRBD detaches; it goes on through the peer's disk, if it can."""
        side = self.sides[node]
        side.dead, side.hangs_since = True, None
        side.held.clear()
        if not side.attached:
            return
        self.story.tell(node, "{}: I/O error, detached", self.name)
        # From here on its metadata stays what it was.
        self._settle(side)
        side.exposed, side.disk = side.disk_md.current, "Diskless"
        for write in side.in_flight:
            write.here = False
        if side.session is None:
            self._fail_all(side)
        else:
            side.connection = "Connected"
            self._tell_detached(side, side.session)
        self._settle(side)

    def _tell_detached(self, side: Side, session: int) -> None:
        """The peer gets to know when it reads its next packet, unless the connection is lost before."""
        peer = self.peer(side)
        if side.session != session or peer.session != session or side.attached:
            return
        if not self._alive(side) or peer.stalls:
            side.machine.after(0.1, partial(self._tell_detached, side, session))
            return
        peer.peer_disk, peer.connection = "Diskless", "Connected"
        self._expose(peer)
        self._settle(peer)

    def disk_hangs(self, node: str) -> None:
        """It gives neither answers nor errors from now on."""
        side = self.sides[node]
        if not side.dead and side.hangs_since is None:
            self.story.tell(node, "{}: the disk hangs", self.name)
            side.hangs_since = side.machine.clock.now
            side.machine.clock.after(Drbd.io_timeout_s, partial(self.changed, node))

    def disk_answers(self, node: str) -> None:
        """What was given to it is written after all, unless its machine went down meanwhile."""
        side = self.sides[node]
        if side.hangs_since is None:
            return
        self.story.tell(node, "{}: the disk answers again", self.name)
        side.hangs_since = None
        for write in side.held:
            write.here = True
            side.disk_md.writes.add(write.number)
        side.held.clear()
        if not side.connected:
            self._complete_all(side)
        self._settle(side)
        self.reach()

    def _hangs_for(self, side: Side) -> float:
        return 0.0 if side.hangs_since is None else side.machine.clock.now - side.hangs_since

    def replace_disk(self, node: str, *, blank: bool) -> None:
        """Put in a ``blank`` disk with fresh metadata, or the old one again with what it held."""
        side = self.sides[node]
        if side.dead:
            side.dead = False
            if blank:
                side.disk_md = Metadata()

    # Writes -----------------------------------------------------------------------------------------

    def write(self, node: str, number: int, acknowledge: Action) -> None:
        """A client's write: ``acknowledge`` is called once it is where protocol C wants it."""
        side = self.sides[node]
        write = Write(number, acknowledge, here=side.attached and not side.stalls)
        if write.here:
            side.disk_md.writes.add(number)
        elif side.stalls:
            side.held.append(write)
        side.in_flight.append(write)
        side.machine.soon(0.001, 0.004, partial(self._send, side, write))

    def _send(self, side: Side, write: Write) -> None:
        """TCP sends again what got lost, as long as there is a connection."""
        peer = self.peer(side)
        if not side.connected:
            self._complete_all(side)
        if write not in side.in_flight or not side.connected:
            return
        hears = peer.session == side.session and peer.up and peer.machine.running and not peer.stalls
        if hears and self.network.reaches(self.link, side.name, peer.name) and peer.attached:
            peer.disk_md.writes.add(write.number)
            write.there = True
        if hears and self.network.joins(self.link, side.name, peer.name):
            takes = (0.05, 0.4) if side.name in self.network.slow else (0.001, 0.004)
            side.machine.soon(*takes, partial(self._complete, side, write))
        elif write.waited_s >= KO_S and peer.stalls:
            self._lose(side, "WFConnection")
        else:
            write.waited_s += 0.2
            side.machine.after(0.2, partial(self._send, side, write))

    def _complete(self, side: Side, write: Write) -> None:
        if side.frozen or write not in side.in_flight:
            return
        if side.stalls:
            side.machine.after(0.2, partial(self._complete, side, write))
            return
        side.in_flight.remove(write)
        if write.here or write.there:
            write.acknowledge()
        else:
            self.io_error(side.name)
