# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands print and end with, whatever the supervisor answers, or whether it answers at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest

from appliance.cli import bus
from appliance.cli.main import main


class Supervisor:
    """``answers``: by method a value, an error, or what gives one; ``asked``: what commands have called."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def call(self, method: str, *arguments: Any, timeout_s: float = 0) -> Any:
        assert timeout_s >= 0
        self.asked.append((method, *map(str, arguments)))
        answer = self.answers.get(method)
        if callable(answer):
            answer = answer(*arguments)
        if isinstance(answer, BaseException):
            raise answer
        return answer


Stand = Callable[..., Supervisor]


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Stand:
    def stand(**answers: Any) -> Supervisor:
        made = Supervisor(**answers)
        monkeypatch.setattr(bus, "call", made.call)
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
