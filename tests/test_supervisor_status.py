# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of groups while not all nodes run by the same cluster.toml."""

from __future__ import annotations

from dataclasses import replace

from appliance.decide.messages import Reported
from appliance.decide.view import GroupReport
from appliance.supervisor import status
from tests.test_core import other, running


def test_a_node_may_have_fewer_resources_of_a_group_than_there_will_be() -> None:
    core, _desk = running("----")
    report = other("beta", core.view.view_id).report
    fewer = GroupReport(("started",) * 2, (0, 1))
    core.on_message("beta", Reported(replace(report, groups={"shop": fewer}, config="another")))
    found = status._group(core, "shop")
    assert found["node"] == "beta"
    assert [resource["state"] for resource in found["resources"]] == ["started", "started", "stopped", "stopped"]
    assert [resource["fails"]["beta"] for resource in found["resources"]] == [0, 1, 0, 0]
