# SPDX-License-Identifier: GPL-2.0-or-later
"""Deliberate defects. Whoever survives shows a hole in the judge or in the faults."""

from __future__ import annotations

from dataclasses import replace

from appliance.decide import eligible, fold, placement, steps
from appliance.decide.messages import Exclude
from appliance.decide.view import ClusterView, Stamp, State
from appliance.sim.breaking import MUTANTS, Broken, mutant
from appliance.sim.connection import Connection
from appliance.sim.device import Device
from appliance.sim.machine import Machine
from appliance.sim.metadata import Metadata
from appliance.sim.process import Process
from appliance.supervisor import core
from appliance.supervisor.absences import Absences
from appliance.supervisor.core import Core
from appliance.supervisor.exclusions import PEER_FENCED, Exclusions
from appliance.supervisor.local import LocalState
from appliance.supervisor.memory import Memory
from appliance.supervisor.requests import Requests
from appliance.supervisor.work import Work

# Who is there, and who is surely down -----------------------------------------------------------------


@mutant()
def takes_over_at_once(broken: Broken) -> None:
    """Whoever has left counts as down."""
    broken.set(ClusterView, "surely_down", lambda view, node: node not in view.members)


@mutant()
def takes_over_from_a_detached_node(broken: Broken) -> None:
    """A node whose supervisor was stopped on purpose counts as down after a while."""
    broken.edit(Absences, "down", "n not in detached and ", "")


@mutant()
def waits_less_than_the_watchdog(broken: Broken) -> None:
    """A silent node counts as down after half of the safety wait."""
    broken.edit(Absences, "_is_silent_long", "self.cluster.safety_wait_s", "self.cluster.safety_wait_s / 2")


@mutant()
def does_not_wait_for_absent_nodes(broken: Broken) -> None:
    """A group is started although an absent node may still run it."""
    broken.edit(placement, "_place", "    if unsure:", "    if False:")


@mutant("by-hand")
def silence_is_death_of_two(broken: Broken) -> None:
    """Two nodes without a witness take silence for death, as if the other's watchdog would see to it."""
    broken.edit(Absences, "_is_down", "self.cluster.silence_means_down and ", "")


@mutant("two-nodes")
def one_of_two_is_quorum(broken: Broken) -> None:
    """One of two nodes counts as a majority whether or not the other is down."""
    broken.edit(ClusterView, "_suffices", "(alone and self._others_down)", "alone")


@mutant("two-nodes")
def believes_a_failed_fence(broken: Broken) -> None:
    """A node counts as switched off although its device failed."""
    broken.edit(Work, "_fenced", "self.local.paced(step, error)", "error = None")


@mutant("two-nodes")
def off_once_is_off_for_ever(broken: Broken) -> None:
    """Who was switched off, and has come back since, still counts as off when it is lost again."""
    broken.edit(Absences, "membership_changed", "self._gone.difference_update(members)", "pass")


@mutant("two-nodes")
def never_shoots(broken: Broken) -> None:
    """Fence devices are never used."""
    broken.set(Absences, "may_shoot", lambda _self, _node, **_active: False)


@mutant()
def keeps_its_quorum(broken: Broken) -> None:
    """A node does not hear from corosync that it has lost quorum."""
    broken.edit(Core, "on_quorum", "self.quorate = quorate", "self.quorate = True")


# What is on record ------------------------------------------------------------------------------------


@mutant()
def adopts_the_oldest_record(broken: Broken) -> None:
    """After a membership change the oldest record wins."""

    def adopt(view: ClusterView) -> ClusterView:
        if view.adopted or not view.quorate:
            return view
        oldest = min((r.record for r in view.reports.values()), key=lambda record: record.stamp)
        stamp = Stamp(max(view.ring, oldest.stamp.ring + 1), 0)
        return replace(view, record=replace(oldest, stamp=stamp), adopted=True)

    broken.set(fold, "_adopted", adopt)


@mutant()
def counts_a_node_without_a_record(broken: Broken) -> None:
    """A machine that was replaced takes part in a majority although it has forgotten everything."""
    broken.set(ClusterView, "remembers", True)


@mutant()
def forgets_the_record(broken: Broken) -> None:
    """The record is never written to disk."""
    broken.edit(Process, "persist", "self.machine.record = record", "pass")


@mutant()
def promises_what_is_not_on_disk(broken: Broken) -> None:
    """A node whose disk takes no more writes says that it has written the record."""
    says_so = 'self.unwritten = f"it cannot write its record: {error.strerror}"'
    broken.edit(Memory, "keep", says_so, "error; self.world.multicast(Persisted(view.record.stamp))")


@mutant()
def counts_one_copy_as_a_majority(broken: Broken) -> None:
    """A change of the record is relied on before a majority has it on disk."""
    broken.edit(ClusterView, "settled", "self.adopted and self._suffices(len(holders))", "self.adopted")


@mutant()
def lets_the_last_exclude_win(broken: Broken) -> None:
    """Who is not current any more can still exclude the other."""
    broken.edit(fold, "_copies_changed", "{sender, node} <= set(record.current.get(drbd, ()))", "node != sender")
    broken.edit(fold, "_copies_changed", "tuple(n for n in record.current[drbd] if n != node)", "(sender,)")


# Who starts and stops what ----------------------------------------------------------------------------


@mutant()
def starts_what_another_holds(broken: Broken) -> None:
    """A group is started while another node still has a part of it, or has said first that it starts it."""
    broken.set(steps, "_holds", lambda _view, _group, _node: False)
    broken.edit(Core, "_flush", "self.view.claims.get(step.group) == self.me", "True")


@mutant()
def acts_before_its_own_words_are_heard(broken: Broken) -> None:
    """Steps are begun on a view that does not hold yet what this node said last."""
    broken.set(Core, "_is_heard", lambda _self: True)


@mutant()
def stops_from_the_bottom(broken: Broken) -> None:
    """What was started first is stopped first."""
    broken.edit(steps, "stop_step", "max(", "min(")


@mutant()
def ignores_standby(broken: Broken) -> None:
    """A node in standby may run groups."""
    broken.edit(eligible, "obstacle", "if node in view.record.standby:", "if False:")


@mutant()
def ignores_maintenance(broken: Broken) -> None:
    """In maintenance groups are started and stopped as ever."""
    broken.edit(placement, "_place", "if view.record.maintenance:", "if False:")


@mutant()
def moves_away_from_a_stopping_supervisor(broken: Broken) -> None:
    """A supervisor that is restarted for an upgrade loses its groups to the other node."""
    broken.edit(placement, "_place", "if view.reports[name].stopping:", "if False:")


@mutant()
def stays_on_a_node_that_shuts_down(broken: Broken) -> None:
    """A machine that shuts down keeps its groups to the last."""
    broken.edit(eligible, "obstacle", "if report.leaving:", "if False:")


@mutant()
def never_wears_out(broken: Broken) -> None:
    """A group is tried on the same node for ever, however often it fails there."""
    broken.set(eligible, "worn_out", lambda _view, _group, _node: None)


@mutant()
def never_gives_up_a_stop(broken: Broken) -> None:
    """A stop that fails is tried for ever, and the watchdog is fed meanwhile."""
    broken.edit(LocalState, "after_step", "share.failed_stops >= STOP_TRIES", "False")


@mutant()
def takes_a_failed_stop_for_done(broken: Broken) -> None:
    """What could not be stopped passes for stopped."""
    broken.edit(
        LocalState,
        "after_step",
        "share.states = tuple(states)",
        "share.states = tuple('stopped' if error and i == step.index else s for i, s in enumerate(states))",
    )


@mutant()
def stops_what_it_finds_after_a_restart(broken: Broken) -> None:
    """A new supervisor that has not heard of quorum yet stops what runs."""
    broken.set(core, "QUORUM_UNKNOWN_S", 0.0)


@mutant()
def leaves_without_a_word(broken: Broken) -> None:
    """A supervisor that is stopped does not tell the others that its services run on."""
    broken.edit(Core, "_say_goodbye", "detached if active else", "True if active else")


@mutant()
def blind_is_stopped(broken: Broken) -> None:
    """What cannot be looked at passes for stopped."""

    def states(self: Process, group: str) -> tuple[State, ...]:
        resources = self.site.resources
        seen = resources.states(group)
        return tuple("stopped" for _ in seen) if group in resources.blind else seen

    broken.set(Process, "_states", states)


# Writes and the watchdog ------------------------------------------------------------------------------


@mutant()
def thaws_without_asking(broken: Broken) -> None:
    """The kernel is told at once that it may go on without its peer."""
    broken.set(Core, "on_fence_request", lambda self, drbd: self.world.answer(drbd, PEER_FENCED))


@mutant()
def thaws_before_a_majority_knows(broken: Broken) -> None:
    """Writes go on once the Exclude was sent, not once it is on record."""

    def resume_anyway(self: Exclusions, view: ClusterView, _taking_over: set[str]) -> None:
        for name in list(self.frozen):
            self.world.multicast(Exclude(view.view_id, name, self.cluster.peer_of(self.me)))
            self._settle(name, PEER_FENCED, "for no reason")

    broken.set(Exclusions, "pursue", resume_anyway)


@mutant()
def never_thaws(broken: Broken) -> None:
    """The kernel never gets an answer."""
    broken.set(Exclusions, "_maybe_resume", lambda _self, _view, _drbd: None)


@mutant()
def pets_the_watchdog_without_quorum(broken: Broken) -> None:
    """The watchdog is fed by the clock, whatever the ring does."""
    broken.edit(Core, "on_tick", "self.exclusions.tick(", "self.world.pet(); self.exclusions.tick(")


@mutant()
def has_no_watchdog(broken: Broken) -> None:
    """The watchdog never resets a node."""
    broken.set(Machine, "_watchdog", lambda _self: None)


# Drivers and options, as the simulation has them ------------------------------------------------------


@mutant()
def takes_any_copy(broken: Broken) -> None:
    """`fencing dont-care`, and neither the record nor the disk's state is asked: each of the three is a net."""
    broken.edit(Metadata, "attached", '"UpToDate" if self.peer_outdated else "Consistent"', '"UpToDate"')
    broken.set(eligible, "_stale", lambda _view, _node, _drbd, _report: None)


@mutant()
def does_not_freeze(broken: Broken) -> None:
    """DRBD without fencing: a Primary that loses its peer goes on writing at once."""
    broken.edit(Connection, "_lose", 'side.role == "Primary" and side.peer_disk == "DUnknown"', "False")


@mutant("two-nodes")
def believes_the_agent(broken: Broken) -> None:
    """The fence driver takes the agent's word for it and does not look whether the machine is off."""
    broken.edit(Device, "_check", '"its status still says on" if self.target.powered else None', "None")


@mutant()
def never_asks_for_the_survivor(broken: Broken) -> None:
    """When a connected peer loses its disk, nobody writes down that its copy gets old."""
    broken.edit(Requests, "about_disks", "report.peer_lost_its_disk and", "False and")


@mutant()
def takes_a_lost_disk_for_good(broken: Broken) -> None:
    """decide does not mind a copy that is not UpToDate."""
    broken.edit(eligible, "_stale", 'if report.disk == "UpToDate":', "if True:")


@mutant()
def waits_for_a_disk_for_ever(broken: Broken) -> None:
    """A node keeps its groups although their disk gives no answer and the other node could go on."""
    broken.edit(Core, "_see_to_disks", "hung and users", "False")


@mutant()
def decides_without_a_majority(broken: Broken) -> None:
    """Any partition counts as a majority, and corosync's word is not asked for."""
    broken.set(ClusterView, "quorate", property(lambda view: view.complete))
    broken.edit(Core, "on_quorum", "self.quorate = quorate", "self.quorate = True")


# What groups have to do with each other ----------------------------------------------------------------


@mutant("company")
def starts_in_any_order(broken: Broken) -> None:
    """A group is started before the one that it comes after."""
    broken.set(placement, "awaited", lambda _view, _group, _placed: None)


@mutant("company")
def goes_before_its_followers(broken: Broken) -> None:
    """A group leaves its node while one that comes after it still runs there."""
    broken.set(steps, "may_stop", lambda _view, _group: True)


@mutant("company")
def goes_its_own_way(broken: Broken) -> None:
    """Nobody minds where the groups are that a group is to be with, or apart from."""
    broken.set(placement, "misplaced", lambda _view, _group, _node, _placed: None)


@mutant("company")
def takes_orders_back_at_once(broken: Broken) -> None:
    """A group that was ordered away moves back before it has come there."""
    broken.edit(placement, "_stay_or_move", "None if wanted == here else ", "")


__all__ = ["MUTANTS"]
