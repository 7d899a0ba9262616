# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators ask of a supervisor over D-Bus, and what it answers and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from appliance.decide.view import DrbdReport
from appliance.errors import InputError, PairkeepError
from appliance.lab.pair import CLUSTER_TOML
from tests.on_the_bus import Bus
from tests.test_core import BOTH, running
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
    with pytest.raises(InputError, match="there is no quorum, so nothing can be changed"):
        bus.operations.confirm_fenced("beta")
