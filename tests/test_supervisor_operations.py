# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators ask of a supervisor over D-Bus, and what it answers and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from appliance.config.load import parse
from appliance.decide.messages import Reported
from appliance.decide.view import DrbdReport
from appliance.errors import InputError, PairkeepError
from appliance.lab.pair import CLUSTER_TOML
from tests.on_the_bus import Bus
from tests.test_config_virtual import PAIR, web
from tests.test_core import BOTH, NODES, PROCESSES, hear_own, other, running
from tests.test_supervisor_status import cut_off

Ask = Callable[..., Bus]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    def on(states: str = "++++") -> Bus:
        return Bus(monkeypatch, *running(states))

    return on


def test_a_node_that_could_not_run_by_a_file_refuses_it_before_anything_was_changed(ask: Ask) -> None:
    bus = ask()
    text = CLUSTER_TOML.replace("10.9.1.100/24", "10.9.1.101/24")
    bus.answers.append({"alpha": (), "beta": ("there is no unit x.service",)})
    (answer,) = bus.call("Apply", text, "admin", "", False)
    assert answer == ("Refused", "refused, and nothing was changed\n  beta: there is no unit x.service")


def test_a_disk_that_is_not_taken_up_says_what_to_do_instead(ask: Ask) -> None:
    bus = ask("----")
    bus.core.view = replace(bus.core.view, record=replace(BOTH, current={"shopdata": ("alpha",)}))
    bus.core.local.drbd["shopdata"] = DrbdReport("Secondary", "Diskless")
    bus.service.executor.drbd["shopdata"] = SimpleNamespace(has_metadata=lambda: False)
    ((name, text),) = bus.call("RecoverDisk", "shopdata")
    assert name == "Refused"
    assert "held writes that beta lacks" in text
    assert "hint: put it back if you can; otherwise first: pairkeep recover force shopdata beta" in text


def test_what_fails_on_the_way_is_no_refusal(ask: Ask) -> None:
    def attach() -> None:
        raise PairkeepError("drbdadm ended with 11", hint="to see it yourself: drbdadm attach shopdata")

    bus = ask("----")
    bus.core.local.drbd["shopdata"] = DrbdReport("Secondary", "Diskless")
    bus.service.executor.drbd["shopdata"] = SimpleNamespace(has_metadata=lambda: True, attach=attach)
    (answer,) = bus.call("RecoverDisk", "shopdata")
    assert answer == ("Failed", "drbdadm ended with 11\n  hint: to see it yourself: drbdadm attach shopdata")


def test_who_is_cut_off_does_not_call_the_others_down(ask: Ask) -> None:
    bus = ask()
    bus.core, bus.desk = cut_off()
    bus.operations._core = bus.core
    answer = ("Refused", "there is no quorum, so nothing can be changed\n  hint: pairkeep status")
    assert bus.call("ConfirmFenced", "beta") == [answer]


def test_an_order_is_answered_when_all_have_heard_it(ask: Ask) -> None:
    bus = ask()
    standby, cleanup = bus.call("Standby", "beta", True), bus.call("Cleanup", "shop")
    assert standby == cleanup == []
    hear_own(bus.core, bus.desk)
    assert standby == cleanup == [("", "")]
    assert bus.core.view.record.standby == ("beta",)


def test_an_order_that_a_ring_has_lost_is_answered_when_the_next_one_has_heard_it(ask: Ask) -> None:
    bus = ask()
    answers = bus.call("Maintenance", True)
    bus.desk.sent.clear()
    bus.core.on_members(8, PROCESSES, NODES)
    for node in ("beta", "witness"):
        bus.core.on_message(node, other(node, bus.core.view.view_id))
    assert answers == []
    hear_own(bus.core, bus.desk)
    hear_own(bus.core, bus.desk)
    assert answers == [("", "")]


def test_the_word_on_a_node_that_comes_back_meanwhile_counts_no_more(ask: Ask) -> None:
    bus = ask()
    bus.core.on_members(8, (PROCESSES[0], PROCESSES[2]), ("alpha", "witness"))
    bus.core.on_message("witness", other("witness", bus.core.view.view_id))
    hear_own(bus.core, bus.desk)
    hear_own(bus.core, bus.desk)
    answers = bus.call("ConfirmFenced", "beta")
    assert answers == []
    bus.core.on_members(12, PROCESSES, NODES)
    assert answers == [("Failed", "nodes have come or gone meanwhile, so that counts no more: look again")]


@pytest.mark.parametrize("two_node", [False, True])
def test_without_corosync_nobody_can_be_told_that_a_node_is_off(ask: Ask, two_node: bool) -> None:
    bus = ask()
    if two_node:
        nodes = bus.core.cluster.nodes[:2]
        bus.core.cluster = replace(bus.core.cluster, nodes=nodes)
        assert bus.core.cluster.two_node
    bus.core.on_quorum(False)
    bus.core.on_members(4, (), ())
    ((name, text),) = bus.call("ConfirmFenced", "beta")
    assert name == "Refused"
    assert "corosync does not run here" in text


def test_draining_is_answered_with_the_servers_when_all_are_heard(ask: Ask) -> None:
    bus = ask()
    bus.core.cluster = parse(PAIR + web())
    answers = bus.call("Drain", "", "10.9.2.21", True)
    assert answers == []
    hear_own(bus.core, bus.desk)
    assert answers == [("", '["web/10.9.2.21"]')]


def test_who_only_votes_has_no_disk_to_take_up_or_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    core, desk = running()
    core.me = "witness"
    bus = Bus(monkeypatch, core, desk)
    refused = "witness only votes and has no copy of shopdata\n  hint: give the command on alpha or beta"
    assert bus.call("RecoverDisk", "shopdata") == [("Refused", refused)]
    with pytest.raises(InputError, match="only votes"):
        bus.operations.verify("shopdata")


def test_a_group_that_not_every_node_has_heard_of_is_not_ordered_there(ask: Ask) -> None:
    bus = ask("----")
    late = replace(other("beta", bus.core.view.view_id).report, groups={})
    bus.core.on_message("beta", Reported(late))
    with pytest.raises(InputError, match="beta: its configuration does not have this group"):
        bus.operations.switchover("shop", "beta")
