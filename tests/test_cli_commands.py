# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands print and end with, whatever the supervisor answers, or whether it answers at all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.cli import apply, bus
from appliance.cli.main import main
from appliance.cli.parsers import WIDTH
from appliance.decide.view import Configuration, Record
from appliance.upkeep.versions import Versions
from tests.test_config_virtual import PAIR, web

GOOD = Path(__file__).parent / "config/good"


class Supervisor:
    """``answers``: by method a value, an error, what gives one, or several in turn; ``asked``: what was called."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def call(self, method: str, *arguments: Any, timeout_s: float = 0) -> Any:
        assert timeout_s >= 0
        self.asked.append((method, *map(str, arguments)))
        answer = self.answers.get(method)
        if callable(answer):
            answer = answer(*arguments)
        elif isinstance(answer, Iterator):
            answer = next(answer)
        if isinstance(answer, BaseException):
            raise answer
        return answer


Stand = Callable[..., Supervisor]


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Stand:
    def stand(**answers: Any) -> Supervisor:
        made = Supervisor(**answers)
        monkeypatch.setattr(bus, "call", made.call)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        return made

    return stand


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_who_ends_the_input_where_a_word_is_asked_for_has_confirmed_nothing(
    supervisor: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = supervisor().asked
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert main(["confirm-fenced", "beta"]) == 2
    assert "not confirmed: nothing was done" in capsys.readouterr().err
    assert asked == []


def test_what_is_asked_of_a_person_is_not_in_what_programs_read(
    supervisor: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = supervisor().asked
    monkeypatch.setattr(sys, "stdin", Terminal("beta\n"))
    assert main(["confirm-fenced", "beta", "--json"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("{")
    assert "Type beta to go on: " in told.err
    assert asked == [("ConfirmFenced", "beta")]


# Programs read standard output ------------------------------------------------------------------------

SIDE = {"role": "Secondary", "disk": "UpToDate", "connection": "StandAlone", "out_of_sync_kib": 123456789}
SIDES = {"drbd": [{"name": "shopdata", "current": ["alpha"], "nodes": {"alpha": SIDE, "beta": SIDE}}]}


def verifying(*states: str | None) -> Iterator[Any]:
    for state in states:
        verify = None if state is None else {"state": state, "text": f"{state} so far", "out_of_sync_kib": 0}
        yield NO_ANSWER if state == "away" else {"drbd": [{"name": "shopdata", "verify": verify}]}


@pytest.mark.parametrize(
    "words", [["recover", "force", "shopdata", "beta"], ["recover", "split-brain", "shopdata", "--discard", "beta"]]
)
def test_a_program_that_recovers_reads_json_and_a_person_sees_both_sides(
    words: list[str], supervisor: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor(Status=SIDES)
    assert main([*words, "--json", "--yes"]) == 0
    told = capsys.readouterr()
    assert "beta" in json.loads(told.out)["done"]
    assert "not the newest on record" in told.err
    assert max(map(len, told.err.splitlines())) <= WIDTH


def test_a_verify_that_is_not_waited_for_is_told_as_json(
    supervisor: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor(Status=verifying("running"))
    assert main(["verify", "shopdata", "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "running"


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_cannot_be_applied_is_told_with_its_reasons(
    more: list[str], supervisor: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "token_ms: nodes have agreed on it"
    supervisor(Preview={"version": 3, "changes": ["cluster: token_ms"], "refused": [why], "stops": [], "gone": []})
    draft = tmp_path / "cluster.toml"
    draft.touch()
    assert main(["apply", str(draft), "--json", *more]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["refused"] == [why]
    assert why in told.err
    assert main(["apply", str(draft), *more]) == 2
    assert (told := capsys.readouterr()).out.count(why) + told.err.count(why) == 1


# A supervisor that is restarted meanwhile, as by every apply -------------------------------------------

NO_ANSWER = bus.NoAnswer("the supervisor does not answer (NoReply)")


def test_a_verify_outlives_a_missed_answer_and_ends_with_its_supervisor(
    supervisor: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor(Status=verifying("running", "away", "done"))
    assert main(["verify", "shopdata"]) == 0
    supervisor(Status=verifying("running", "away", None))
    assert main(["verify", "shopdata"]) == 1
    assert "restarted meanwhile" in capsys.readouterr().err


def moving(*steps: str) -> Iterator[Any]:
    """By its target and where it runs: "beta alpha" moves from alpha to beta."""
    for step in steps:
        target, _, node = step.partition(" ")
        group = {"name": "shop", "state": "running", "node": node, "target": target, "reason": "as ordered"}
        groups = [{**group, "ordered": "beta" if target == "beta" else None}] if step != "gone" else []
        yield NO_ANSWER if step == "away" else {"groups": groups, "settled": target != "unsettled"}


def test_a_switchover_outlives_missed_answers(supervisor: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    # The next supervisor has met nobody at first.
    supervisor(Switchover="beta", Status=moving("beta alpha", "away", "away", "unsettled alpha", "beta beta"))
    assert main(["switchover", "shop"]) == 0
    assert "shop runs on beta" in capsys.readouterr().out


@pytest.mark.parametrize(("last", "why"), [("alpha alpha", "given up"), ("gone", "no group shop any more")])
def test_a_switchover_that_comes_to_nothing_says_so(
    last: str, why: str, supervisor: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor(Switchover="beta", Status=moving("beta alpha", last))
    assert main(["switchover", "shop"]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("words", [["switchover", "shop"], ["verify", "shopdata"]])
def test_who_does_not_wait_any_longer_is_told_that_it_goes_on(
    words: list[str], supervisor: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor(Switchover="beta", Status=KeyboardInterrupt())
    assert main(words) == 130
    assert "goes on all the same; pairkeep status shows it" in capsys.readouterr().err


def test_watching_goes_on_when_an_answer_is_missed(
    supervisor: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("appliance.cli.status.render", lambda status, colour: [str(status["groups"])])  # noqa: ARG005
    answers = iter([{"groups": []}, NO_ANSWER, NO_ANSWER, {"groups": ["again"]}, KeyboardInterrupt()])
    supervisor(Status=answers)
    assert main(["status", "--watch"]) == 130
    told = capsys.readouterr()
    assert "again" in told.out
    assert told.err.count("does not answer") == 1
    supervisor(Status=NO_ANSWER)
    assert main(["status"]) == 1


# What is in force, and not a draft ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["target", "list"], (GOOD / "san.toml").read_text()),
        (["initiator", "list"], (GOOD / "shared-disk.toml").read_text()),
        (["realserver", "script", "--for", "10.9.2.21"], PAIR + web('forward = "dr"')),
    ],
    ids=["targets", "initiators", "realservers"],
)
def test_what_is_shown_is_in_force_whatever_is_being_edited(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = tmp_path / "cluster.toml"
    draft.write_text("a draft")
    here = Versions(draft, tmp_path / "versions", tmp_path / "running.json", tmp_path)
    monkeypatch.setattr("appliance.upkeep.versions.Versions", lambda: here)
    monkeypatch.setattr("appliance.supervisor.store.load", lambda: Record(config=Configuration(4, text)))
    monkeypatch.setattr("appliance.drivers.initiator.sessions", lambda _target: ())
    assert main(words) == 0
    assert capsys.readouterr().out


def test_why_says_only_of_other_nodes_that_it_is_not_there(
    supervisor: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    worn = "service:mariadb.service has failed there too often, which is more than a line of a small screen holds"
    supervisor(Why={"group": "shop", "node": "alpha", "reason": worn, "nodes": {"alpha": worn, "beta": worn}})
    assert main(["why", "shop"]) == 0
    told = capsys.readouterr().out
    assert "not on beta" in told
    assert "not on alpha" not in told
    assert max(map(len, told.splitlines())) <= WIDTH


class _DBusError(Exception):
    def get_dbus_name(self) -> str:
        return f"org.freedesktop.DBus.Error.{self}"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("AccessDenied", 2, "only root may ask the supervisor\n  hint: sudo pairkeep …"),
        ("NoReply", 1, "what was asked of it may still come about"),
        ("ServiceUnknown", 1, "the supervisor does not answer (ServiceUnknown)\n  hint: systemctl status pairkeep"),
    ],
)
def test_whoever_gets_no_answer_is_told_why(
    error: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise _DBusError(error)

    dbus = SimpleNamespace(SystemBus=refuse, DBusException=_DBusError, Interface=None)
    monkeypatch.setitem(sys.modules, "dbus", dbus)
    assert main(["maintenance", "on"]) == code
    assert said in capsys.readouterr().err


# What takes long --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "code", "said"), [(False, 3, "systemctl reboot"), (KeyboardInterrupt(), 130, "goes on")]
)
def test_an_upgrade_that_is_not_over_says_how_it_goes_on(
    ends: Any,
    code: int,
    said: str,
    supervisor: Stand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun = tmp_path / "upgrade.json"
    begun.touch()

    def upgrade(*_arguments: object, **_more: object) -> Any:
        if isinstance(ends, BaseException):
            raise ends
        return ends

    supervisor()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for name, value in (("check", lambda *_, **__: None), ("upgrade", upgrade)):
        monkeypatch.setattr(f"appliance.upkeep.upgrade.{name}", value)
    monkeypatch.setattr("appliance.upkeep.upgrade.Tools", lambda **_: SimpleNamespace(begun=begun))
    assert main(["upgrade", "--yes"]) == code
    told = capsys.readouterr()
    assert said in told.out + told.err
    assert "standby" in told.out + told.err


def test_an_apply_says_whom_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, supervisor: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    def status(*behind: str) -> Any:
        nodes = [{"name": n, "state": "online", "up_to_date": n not in behind} for n in ("alpha", "beta")]
        return {"config": 4, "settled": True, "nodes": nodes}

    supervisor(Preview={"changes": []}, Status=iter([status("beta"), status("beta"), NO_ANSWER, status()]))
    monkeypatch.setattr(apply, "PATIENCE_S", 0)
    assert apply._taken_up("", 4, []) == ["alpha", "beta"]
    assert capsys.readouterr().err == "waiting for beta\n"
