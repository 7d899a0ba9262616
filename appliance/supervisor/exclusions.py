# SPDX-License-Identifier: GPL-2.0-or-later
"""Going on without the peer: first a majority writes down that its copy is out of date, then writes may go on."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from appliance.config.model import Cluster
from appliance.decide.messages import Exclude
from appliance.decide.view import ClusterView, DrbdReport
from appliance.supervisor.local import LocalState
from appliance.supervisor.world import Event, World

# The kernel's handler and its events reach us by different ways; after this time neither is late any more.
HANDLER_AGREES_S = 5.0

# Exit codes of DRBD 8.4's fence-peer handler (drbd_nl.c, conn_try_outdate_peer).
PEER_OUTDATED = 4
PEER_ACTIVE = 6
PEER_FENCED = 7
# No code of the kernel's: the connection is back, and with it the kernel has resumed I/O by itself.
NOT_NEEDED = 0


@dataclass
class Exclusions:
    """Of the peer of node ``me``. ``frozen``: since when the kernel waits for an answer, per DRBD resource.

    Whether the peer is excluded is the record's to say. An Exclude of our own that came back in this membership
    shows besides that this node is not one that was away while the others went on without it.
    """

    cluster: Cluster
    me: str
    local: LocalState
    world: World
    frozen: dict[str, float] = field(default_factory=dict)
    _sent: set[str] = field(default_factory=set)
    _heard: set[str] = field(default_factory=set)
    # Since when I/O is frozen and nobody asks, per DRBD resource: a handler that was killed, or told too early
    # that the connection is back, asks no more.
    _unasked: dict[str, float] = field(default_factory=dict)

    def asked(self, drbd: str) -> None:
        """The kernel froze ``drbd`` and asks whether it may go on without its peer."""
        if drbd not in {d.name for d in self.cluster.drbd}:
            self.world.answer(drbd, NOT_NEEDED)
            return
        self.frozen[drbd] = self.world.now()
        text = f"{drbd}: writes wait until the cluster knows that the peer's copy is out of date"
        self.world.tell(Event("frozen", text, {"drbd": drbd}))

    def membership_changed(self) -> None:
        """What was said in the old membership counts no more."""
        self._sent.clear()
        self._heard.clear()

    def heard(self, message: Exclude) -> None:
        """An Exclude of our own has come back, so all members have it.

        One that was sent before the kernel asked may be older than a return of the peer that is on its way.
        """
        if message.node != self.me and message.drbd in self._sent:
            self._heard.add(message.drbd)

    def tick(self, promoting: Container[str]) -> None:
        """Answer questions that need no answer any more, and ask what the kernel should have asked.

        ``promoting``: DRBD resources that become Primary by what is under way here.
        """
        now = self.world.now()
        for drbd, since in list(self.frozen.items()):
            if now - since < HANDLER_AGREES_S:
                continue
            if not self._report(drbd).disconnected:
                self._settle(drbd, NOT_NEEDED, "writes go on, the connection is back")
            elif not self._is_primary(drbd) and drbd not in promoting:
                self._settle(drbd, NOT_NEEDED, "nothing is written here any more")
        for drbd, report in self.local.drbd.items():
            frozen = report.role == "Primary" and report.disconnected and report.suspended != "no"
            if not frozen or drbd in self.frozen:
                self._unasked.pop(drbd, None)
            elif now - self._unasked.setdefault(drbd, now) >= HANDLER_AGREES_S:
                self.asked(drbd)

    def pursue(self, view: ClusterView, taking_over: set[str], promoting: Container[str]) -> None:
        """Ask the others, and answer the kernel once a majority will remember that the peer lacks writes.

        ``taking_over``: DRBD resources that are about to be promoted here after the peer's death. The
        kernel will ask when that happens; asking the others now saves the wait then. ``promoting``: as in `tick`.
        """
        wanted = {drbd for drbd in self.frozen if self._is_primary(drbd) or drbd in promoting}
        for drbd in sorted(taking_over | wanted):
            self._ask(view, drbd)
        for drbd in list(self.frozen):
            if drbd in self._heard:
                self._maybe_resume(view, drbd)
            if drbd not in self.frozen or self.me in view.record.current.get(drbd, (self.me,)):
                continue
            if self._is_primary(drbd):
                # As after a pause of the whole machine: the other took over, so the kernel waits for ever.
                self.local.give_up(drbd, f"I/O to {drbd} is frozen for good, as {self._peer()} has newer writes")
            else:
                # The kernel promotes no one, nor connects, before it has its answer (drbd_set_role).
                why = f"it is not promoted here, as {self._peer()} has newer writes"
                self._settle(drbd, PEER_ACTIVE, why, kind="refused")

    def _ask(self, view: ClusterView, drbd: str) -> None:
        report = self._report(drbd)
        if drbd not in self._sent and report.disconnected and not report.diskless:
            self._sent.add(drbd)
            self.world.multicast(Exclude(view.view_id, drbd, self._peer()))

    def _maybe_resume(self, view: ClusterView, drbd: str) -> None:
        alone = view.record.current.get(drbd, ()) == (self.me,)
        # An answer makes the kernel take a merely Consistent disk for UpToDate (drbd_nl.c, drbd_set_role).
        sound = self._report(drbd).disk == "UpToDate" or view.record.forced.get(drbd) == self.me
        if alone and view.settled and sound:
            code = PEER_OUTDATED if self._peer() in view.members else PEER_FENCED
            self._settle(drbd, code, f"writes go on, {self._peer()}'s copy is out of date")

    def _settle(self, drbd: str, code: int, why: str, *, kind: str = "resumed") -> None:
        del self.frozen[drbd]
        self._sent.discard(drbd)
        self._heard.discard(drbd)
        self.world.answer(drbd, code)
        self.world.tell(Event(kind, f"{drbd}: {why}", {"drbd": drbd}))

    def _is_primary(self, drbd: str) -> bool:
        return self._report(drbd).role == "Primary"

    def _report(self, drbd: str) -> DrbdReport:
        return self.local.drbd.get(drbd, DrbdReport())

    def _peer(self) -> str:
        return self.cluster.peer_of(self.me)
