# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of faults, and how what is seen becomes an outcome."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.cli import faults as cli
from appliance.errors import InputError
from appliance.lab import fault_results, suite
from appliance.lab.fault_results import Result
from appliance.lab.faults import FAULTS, cases
from appliance.lab.scenes import Case, Moment, Outcome, Scene
from appliance.lab.writer import Acknowledged

RESULT = Result("cut", "writes", "moves", "moves", 17.44, 60.0, 900, 0, 0.0)


def test_names_are_plain_and_unique() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalpha() and name.islower() for name in names)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_whoever_refuses_the_service_says_why(fault: Any) -> None:
    assert Moment.WRITES in fault.expected
    assert bool(fault.says) == any(not outcome.serves for outcome in fault.expected.values())
    # A fault that is over before it is judged has to be undone by something.
    assert fault.lasts_s is None or fault.undo is not None


def test_cases_are_chosen_by_name_and_moment() -> None:
    assert [case.name for case in cases(["power-cut-active"], [Moment.RESYNC])] == ["power-cut-active@resync"]
    assert cases(["bmc"]) == []
    assert {case.fault.name for case in cases(["bmc", "nonsense"], fenced=True)} == {"bmc-slow", "bmcs-mute"}
    assert tuple(Moment) == cli.MOMENTS


def _status(node: str | None, why: str = "") -> dict[str, Any]:
    group = {"state": "running" if node else "stopped", "node": node, "reason": "no node can run it"}
    return {"groups": [{**group, "nodes": {"beta": why} if why else {}}], "nodes": [], "drbd": []}


@pytest.mark.parametrize(
    ("status", "silent_s", "found"),
    [
        (_status("alpha"), 0.1, Outcome.STAYS),
        (_status("beta"), 0.1, Outcome.MOVES),
        (_status("beta"), 9, "runs on beta, but the client gets no answer"),
        (_status(None, "it lacks newer writes that alpha has"), 9, Outcome.WAITS),
        (_status(None, "it is in standby"), 9, "does not run: no node can run it; beta: it is in standby"),
        ({"groups": [], "nodes": [], "drbd": []}, 9, "does not run: nobody answers"),
    ],
)
def test_what_is_seen_becomes_an_outcome(status: dict[str, Any], silent_s: float, found: str) -> None:
    case = Case(next(fault for fault in FAULTS if fault.name == "power-cut-active"), Moment.RESYNC)
    pair: Any = SimpleNamespace(rows=[Acknowledged(1, time.time() - silent_s)])
    machines: Any = (SimpleNamespace(name="alpha"), SimpleNamespace(name="beta"))
    assert suite._seen(Scene(pair, *machines), case, status) == found


@pytest.mark.parametrize(
    ("silent_s", "address", "interrupted"),
    [(0.1, "", False), (9, "2: lan inet 10.9.1.100/24\n", False), (9, "", True)],
    ids=["rows flow", "the host is busy", "the address has left"],
)
def test_a_switchover_has_begun_when_the_client_waits_for_it(
    silent_s: float, address: str, interrupted: bool
) -> None:
    pair: Any = SimpleNamespace(rows=[Acknowledged(1, time.time() - silent_s)])
    active: Any = SimpleNamespace(exec=lambda _: SimpleNamespace(stdout=address))
    assert suite._interrupted(Scene(pair, active, active)) == interrupted


def test_the_table_tells_what_went_wrong_below_it() -> None:
    wrong = Result(
        "hang", "idle", "moves", "does not run: x | y", None, None, 0, None, None, wrong="expected: moves"
    )
    lines = fault_results.table([RESULT, wrong]).splitlines()
    assert lines[2] == "| cut | writes | moves | 17.4 | 900 | 0 | ok |"
    assert lines[3] == "| hang | idle | does not run |  | 0 | not known | WRONG |"
    assert lines[-1] == "- hang@idle: does not run: x | y; expected: moves"


def test_what_was_run_on_another_cluster_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAIRKEEP_BUILD", str(tmp_path))
    assert fault_results.load("one") == []
    fault_results.save("one", [RESULT])
    assert fault_results.load("one") == [RESULT]
    assert fault_results.load("another") == []
    assert RESULT.case == "cut@writes"


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    args = SimpleNamespace(only=["nonsense"], moments=cli.MOMENTS, fenced=False, list=True, repeat=1, json=None)
    with pytest.raises(InputError, match="no case is of that kind"):
        cli.run(args)  # type: ignore[arg-type]
