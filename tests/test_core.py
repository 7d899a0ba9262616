# SPDX-License-Identifier: GPL-2.0-or-later
"""One node's loop, told by hand what happens; whole clusters of it run in test_sim_seeds."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field, replace

import pytest

from appliance.decide.messages import (
    Beat,
    Configure,
    Detach,
    Exclude,
    Fenced,
    Lost,
    Message,
    Persisted,
    Reported,
    SetMaintenance,
    SetStandby,
)
from appliance.decide.steps import Fence, ForceUpToDate, Start, Step, Stop
from appliance.decide.view import BLANK, Configuration, DrbdReport, GroupReport, Record, Report, Stamp, State
from appliance.errors import InputError
from appliance.sim.cluster import lab_cluster
from appliance.supervisor.changeover import CHANGE_S
from appliance.supervisor.core import QUORUM_UNKNOWN_S, Core
from appliance.supervisor.exclusions import HANDLER_AGREES_S, NOT_NEEDED, PEER_FENCED, PEER_OUTDATED
from appliance.supervisor.world import Event

CLUSTER = lab_cluster()
PROCESSES = (("alpha", 1), ("beta", 2), ("witness", 3))
NODES = ("alpha", "beta", "witness")
PAIRED = DrbdReport("Primary", "UpToDate", "Connected", "UpToDate", "Secondary")
CUT_OFF = DrbdReport("Primary", "UpToDate", "WFConnection", suspended="fencing")
BOTH = Record(Stamp(1, 0), current={"shopdata": ("alpha", "beta")}, formatted=("filesystem:/srv/mysql",))


@dataclass
class Desk:
    """A world in which nothing happens but what a test says; it keeps what Core wants of it."""

    time: float = 0.0
    sent: list[Message] = field(default_factory=list)
    record: Record = BLANK
    full: bool = False
    begun: list[Step] = field(default_factory=list)
    pets: int = 0
    answers: list[int] = field(default_factory=list)
    finished_at: float | None = None
    taken_up: Configuration | None = None

    def now(self) -> float:
        return self.time

    def multicast(self, message: Message) -> None:
        self.sent.append(message)

    def persist(self, record: Record) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.record = record

    def begin(self, step: Step) -> None:
        self.begun.append(step)

    def pet(self) -> None:
        self.pets += 1

    def disarm(self) -> None: ...

    def answer(self, drbd: str, code: int) -> None:
        assert drbd == "shopdata"
        self.answers.append(code)

    def take_up(self, config: Configuration) -> None:
        self.taken_up = config

    def tell(self, event: Event) -> None:
        assert event.text

    def finished(self) -> None:
        self.finished_at = self.time


def restarted(states: str) -> tuple[Core, Desk]:
    """A supervisor on alpha that has found resources started (+) and stopped (-)."""
    desk = Desk()
    core = Core(CLUSTER, "alpha", "boot", BOTH, desk)
    core.on_drbd("shopdata", PAIRED)
    core.local.observed("shop", ["started" if c == "+" else "stopped" for c in states], count=False)
    core.ready()
    return core, desk


def hear_own(core: Core, desk: Desk) -> list[Message]:
    """The ring brings back what alpha has sent; returns it."""
    said: list[Message] = []
    while desk.sent:
        said.append(desk.sent.pop(0))
        core.on_message("alpha", said[-1])
    return said


def other(node: str, view_id: str) -> Reported:
    share = GroupReport(("stopped",) * 4, (0,) * 4)
    drbd = {"shopdata": DrbdReport("Secondary", "UpToDate", "Connected", "UpToDate", "Primary")}
    return Reported(Report(node, "boot", view_id, True, {"shop": share}, drbd, BOTH))


def running(states: str = "++++") -> tuple[Core, Desk]:
    """As `restarted`, in a quorate ring of all three."""
    core, desk = restarted(states)
    core.on_quorum(True)
    core.on_members(4, PROCESSES, NODES)
    for node in ("beta", "witness"):
        core.on_message(node, other(node, core.view.view_id))
    hear_own(core, desk)
    assert core.view.adopted
    return core, desk


def test_a_restarted_supervisor_touches_nothing_before_it_knows_of_quorum() -> None:
    core, desk = restarted("++++")
    core.on_tick()
    assert desk.begun == []
    desk.time += QUORUM_UNKNOWN_S
    core.on_tick()
    assert desk.begun == [Stop("shop", 3)]


def test_without_quorum_everything_stops_at_once() -> None:
    core, desk = restarted("++++")
    core.on_quorum(False)
    assert desk.begun == [Stop("shop", 3)]


def test_what_runs_is_adopted() -> None:
    core, desk = running()
    assert desk.begun == []
    assert core.decision.placements["shop"].reason == "runs on alpha"


def test_the_first_start_waits_for_the_own_claim_to_be_heard() -> None:
    core, desk = restarted("----")
    core.on_drbd("shopdata", replace(PAIRED, role="Secondary"))
    core.on_quorum(True)
    core.on_members(4, PROCESSES, NODES)
    (early,) = [m for m in desk.sent if isinstance(m, Reported)][-1:]
    for node in ("beta", "witness"):
        core.on_message(node, other(node, core.view.view_id))
    core.on_message("alpha", early)
    assert core.decision.placements["shop"].node == "alpha"
    assert desk.begun == []
    hear_own(core, desk)
    assert desk.begun == [Start("shop", 0)]


def test_a_disk_that_is_forced_is_primary_for_a_moment_and_starts_nothing() -> None:
    core, desk = restarted("----")
    old = DrbdReport("Secondary", "Outdated", "WFConnection")
    core.on_drbd("shopdata", old)
    core.on_quorum(True)
    core.on_members(4, PROCESSES[:1] + PROCESSES[2:], (NODES[0], NODES[2]))
    forced = replace(BOTH, stamp=Stamp(4, 1), current={"shopdata": ("alpha",)}, forced={"shopdata": "alpha"})
    core.absences.set_gone("beta")
    third = Report("witness", "boot", core.view.view_id, True, {}, {}, forced, down=("beta",))
    core.on_message("witness", Reported(third))
    hear_own(core, desk)
    assert desk.begun == [ForceUpToDate("shopdata")]
    core.on_drbd("shopdata", replace(old, role="Primary", disk="UpToDate"))
    assert core.local.states("shop")[0] == "stopped"
    core.on_drbd("shopdata", replace(old, disk="UpToDate"))
    core.on_step_done(ForceUpToDate("shopdata"), None)
    core.on_drbd("shopdata", replace(old, role="Primary", disk="UpToDate"))
    assert core.local.states("shop")[0] == "started"


def test_frozen_writes_go_on_only_when_a_majority_has_the_exclusion_on_disk() -> None:
    core, desk = running()
    core.on_drbd("shopdata", CUT_OFF)
    core.on_fence_request("shopdata")
    hear_own(core, desk)
    assert desk.record.current["shopdata"] == ("alpha",)
    assert desk.answers == []
    core.on_message("witness", Persisted(core.view.record.stamp))
    assert desk.answers == [PEER_OUTDATED]


def test_a_takeover_has_the_dead_peer_excluded_before_the_kernel_asks() -> None:
    core, desk = restarted("----")
    core.on_drbd("shopdata", replace(CUT_OFF, role="Secondary", suspended="no"))
    core.on_quorum(True)
    core.on_members(4, (PROCESSES[0], PROCESSES[2]), NODES)
    desk.time += CLUSTER.safety_wait_s
    core.on_tick()
    witness = replace(other("witness", core.view.view_id).report, groups={}, drbd={}, down=("beta",))
    core.on_message("witness", Reported(witness))
    hear_own(core, desk)
    assert desk.begun == [Start("shop", 0, peer_down=True)]
    assert desk.record.current["shopdata"] == ("alpha",)
    core.on_message("witness", Persisted(core.view.record.stamp))
    core.on_fence_request("shopdata")
    assert desk.answers == [PEER_FENCED]


def test_a_node_that_was_excluded_first_never_writes_on_and_gives_itself_up() -> None:
    core, desk = running()
    core.on_message("beta", Exclude(core.view.view_id, "shopdata", "alpha"))
    core.on_drbd("shopdata", CUT_OFF)
    core.on_fence_request("shopdata")
    hear_own(core, desk)
    core.on_message("witness", Persisted(core.view.record.stamp))
    assert desk.answers == []
    desk.pets = 0
    core.on_message("alpha", Beat(desk.time))
    assert desk.pets == 0


def test_a_connection_that_is_back_excludes_nobody() -> None:
    core, desk = running()
    core.on_fence_request("shopdata")
    core.on_tick()
    assert desk.answers == []
    desk.time += HANDLER_AGREES_S
    core.on_tick()
    hear_own(core, desk)
    assert desk.answers == [NOT_NEEDED]
    assert core.view.record.current["shopdata"] == ("alpha", "beta")


def test_the_watchdog_gets_its_time_for_fresh_own_words_with_quorum_only() -> None:
    core, desk = running()
    desk.time, desk.pets = 100.0, 0
    core.on_message("beta", Beat(100.0))
    core.on_message("alpha", Beat(90.0))
    assert desk.pets == 0
    core.on_message("alpha", Beat(99.5))
    assert desk.pets == 1
    core.on_quorum(False)
    core.on_message("alpha", Beat(100.0))
    assert desk.pets == 1


def test_a_ring_of_a_minority_gives_the_watchdog_nothing_before_corosync_says_so() -> None:
    core, desk = running()
    core.on_members(12, PROCESSES[:1], NODES[:1])
    desk.pets = 0
    hear_own(core, desk)
    assert desk.pets == 0
    core.on_members(16, PROCESSES[:2], NODES[:2])
    hear_own(core, desk)
    assert desk.pets > 0


def shut_down(core: Core, desk: Desk, seconds: int = 20) -> None:
    """Each step takes a moment and works."""
    core.stop(shutting_down=True)
    for _ in range(seconds):
        desk.time += 1
        core.on_tick()
        for step in desk.begun[:]:
            desk.begun.remove(step)
            assert isinstance(step, Stop)
            states = list(core.local.states("shop"))
            states[step.index] = "stopped"
            core.on_step_done(step, None, states)
        hear_own(core, desk)


@pytest.mark.parametrize("states", ["++++", "----"])
def test_a_machine_without_corosync_shuts_down_in_order(states: str) -> None:
    core, desk = restarted(states)
    core.on_quorum(False)
    core.on_members(4, (), ())
    shut_down(core, desk)
    assert core.local.states("shop") == ("stopped",) * 4
    assert desk.finished_at is not None


def test_a_supervisor_that_has_not_looked_yet_does_not_leave_as_if_nothing_ran() -> None:
    desk = Desk()
    core = Core(CLUSTER, "alpha", "boot", BOTH, desk)
    core.stop(shutting_down=True)
    core.on_tick()
    assert desk.finished_at is None


def test_a_machine_that_shuts_down_in_maintenance_stops_what_it_has() -> None:
    core, desk = running()
    core.wish(SetMaintenance("", True))
    hear_own(core, desk)
    assert desk.record.maintenance
    shut_down(core, desk)
    assert core.local.states("shop") == ("stopped",) * 4
    assert desk.finished_at is not None


def test_a_machine_that_shuts_down_while_another_version_is_awaited_stops_what_it_has() -> None:
    core, desk = running()
    core.on_message("beta", Configure(core.view.view_id, Configuration(1, "another")))
    hear_own(core, desk)
    assert desk.begun == []
    shut_down(core, desk)
    assert desk.finished_at is not None


def test_a_wish_is_refused_without_quorum_and_can_be_made_again_and_again() -> None:
    core, desk = restarted("++++")
    with pytest.raises(InputError, match="no quorum"):
        core.wish(SetMaintenance("", True))
    core, desk = running()
    for on in (True, False, True):
        core.wish(SetMaintenance("", on))
        hear_own(core, desk)
        assert desk.record.maintenance is on


def test_a_supervisor_that_has_said_goodbye_does_not_arm_the_watchdog_again() -> None:
    core, desk = running()
    core.stop(shutting_down=False)
    hear_own(core, desk)
    assert desk.record.detached == ("alpha",)
    core.on_message("witness", Persisted(core.view.record.stamp))
    assert desk.finished_at == desk.time
    desk.pets = 0
    core.on_message("alpha", Beat(desk.time))
    core.on_tick()
    assert desk.pets == 0


def test_a_warning_is_told_once_and_taken_back_once() -> None:
    core, desk = running()
    for text in ("the disk is not there", "the disk is not there", "", ""):
        core.on_warning("disk:shopdata", text)
    told = [m.report.warnings for m in desk.sent if isinstance(m, Reported)]
    assert told == [("the disk is not there",), ()]


def test_a_fencing_that_is_wanted_no_more_is_not_done() -> None:
    core, desk = running()
    assert not core.wants(Fence("beta"))
    core.on_step_dropped(Fence("beta"))
    assert not any(isinstance(m, Fenced) for m in desk.sent)


def test_a_fencing_that_waits_in_its_lane_is_not_done_once_corosync_has_died() -> None:
    core, desk = running()
    core.decision = replace(core.decision, steps={"alpha": (Fence("beta"),)})
    assert core.wants(Fence("beta"))
    core.on_quorum(False)
    core.on_members(4, (), ())
    assert not core.wants(Fence("beta"))
    # The groups stop all the same, one step after the other.
    assert desk.begun == [Stop("shop", 3)]
    for index in (3, 2, 1):
        states: tuple[State, ...] = tuple("started" if i < index else "stopped" for i in range(4))
        core.on_step_done(Stop("shop", index), None, states)
    assert desk.begun == [Stop("shop", index) for index in (3, 2, 1, 0)]


def test_what_was_learnt_before_a_node_was_away_itself_is_not_told_later() -> None:
    core, desk = running()
    core.on_step_done(Fence("beta"), None)
    core.on_members(4, (), ())
    desk.sent.clear()
    core.on_members(12, (PROCESSES[0], PROCESSES[2]), ("alpha", "witness"))
    hear_own(core, desk)
    assert core.absences.down(()) == ()
    assert not core.busy


HUNG = replace(PAIRED, hung=True)


def test_a_node_whose_disk_hangs_gives_itself_up_when_the_other_can_go_on() -> None:
    core, _desk = running()
    core.on_drbd("shopdata", HUNG)
    assert "does not answer, and beta can go on; the watchdog resets" in core.local.group_reports()["shop"].stuck


def test_a_node_whose_disk_hangs_stays_when_nobody_can_go_on() -> None:
    core, desk = running()
    core.wish(SetStandby("", "beta", True))
    hear_own(core, desk)
    core.on_drbd("shopdata", HUNG)
    hear_own(core, desk)
    assert core.local.group_reports()["shop"].stuck == ""
    assert dict(core.decision.placements["shop"].nodes)["alpha"] == "its disk of shopdata does not answer"


@pytest.mark.parametrize(("before", "lost"), [(True, True), (False, False)])
def test_a_disk_that_was_missing_already_is_a_lost_one(before: bool, lost: bool) -> None:
    """One that is missing while the resource comes up is only on its way."""
    desk = Desk()
    alone = replace(BOTH, current={"shopdata": ("alpha",)})
    core = Core(CLUSTER, "alpha", "boot", alone, desk)
    for step in ("ready", "diskless") if not before else ("diskless", "ready"):
        if step == "ready":
            core.ready()
        else:
            core.on_drbd("shopdata", DrbdReport("Secondary", "Diskless", "Connected", "UpToDate"))
    core.on_quorum(True)
    core.on_members(4, PROCESSES, NODES)
    for node in ("beta", "witness"):
        core.on_message(node, other(node, core.view.view_id))
    hear_own(core, desk)
    core.on_drbd("shopdata", DrbdReport("Secondary", "Inconsistent", "SyncTarget", "UpToDate"))
    assert any(isinstance(message, Lost) for message in desk.sent) == lost


def test_a_detached_node_is_down_only_once_it_was_switched_off() -> None:
    core, desk = running()
    stopping = replace(other("beta", core.view.view_id).report, stopping=True)
    core.on_message("beta", Reported(stopping))
    core.on_message("beta", Detach(core.view.view_id))
    core.on_members(5, (PROCESSES[0], PROCESSES[2]), ("alpha", "witness"))
    desk.time += CLUSTER.safety_wait_s + 1
    assert core.absences.down(core.view.record.detached) == ()
    core.on_message("witness", Fenced(core.view.view_id, "beta", by_hand=True))
    assert core.absences.down(core.view.record.detached) == ("beta",)


def test_how_long_a_step_took_is_told_and_known_again_by_a_dry_run() -> None:
    core, desk = running("++--")
    assert desk.begun == [Start("shop", 2)]
    desk.time += 2.5
    core.on_step_done(Start("shop", 2), None, ("started", "started", "started", "stopped"))
    told = desk.sent[0]
    assert isinstance(told, Reported)
    assert told.report.took == {"start service:mariadb.service": 2.5}
    again, _ = restarted("++++")
    share = GroupReport(("started",) * 4, (0, 0, 2, 0))
    again.recall(replace(told.report, groups={"shop": share}, down=("beta",), unreached=("10.9.1.1",)))
    assert again.local.took == told.report.took
    assert again.local.group_reports()["shop"] == share
    assert again.absences.is_gone("beta")


def test_a_node_changes_over_once_it_is_for_good_and_what_has_to_stop_is_stopped() -> None:
    core, desk = running("++++")
    config = Configuration(1, "another cluster.toml", ("shop",))
    record = replace(core.view.record, config=config, stamp=Stamp(core.view.record.stamp.ring, 9))
    core.on_message("beta", Configure(core.view.view_id, config))
    assert core.view.record.config == config
    hear_own(core, desk)
    # Nobody else has it on disk, and the group still runs.
    assert desk.begun == [Stop("shop", 3)]
    assert desk.taken_up is None
    for index in (3, 2, 1, 0):
        states: tuple[State, ...] = tuple("started" if i < index else "stopped" for i in range(4))
        if index == 0:
            core.on_drbd("shopdata", replace(PAIRED, role="Secondary"))
        core.on_step_done(Stop("shop", index), None, states)
        hear_own(core, desk)
        assert desk.taken_up is None
    core.on_message("beta", Persisted(record.stamp))
    assert desk.taken_up == config
    # Until it ends it feeds the watchdog, and takes nothing up twice.
    desk.taken_up = None
    core.on_tick()
    assert any(isinstance(message, Beat) for message in desk.sent)
    assert desk.taken_up is None


def test_a_stop_that_fails_keeps_a_node_from_changing_over() -> None:
    core, desk = running("++++")
    config = Configuration(1, "another cluster.toml", ("shop",))
    core.on_message("beta", Configure(core.view.view_id, config))
    hear_own(core, desk)
    core.on_message("beta", Persisted(Stamp(99)))
    core.on_step_done(Stop("shop", 3), "it does not want to")
    hear_own(core, desk)
    assert desk.taken_up is None


def test_a_node_that_runs_by_another_cluster_toml_begins_nothing() -> None:
    core, desk = running("++--")
    desk.begun.clear()
    core.on_step_done(Start("shop", 2), None, ("started", "started", "started", "stopped"))
    core.on_message("beta", Configure(core.view.view_id, Configuration(1, "another")))
    hear_own(core, desk)
    assert desk.begun == []
    assert core.decision.placements["shop"].reason == (
        "waiting for alpha and beta and witness to take up version 1 of cluster.toml"
    )


@pytest.mark.parametrize("comes_back", [True, False])
def test_nodes_change_over_one_after_the_other(comes_back: bool) -> None:
    """Where supervisors start slowly, all at once would be without one for so long that watchdogs reset them."""
    core, desk = running("++++")
    config = Configuration(1, "another cluster.toml")
    core.on_message("witness", Configure(core.view.view_id, config))
    hear_own(core, desk)
    # beta was the first, and is not back yet: be its supervisor restarted, be the machine.
    desk.time += 5.0
    core.on_members(8, PROCESSES[:1] + PROCESSES[2:], NODES[:1] + NODES[2:])
    said = other("witness", core.view.view_id).report
    core.on_message("witness", Reported(replace(said, record=core.view.record)))
    hear_own(core, desk)
    core.on_message("witness", Persisted(core.view.record.stamp))
    assert core.view.settled
    desk.time += CHANGE_S / 2
    core.on_tick()
    assert desk.taken_up is None
    if not comes_back:
        desk.time += CHANGE_S
        core.on_tick()
        assert desk.taken_up == config
        return
    core.on_members(12, PROCESSES, NODES)
    for node in ("beta", "witness"):
        said = other(node, core.view.view_id).report
        name = config.name if node == "beta" else said.config
        core.on_message(node, Reported(replace(said, record=core.view.record, config=name)))
    hear_own(core, desk)
    core.on_message("witness", Persisted(core.view.record.stamp))
    assert desk.taken_up == config


def test_a_record_that_cannot_be_written_is_promised_to_nobody_and_is_written_as_soon_as_it_can() -> None:
    core, desk = restarted("++++")
    desk.full = True
    core.on_quorum(True)
    core.on_members(4, PROCESSES, NODES)
    for node in ("beta", "witness"):
        core.on_message(node, other(node, core.view.view_id))
    said = hear_own(core, desk)
    assert core.view.adopted
    assert not any(isinstance(m, Persisted) for m in said)
    core.on_message("beta", Persisted(core.view.record.stamp))
    settled = core.view.settled
    assert not settled
    told = next(m.report for m in reversed(said) if isinstance(m, Reported))
    assert told.unwritten == "it cannot write its record: No space left on device"
    assert told.warnings == (told.unwritten,)
    assert told.record == BOTH
    # It has lost nothing, and feeds its watchdog; but the other node can go on, so the group leaves.
    assert core.decision.placements["shop"].reason == f"moving to beta; alpha: {told.unwritten}"
    desk.pets = 0
    core.on_message("alpha", Beat(desk.time))
    assert desk.pets == 1
    desk.full = False
    core.on_tick()
    said = hear_own(core, desk)
    assert desk.record == core.view.record
    assert Persisted(desk.record.stamp) in said
    settled = core.view.settled
    assert settled
    assert core.view.reports["alpha"].unwritten == ""


def test_writes_that_wait_go_on_only_when_the_exclusion_could_be_written() -> None:
    core, desk = running()
    desk.full = True
    core.on_drbd("shopdata", CUT_OFF)
    core.on_fence_request("shopdata")
    hear_own(core, desk)
    assert core.view.record.current["shopdata"] == ("alpha",)
    core.on_message("witness", Persisted(core.view.record.stamp))
    assert desk.answers == []
    desk.full = False
    core.on_tick()
    hear_own(core, desk)
    assert desk.answers == [PEER_OUTDATED]
