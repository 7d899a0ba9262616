# SPDX-License-Identifier: GPL-2.0-or-later
"""What this node asks to be changed in the record, and asks again in every new membership until it is heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from appliance.config.model import Cluster
from appliance.decide.messages import Change, Established, Exclude, Fenced, Include, Lost, Message
from appliance.decide.view import ClusterView, DrbdReport
from appliance.errors import PairkeepError
from appliance.supervisor.world import World

# Is told what went wrong with what a person asked for, or None once it is done.
Done = Callable[[PairkeepError | None], None]


def nobody(_error: PairkeepError | None) -> None:
    """Nobody waits for it."""


@dataclass(frozen=True)
class Wish:
    """What a person, or a step that has ended, wants; ``done`` is told when all have heard it."""

    change: Change
    done: Done = nobody


@dataclass
class Requests:
    """Of node ``me``. ``wishes``: what has not been heard yet."""

    cluster: Cluster
    me: str
    world: World
    wishes: list[Wish] = field(default_factory=list)
    # What was sent in this membership and has not come back yet, or came to nothing.
    _sent: set[str] = field(default_factory=set)
    # Resources whose disk this node had and lost, or that is a blank one.
    _detached: set[str] = field(default_factory=set)
    # Resources whose disk was lost while the peer's may have gone on without it.
    _behind: set[str] = field(default_factory=set)

    def membership_changed(self, members: Sequence[str]) -> None:
        """What was sent is void. Whoever is back is not off, whatever was done to it.

        Nor is it known of anyone by a node that was away itself: meanwhile the others may have had it back.
        """
        self._sent.clear()
        stayed = self.me in members and (2 * len(members) > len(self.cluster.nodes) or self.cluster.two_node)
        void = [
            w for w in self.wishes if isinstance(w.change, Fenced) and not (stayed and w.change.node not in members)
        ]
        self.wishes = [w for w in self.wishes if w not in void]
        for wish in void:
            wish.done(PairkeepError("nodes have come or gone meanwhile, so that counts no more: look again"))

    def drbd_changed(self, name: str, had: DrbdReport, now: DrbdReport, *, found: bool) -> None:
        """A request about ``name`` that came to nothing may be right now.

        ``found``: it was so before this supervisor came, so that a missing disk is one that an earlier one lost.
        """
        self._sent.discard(f"drbd:{name}")
        known = had.disk != "Diskless" or (found and now.role != "Unconfigured")
        if now.diskless and known:
            self._detached.add(name)
            # The kernel acknowledges what the peer has, and did not wait for anyone to write that down. The peer
            # asks for the same when it sees our loss; it may be lost itself before it can.
            if now.role != "Unconfigured" and (found or not (had.disconnected and now.disconnected)):
                self._behind.add(name)
        elif now.fresh:
            self._detached.add(name)
        elif now.disk == "UpToDate":
            self._detached.discard(name)
        if now.paired:
            self._behind.discard(name)

    def heard(self, message: Message, view_id: str) -> None:
        """A message of our own has come back."""
        self._sent.discard(repr(message))
        heard = [w for w in self.wishes if replace(w.change, view_id=view_id) == message]
        self.wishes = [w for w in self.wishes if w not in heard]
        for wish in heard:
            wish.done(None)

    def wishes_for(self, change: Change) -> bool:
        """``change`` has not been heard yet."""
        return any(wish.change == change for wish in self.wishes)

    def send_wishes(self, view: ClusterView) -> None:
        """With quorum all of them. That a node is off counts without too: it may be what quorum waits for."""
        for change in [wish.change for wish in self.wishes]:
            if (view.adopted and view.quorate) or isinstance(change, Fenced):
                message = replace(change, view_id=view.view_id)
                self._send(repr(message), message)

    def about_disks(self, view: ClusterView, name: str, report: DrbdReport) -> None:
        """What ``report``, this node's own of DRBD resource ``name``, says of who has every acknowledged write."""
        current = view.record.current.get(name)
        peer = self.cluster.peer_of(self.me)
        if current is not None and self.me not in current:
            self._behind.discard(name)
        if name in self._behind and peer in (current or ()):
            self._send(f"drbd:{name}", Exclude(view.view_id, name, self.me))
        elif report.disk == "Inconsistent" and current == (self.me,) and name in self._detached:
            # What was lost with the disk is on no other one. Without that a resync to here is no loss: it comes
            # from a copy that DRBD knows to be at least as new.
            self._send(f"drbd:{name}", Lost(view.view_id, name))
        elif report.paired and current is None:
            self._send(f"drbd:{name}", Established(view.view_id, name))
        elif report.paired and current and self.me in current and peer not in current and peer in view.members:
            self._send(f"drbd:{name}", Include(view.view_id, name, peer))
        elif report.peer_lost_its_disk and peer in (current or ()):
            # The service goes on with this disk alone, be it Primary here or there.
            self._send(f"drbd:{name}", Exclude(view.view_id, name, peer))

    def _send(self, key: str, change: Change) -> None:
        if key not in self._sent:
            self._sent.add(key)
            self.world.multicast(change)
