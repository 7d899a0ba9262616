# SPDX-License-Identifier: GPL-2.0-or-later
"""What Core answers when the kernel has frozen writes, and what it does when nobody asks."""

from __future__ import annotations

from dataclasses import replace

from appliance.decide.messages import Exclude, Include, Persisted, SetMaintenance, SetStandby
from appliance.decide.steps import Start
from appliance.decide.view import DrbdReport
from appliance.supervisor.core import Core
from appliance.supervisor.exclusions import HANDLER_AGREES_S, NOT_NEEDED, PEER_ACTIVE, PEER_OUTDATED
from tests.test_core import CUT_OFF, NODES, PAIRED, PROCESSES, Desk, hear_own, other, running

PEER_DISKLESS = DrbdReport("Primary", "UpToDate", "Connected", "Diskless", "Secondary")
RESYNC = DrbdReport("Primary", "UpToDate", "SyncSource", "Inconsistent", "Secondary")


def _written_down(core: Core) -> None:
    for node in ("beta", "witness"):
        core.on_message(node, Persisted(core.view.record.stamp))


def test_an_exclusion_of_before_is_no_answer_while_the_peer_is_being_included_again() -> None:
    core, desk = running()
    core.on_drbd("shopdata", PEER_DISKLESS)
    hear_own(core, desk)
    _written_down(core)
    assert core.view.record.current["shopdata"] == ("alpha",)
    core.on_drbd("shopdata", RESYNC)
    hear_own(core, desk)
    core.on_drbd("shopdata", PAIRED)
    assert any(isinstance(message, Include) for message in desk.sent)
    core.on_fence_request("shopdata")
    core.on_drbd("shopdata", CUT_OFF)
    assert desk.answers == []
    hear_own(core, desk)
    assert core.view.record.current["shopdata"] == ("alpha",)
    _written_down(core)
    assert desk.answers == [PEER_OUTDATED]


def test_a_peer_that_only_drbd_knows_is_vouched_for_when_it_is_here() -> None:
    core, desk = running()
    core.on_drbd("shopdata", PEER_DISKLESS)
    hear_own(core, desk)
    assert core.view.record.current["shopdata"] == ("alpha",)
    core.on_members(5, [p for p in PROCESSES if p[0] != "beta"], ["alpha", "witness"])
    core.on_message("witness", other("witness", core.view.view_id))
    hear_own(core, desk)
    core.on_drbd("shopdata", PAIRED)
    hear_own(core, desk)
    assert core.view.record.current["shopdata"] == ("alpha",)
    core.on_members(6, PROCESSES, NODES)
    for node in ("beta", "witness"):
        core.on_message(node, other(node, core.view.view_id))
    hear_own(core, desk)
    assert set(core.view.record.current["shopdata"]) == {"alpha", "beta"}


def test_what_the_kernel_does_not_ask_any_more_is_asked_for_it() -> None:
    core, desk = running()
    core.on_fence_request("shopdata")
    desk.time += HANDLER_AGREES_S
    core.on_tick()
    assert desk.answers == [NOT_NEEDED]  # its events came late
    core.on_drbd("shopdata", CUT_OFF)
    for _ in range(10):
        desk.time += 1
        core.on_tick()
        hear_own(core, desk)
        _written_down(core)
    assert core.view.record.current["shopdata"] == ("alpha",)
    assert desk.answers[:2] == [NOT_NEEDED, PEER_OUTDATED]


def _not_current(core: Core) -> None:
    core.on_message("beta", Exclude(core.view.view_id, "shopdata", "alpha"))
    assert core.view.record.current["shopdata"] == ("beta",)


def test_a_promotion_that_may_not_be_is_refused() -> None:
    core, desk = running("----")
    core.on_drbd("shopdata", DrbdReport("Secondary", "UpToDate", "WFConnection"))
    core._work.running["shop"] = Start("shop", 0)
    core.on_fence_request("shopdata")
    _not_current(core)
    assert desk.answers == [PEER_ACTIVE]


def test_who_is_secondary_again_excludes_nobody() -> None:
    core, desk = running("----")
    core.on_message("alpha", SetStandby(core.view.view_id, "alpha", True))
    core._work.running.clear()
    core.on_drbd("shopdata", DrbdReport("Secondary", "UpToDate", "WFConnection"))
    hear_own(core, desk)
    core.on_fence_request("shopdata")
    assert not any(isinstance(message, Exclude) for message in desk.sent)
    desk.time += HANDLER_AGREES_S
    core.on_tick()
    assert desk.answers == [NOT_NEEDED]


def _hangs(core: Core, desk: Desk) -> bool:
    core.on_drbd("shopdata", replace(PAIRED, hung=True))
    hear_own(core, desk)
    return core.local.stuck


def test_in_maintenance_a_disk_that_hangs_costs_no_reset() -> None:
    core, desk = running()
    core.on_message("alpha", SetMaintenance(core.view.view_id, True))
    hear_own(core, desk)
    assert not _hangs(core, desk)
    core.on_message("alpha", SetMaintenance(core.view.view_id, False))
    hear_own(core, desk)
    assert core.local.stuck


def test_who_loses_his_disk_while_connected_leaves_himself_out() -> None:
    core, desk = running()
    core.on_drbd("shopdata", replace(PAIRED, disk="Diskless"))
    assert [m.node for m in desk.sent if isinstance(m, Exclude)] == ["alpha"]
    hear_own(core, desk)
    assert core.view.record.current["shopdata"] == ("beta",)


def test_a_disk_that_is_lost_without_a_peer_is_still_the_newest() -> None:
    core, desk = running()
    core.on_drbd("shopdata", DrbdReport("Primary", "UpToDate", "WFConnection"))
    hear_own(core, desk)
    desk.sent.clear()
    core.on_drbd("shopdata", DrbdReport("Primary", "Diskless", "WFConnection"))
    assert not any(isinstance(message, Exclude) for message in desk.sent)
