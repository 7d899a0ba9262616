# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node tells of itself, of the others and of groups, whatever it can know of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from appliance.decide.messages import Reported, SetStandby
from appliance.decide.steps import Stop
from appliance.decide.view import GroupReport, Stamp
from appliance.supervisor import status
from appliance.supervisor.core import OUTSIDE, Core
from tests.test_core import BOTH, CLUSTER, NODES, PAIRED, PROCESSES, Desk, hear_own, other, restarted, running


def test_a_node_may_have_fewer_resources_of_a_group_than_there_will_be() -> None:
    core, _desk = running("----")
    report = other("beta", core.view.view_id).report
    fewer = GroupReport(("started",) * 2, (0, 1))
    core.on_message("beta", Reported(replace(report, groups={"shop": fewer}, config="another")))
    found = status._group(core, "shop")
    assert found["node"] == "beta"
    assert [resource["state"] for resource in found["resources"]] == ["started", "started", "stopped", "stopped"]
    assert [resource["fails"]["beta"] for resource in found["resources"]] == [0, 1, 0, 0]


def cut_off() -> tuple[Core, Desk]:
    """alpha was partitioned from the others for longer than silence takes to mean that they are down."""
    core, desk = running()
    core.on_quorum(False)
    core.on_members(8, PROCESSES[:1], NODES[:1])
    hear_own(core, desk)
    desk.time += CLUSTER.safety_wait_s + 1
    core.on_tick()
    hear_own(core, desk)
    assert core.view.surely_down("beta")
    return core, desk


def test_who_is_cut_off_does_not_say_that_the_others_are_down() -> None:
    core, _desk = cut_off()
    nodes = {node["name"]: node["detail"] for node in status.status(core, {}, [])["nodes"]}
    nothing = "not seen from here: this node has no quorum and knows nothing of it"
    assert nodes == {"alpha": "without quorum", "beta": nothing, "witness": nothing}


def test_a_node_whose_corosync_has_died_says_so_and_how_it_does_itself() -> None:
    core, desk = running()
    core.on_quorum(False)
    core.on_members(4, (), ())
    told = status.status(core, {}, [])
    alpha, beta, _witness = told["nodes"]
    assert (alpha["state"], alpha["detail"]) == ("offline", OUTSIDE)
    assert beta["detail"].startswith("not seen from here")
    (shop,) = told["groups"]
    assert (shop["state"], shop["node"], shop["reason"]) == ("running", "alpha", OUTSIDE)
    assert told["drbd"][0]["nodes"]["alpha"]["role"] == "Primary"
    desk.begun.clear()
    core.on_step_done(Stop("shop", 3), None, ("started", "started", "started", "stopped"))
    assert status._group(core, "shop")["state"] == "stopping"


def _left(core: Core, desk: Desk, **witness: Any) -> str:
    """alpha's group is stopped and beta has left; returns what is told of the group."""
    core.on_members(8, (PROCESSES[0], PROCESSES[2]), ("alpha", "witness"))
    said = other("witness", core.view.view_id).report
    core.on_message("witness", Reported(replace(said, **{"groups": {}, "drbd": {}, **witness})))
    hear_own(core, desk)
    return str(status._group(core, "shop")["state"])


def test_a_group_that_may_run_where_nobody_sees_it_is_not_called_stopped() -> None:
    core, desk = restarted("----")
    core.on_drbd("shopdata", replace(PAIRED, role="Secondary"))
    core.on_quorum(True)
    assert _left(core, desk) == "unknown"
    assert status._group(core, "shop")["resources"][0]["state"] == "unknown"
    core.on_members(12, (PROCESSES[0], PROCESSES[2]), ("alpha", "witness"))
    assert status._group(core, "shop")["state"] == "unknown"  # the witness has not reported, nor has alpha
    desk.time += CLUSTER.safety_wait_s
    core.on_tick()
    assert _left(core, desk, down=("beta",)) == "starting"


def test_a_group_that_runs_on_unattended_is_not_called_stopped() -> None:
    core, desk = restarted("----")
    core.on_quorum(True)
    record = replace(BOTH, stamp=Stamp(2, 0), detached=("beta",))
    desk.time += CLUSTER.safety_wait_s
    assert _left(core, desk, record=record, down=("beta",)) == "unknown"


def test_a_group_that_runs_nowhere_is_stopped() -> None:
    core, desk = running("----")
    for node in ("alpha", "beta"):
        core.wish(SetStandby("", node, True))
    hear_own(core, desk)
    assert status._group(core, "shop")["state"] == "stopped"


def test_corosyncs_quorum_is_not_enough_to_act() -> None:
    core, desk = running()
    assert (told := status.status(core, {}, []))["quorate"] and told["acts"]
    core.on_members(8, PROCESSES[:1], NODES)
    hear_own(core, desk)
    told = status.status(core, {}, [])
    assert (told["quorate"], told["acts"]) == (True, False)
