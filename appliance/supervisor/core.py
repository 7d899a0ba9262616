# SPDX-License-Identifier: GPL-2.0-or-later
"""One node's loop: what it is told -> the common view -> the decision -> its own next steps. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from appliance.config.model import Cluster, DrbdRole
from appliance.decide import Decision, decide, decide_to_leave, decide_without_quorum, nothing
from appliance.decide.eligible import obstacle
from appliance.decide.fold import fold, with_members
from appliance.decide.messages import (
    Beat,
    Change,
    Check,
    Checked,
    Cleanup,
    Detach,
    Exclude,
    Farewell,
    Fenced,
    Message,
    Persisted,
    Reported,
)
from appliance.decide.steps import Fence, Start, Step, Stop
from appliance.decide.view import BLANK, ClusterView, Configuration, DrbdReport, Record, Report, State
from appliance.errors import InputError
from appliance.supervisor.absences import Absences
from appliance.supervisor.changeover import Changeover
from appliance.supervisor.exclusions import Exclusions
from appliance.supervisor.fitness import Fitness
from appliance.supervisor.local import LocalState
from appliance.supervisor.memory import Memory
from appliance.supervisor.requests import Done, Requests, Wish, nobody
from appliance.supervisor.work import Work
from appliance.supervisor.world import Event, World

BEAT_S = 1.0
# A beat that took longer than this says nothing about the ring's present state.
BEAT_FRESH_S = 2.0
# How long a new supervisor leaves alone what it finds running while corosync has not told it of quorum yet.
QUORUM_UNKNOWN_S = 5.0
OUTSIDE = "corosync does not run here, or has not let this node in yet (systemctl status corosync)"


class Core:
    """The supervisor of node ``me``. Every ``on_`` method is something that happened; none of them blocks."""

    def __init__(
        self,
        cluster: Cluster,
        me: str,
        boot_id: str,
        record: Record,
        world: World,
        config: Configuration | None = None,
    ) -> None:
        """``config``: what ``cluster`` was made from; without it the one on record."""
        self.cluster = cluster
        self.config = record.config if config is None else config
        self.me = me
        self.world = world
        self.view = ClusterView(cluster, record=record)
        self.decision: Decision = decide(self.view)
        self._decided = self.view
        self._placed: dict[str, tuple[str | None, str]] = {}
        self.local = LocalState(cluster, world.now)
        self.quorate = False
        self._majority = False
        self.leaving = False
        self.stopping = False
        self._boot_id = boot_id
        self._quorum_told = False
        self._ended = False
        self._memory = Memory(world, record)
        self._ready_at: float | None = None
        self._told: Report | None = None
        self._serial = 0
        self.exclusions = Exclusions(cluster, me, self.local, world)
        self._requests = Requests(cluster, me, world)
        self._warnings: dict[str, str] = {}
        self._unreached: tuple[str, ...] = ()
        self.absences = Absences(cluster, me, world.now)
        self._changeover = Changeover(cluster, me, self.config, self.local, self.absences, world.now)
        self._work = Work(cluster, me, world, self.local, self.absences, self._requests)
        self._fitness = Fitness(cluster, me, world.now)
        self._goodbye_sent_in: str | None = None

    @property
    def busy(self) -> bool:
        """A step is under way on this node, or a wish that was made here."""
        return bool(self._work.running or self._requests.wishes)

    def starts(self, group: str) -> bool:
        """A start of one of ``group``'s resources is under way on this node."""
        return isinstance(self._work.running.get(group), Start)

    def works_on(self, group: str) -> bool:
        """A step of ``group`` is under way on this node."""
        return group in self._work.running

    def recall(self, report: Report) -> None:
        """Know again what ``report`` of this node told, as a dry run does that begins where the cluster stands."""
        self.local.recall(report)
        self.absences.recall(report)
        self._unreached = report.unreached

    # What the world tells -----------------------------------------------------------------------

    def ready(self) -> None:
        """All resources have been observed once; from now on this node reports."""
        self._ready_at = self.world.now()
        self._flush()

    def on_members(self, ring: int, processes: Sequence[tuple[str, int]], nodes: Sequence[str]) -> None:
        """The membership changed: ``processes`` are (node, pid) of the supervisors that take part.

        ``nodes`` form the ring, whether or not their supervisors run.
        """
        before = self.view.members
        # Each node has one vote (render/corosync.conf.j2).
        self._majority = self.cluster.two_node or 2 * len(nodes) > len(self.cluster.nodes)
        names = [name for name, _pid in processes]
        self.absences.membership_changed(self.view, names, nodes)
        self.view = with_members(self.view, ring, processes)
        self.exclusions.membership_changed()
        self._requests.membership_changed(names)
        self._goodbye_sent_in = None
        for node in self.view.members:
            if node not in before:
                self.world.tell(Event("joined", f"{node} takes part", {"node": node}))
        for node in before:
            if node not in self.view.members:
                self.world.tell(Event("left", f"{node} has left", {"node": node}))
        self._beat()
        self._flush(force=True)

    def on_quorum(self, quorate: bool) -> None:
        """corosync's own word on whether this node's ring is a majority."""
        first, self._quorum_told = not self._quorum_told, True
        if quorate != self.quorate or first:
            self.quorate = quorate
            text = "this node has quorum" if quorate else "this node has no quorum: its groups stop"
            self.world.tell(Event("quorum", text, {"quorate": quorate}))
            self._beat()
            self._flush()

    def on_message(self, sender: str, message: Message) -> None:
        if self._ended:
            # What still comes before the loop has ended must not arm the watchdog again.
            return
        if isinstance(message, Beat):
            fresh = self.world.now() - message.sent_at <= BEAT_FRESH_S
            # corosync's word on quorum comes by another way, and may come later than the ring that it is about.
            quorate = self.quorate and self._majority
            if sender == self.me and fresh and quorate and not self.local.stuck:
                self.world.pet()
            return
        counts = (
            not isinstance(message, Persisted | Reported | Check | Checked) and message.view_id == self.view.view_id
        )
        before = self.view
        self.view = fold(self.view, sender, message)
        self._memory.keep(self.view)
        if counts and (isinstance(message, Fenced) or (before.adopted and before.quorate)):
            self._heard(sender, message)
        if self.view is not before or isinstance(message, Fenced):
            self._flush()

    def on_states(self, group: str, states: Sequence[State]) -> None:
        """The resources of ``group`` were looked at; void while a step of that group is under way."""
        if group not in self._work.running:
            for failure in self.local.observed(group, states, count=not self.view.record.maintenance):
                self.world.tell(Event("failed", f"{failure} failed on {self.me}", {"resource": failure}))
            self._flush()

    def on_drbd(self, name: str, report: DrbdReport) -> None:
        """The kernel's word on a DRBD resource of this node."""
        had = self.local.drbd.get(name, DrbdReport())
        if report == had:
            return
        self.local.drbd[name] = report
        self.local.drbd_told(name)
        self._requests.drbd_changed(name, had, report, found=self._ready_at is None)
        for group in () if self._work.forces(name) else self.cluster.groups:
            if name in group.drbd and group.name not in self._work.running:
                states = list(self.local.states(group.name))
                index = group.resources.index(DrbdRole(name))
                states[index] = "started" if report.role == "Primary" else "stopped"
                self.on_states(group.name, states)
        self._flush()

    def wants(self, step: Step) -> bool:
        """``step`` is what this node should do now."""
        late = isinstance(step, Fence) and not self._work.may_shoot(step.node)
        return not late and step in self.decision.steps.get(self.me, ())

    def on_step_dropped(self, step: Step) -> None:
        """``step`` was not begun, as it was wanted no more."""
        self._work.dropped(step)
        self._flush()

    def on_step_done(self, step: Step, error: str | None, states: Sequence[State] | None = None) -> None:
        """``step`` has ended; ``states`` is what its group looks like now."""
        self._work.done(step, error, states)
        self._flush()

    def on_reached(self, unreached: Sequence[str]) -> None:
        """All that the node should reach is reached but these addresses and networks."""
        if tuple(unreached) != self._unreached:
            self._unreached = tuple(unreached)
            self.on_warning("reach", f"it cannot reach {' and '.join(unreached)}" if unreached else "")

    def on_warning(self, key: str, text: str) -> None:
        """``text`` says what people should know of ``key``; empty when all is well with it (again)."""
        had = self._warnings.pop(key, "")
        if text:
            self._warnings[key] = text
        if text != had:
            self.world.tell(Event("warning", text or f"no longer: {had}", {"about": key}))
            self._flush()

    def on_tick(self) -> None:
        """About once a second."""
        if self._ended:
            return
        self._beat()
        self._memory.keep(self.view)
        if self._ready_at is not None and not self.local.active and not self._work.running:
            # Nothing of ours runs here, so there is nothing that a reset would protect.
            self.world.pet()
        self.exclusions.tick(self._promoting())
        self._flush()

    def on_fence_request(self, drbd: str) -> None:
        """The kernel froze ``drbd`` and asks whether it may go on without its peer."""
        self.exclusions.asked(drbd)
        self._flush()

    # What operators want -------------------------------------------------------------------------

    def wish(self, change: Change, done: Done = nobody) -> None:
        """Have ``change`` made (its view_id is filled in); asked again if the membership changes first.

        ``done`` is told once all have heard it. Raises InputError when it can come to nothing.
        """
        here = self.me in self.view.members
        counts_anyway = isinstance(change, Fenced) and self.cluster.two_node and here
        if not (self.view.adopted and self.view.quorate) and not counts_anyway:
            why = "" if here else f": {OUTSIDE}"
            raise InputError(f"there is no quorum, so nothing can be changed{why}", hint="pairkeep status")
        self._requests.wishes.append(Wish(change, done))
        self._flush()

    def stop(self, *, shutting_down: bool) -> None:
        """End the supervisor. Services run on, unless the whole machine is ``shutting_down``."""
        self.leaving = self.leaving or shutting_down
        self.stopping = not self.leaving
        self._flush()

    # ------------------------------------------------------------------------------------------

    def _heard(self, sender: str, message: Message) -> None:
        if isinstance(message, Farewell):
            self.absences.set_gone(sender)
        if isinstance(message, Fenced):
            self.absences.set_gone(message.node)
            who = "an operator says so" if message.by_hand else f"switched off by {sender}"
            self.world.tell(Event("fenced", f"{message.node} is off: {who}", {"node": message.node}))
        if isinstance(message, Cleanup):
            self.local.forget_failures(message.group)
        if sender != self.me:
            return
        if isinstance(message, Exclude):
            self.exclusions.heard(message)
        self._requests.heard(message, self.view.view_id)

    def news(self) -> Report:
        """This node's report but for the record, whose changes the others know anyway."""
        return Report(
            node=self.me,
            boot_id=self._boot_id,
            view_id=self.view.view_id,
            quorate=self.quorate,
            groups=self.local.group_reports(self._claimed()),
            drbd=dict(self.local.drbd),
            record=BLANK,
            leaving=self.leaving,
            stopping=self.stopping,
            down=self.absences.down(self.view.record.detached),
            suspects=self.absences.suspects(),
            fence_troubles=dict(self.absences.fence_troubles),
            unreached=self._unreached,
            unwritten=self._memory.unwritten,
            warnings=tuple(sorted(filter(None, (*self._warnings.values(), self._memory.unwritten)))),
            fit=self._fitness.fit(),
            took=dict(self.local.took),
            config=self.config.name,
        )

    def _claimed(self) -> set[str]:
        """Groups of which nothing runs here yet, but soon may: they were placed here, or a start is under way.

        A claim that is still on its way is not taken back: two nodes whose claims cross would go on
        giving way to each other. Once all have heard both, the first one counts.
        """
        placed = {g for g, p in self.decision.placements.items() if p.node == self.me and not p.hands_off}
        told = {} if self._told is None or self._is_heard() else self._told.groups
        on_its_way = {g for g, share in told.items() if share.claimed}
        wanted = placed | on_its_way | {g.name for g in self.cluster.groups if self.starts(g.name)}
        return {g for g in wanted if not self.local.is_active(g)}

    def _flush(self, *, force: bool = False) -> None:
        """Tell the others what is new here, decide, and begin what is to be done."""
        if self._ended:
            return
        self._decide()
        if self.me not in self.view.members:
            self._act_without_quorum()
            self._leave()
            return
        news = self.news()
        if self._ready_at is not None and (force or news != self._told):
            self._told = news
            self._serial += 1
            self.world.multicast(Reported(replace(news, record=self._memory.on_disk, serial=self._serial)))
        if not self.quorate:
            self._act_without_quorum()
        elif self._is_heard():
            for step in self.decision.steps.get(self.me, ()):
                if not isinstance(step, Start) or self.view.claims.get(step.group) == self.me:
                    self._work.begin(step)
        elif self.view.complete:
            self._go_on_stopping(news)
        if self.view.complete:
            self._requests.send_wishes(self.view)
        if self.view.adopted and self.view.quorate:
            self.exclusions.pursue(self.view, self._taking_over(), self._promoting())
            self._see_to_disks()
        if self.leaving or self.stopping:
            self._leave()
        elif config := self._changeover.due(self.view, working=bool(self._work.running)):
            self.world.take_up(config)

    def _go_on_stopping(self, news: Report) -> None:
        """Stop what comes next without waiting until all have heard that what came before is down.

        Nothing can be wrong with stopping what is to be stopped. To start, this node has to have been heard:
        that shows that it has not stood still while others took over.
        """
        if news.groups == self.view.reports[self.me].groups:
            return
        ahead = decide(replace(self.view, reports={**self.view.reports, self.me: news}))
        for step in ahead.steps.get(self.me, ()):
            if isinstance(step, Stop) and ahead.placements[step.group].node != self.me:
                self._work.begin(step)

    def _is_heard(self) -> bool:
        """The view holds what this node said last; before that its steps would be those of the past."""
        report = self.view.reports.get(self.me)
        return report is not None and report.serial == self._serial

    def _decide(self) -> None:
        if self._decided is self.view:
            return
        self._decided = self.view
        if self.me not in self.view.members:
            # What was decided with the others counts no more: no fencing that waits in its lane is done now.
            self.decision = nothing(self.cluster, OUTSIDE)
            return
        self.decision = decide(self.view)
        if not self.view.complete:
            return  # a moment later it is, and nothing will have changed for anyone to know
        if self.view.quorate:
            self._fitness.decided(self.decision)
        for name, placement in self.decision.placements.items():
            told = (placement.node, placement.reason)
            if self._placed.get(name) != told:
                self._placed[name] = told
                self.world.tell(
                    Event("placed", f"{name}: {placement.reason}", {"group": name, "node": placement.node})
                )

    def _act_without_quorum(self) -> None:
        if not self._quorum_told and (
            self._ready_at is None or self.world.now() - self._ready_at < QUORUM_UNKNOWN_S
        ):
            return
        if not self.quorate:
            for step in decide_without_quorum(self.cluster, self.local.group_reports()):
                self._work.begin(step)

    def _taking_over(self) -> set[str]:
        """DRBD resources that this node is about to promote because its peer is dead."""
        return {
            drbd
            for group in self.cluster.groups
            if (placement := self.decision.placements[group.name]).node == self.me and not placement.hands_off
            for drbd in group.drbd
            if self._peer in self.view.record.current.get(drbd, ()) and self.view.surely_down(self._peer)
        }

    def _promoting(self) -> set[str]:
        """DRBD resources that become Primary by what is under way here."""
        starting = {drbd for group in self.cluster.groups if self.starts(group.name) for drbd in group.drbd}
        return starting | {drbd.name for drbd in self.cluster.drbd if self._work.forces(drbd.name)}

    def _see_to_disks(self) -> None:
        for name, report in self.local.drbd.items():
            users = [group for group in self.cluster.groups if name in group.drbd]
            hung = report.hung and not self.view.record.maintenance
            if hung and users and all(obstacle(self.view, g, self._peer) is None for g in users):
                self.local.give_up(name, f"the disk of {name} does not answer, and {self._peer} can go on")
            if name not in self.exclusions.frozen:
                self._requests.about_disks(self.view, name, report)

    def _beat(self) -> None:
        """The watchdog gets its word when this comes back: at once, for a start or a new ring took time from it."""
        self.world.multicast(Beat(self.world.now()))

    @property
    def _peer(self) -> str:
        return self.cluster.peer_of(self.me)

    def _leave(self) -> None:
        """Stop also what nobody touches, as in maintenance, when the machine shuts down; then say goodbye."""
        if self.leaving and self.me in self.view.members:
            alone = {name for name, placement in self.decision.placements.items() if placement.hands_off}
            for step in decide_to_leave(self.cluster, self.local.group_reports()):
                if step.group in alone:
                    self._work.begin(step)
        if self.leaving or self.stopping:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Leave so that nobody has to wait for, or may wrongly take over from, this node."""
        if self._work.running or self._ready_at is None:
            return
        active = self.local.active
        if not (self.view.adopted and self.view.quorate):
            if not active:
                self._end()
            return
        if active and self.leaving:
            return
        detached = self.me in self.view.record.detached and self.view.settled
        if detached if active else self.absences.is_gone(self.me):
            self._end()
        elif self._goodbye_sent_in != self.view.view_id and self._is_heard():
            self._goodbye_sent_in = self.view.view_id
            self.world.multicast((Detach if active else Farewell)(self.view.view_id))

    def _end(self) -> None:
        self._ended = True
        self.world.disarm()
        self.world.finished()
