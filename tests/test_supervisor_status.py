# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node tells of itself, of the others and of groups, whatever it can know of them."""

from __future__ import annotations

from dataclasses import replace

from appliance.decide.messages import Reported
from appliance.decide.steps import Stop
from appliance.decide.view import GroupReport
from appliance.supervisor import status
from appliance.supervisor.core import OUTSIDE, Core
from tests.test_core import CLUSTER, NODES, PROCESSES, Desk, hear_own, other, running


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
