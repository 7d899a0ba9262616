# SPDX-License-Identifier: GPL-2.0-or-later
"""The wizard line by line, on a real pipe: same pages, same words."""

from __future__ import annotations

import io
import os
import termios
import threading
import time
from collections.abc import Sequence

import pytest

from appliance.firstboot import prompt as prompts
from appliance.firstboot.prompt import GoBack, Prompt
from tests.wizard_machine import GOOD, KEY, ToyMachine
from tests.wizard_screens import Sitting

TO_GATHER = [
    *("", ""),
    "",
    "alpha",
    *("", "", "10.9.1.11/24", "", "", ""),
    *("", "none", "static", "fd00:9:2::11/64", "", ""),
    "",
    "",
    "",
    *("", ""),
    *("a horse, a boat", "a horse, a boat", KEY),
    *("", "shop"),
    "",
    *("10.9.1.100/24", "shop", "shop", "pairkeep-test"),
]


def talk(sitting: Sitting, lines: Sequence[str]) -> tuple[bool, str]:
    """What comes of it when somebody types ``lines`` and goes; and what they were told."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as typed:
        typed.write("".join(f"{line}\n" for line in lines))
    told = io.StringIO()
    with os.fdopen(reader) as read:
        return Prompt(sitting, read, told).run(), told.getvalue()


@pytest.fixture
def sitting(tmp_path: object) -> Sitting:
    return Sitting(tmp_path / "setup.json")  # type: ignore[operator]


def test_lines_alone_lead_to_the_end(sitting: Sitting) -> None:
    done, told = talk(sitting, TO_GATHER)
    assert (done, sitting.wizard.page.key) == (False, "gather")
    assert "Code: K7QX-3M9T" in told
    sitting.all_join()
    done, told = talk(sitting, ["", "yes"])
    assert done
    assert "Joined: beta, witness" in told
    assert "Cluster: shop, with beta and witness" in told
    assert told.endswith("alpha is set up. To look at the cluster: pairkeep status\n")
    assert sitting.wizard.given.get("service", "password") == GOOD["service"]["password"]


def test_a_fault_is_told_in_the_same_words_and_asked_again(sitting: Sitting) -> None:
    sitting.wizard.go_to("name", "")
    _, told = talk(sitting, ["Alpha_1", "alpha"])
    assert '! found "Alpha_1", expected small letters, digits and -, no - at either end (at most 63)\n' in told
    assert sitting.wizard.given.name == "alpha"
    assert sitting.wizard.page.key == "link.enp0s2"


def test_help_back_and_emptying(sitting: Sitting) -> None:
    sitting.wizard.go_to("name", "")
    _, told = talk(sitting, ["?", "<"])
    assert "It stands in the status" in told
    assert sitting.wizard.page.key == "role"
    sitting.wizard.state = type(sitting.wizard.state)(values=GOOD, page="time")
    talk(sitting, ["-", ""])
    assert sitting.wizard.given.get("time", "servers") == ""


def test_a_password_is_never_shown(sitting: Sitting) -> None:
    sitting.wizard.state = type(sitting.wizard.state)(values=GOOD, page="admin")
    _, told = talk(sitting, [])
    assert "a horse" not in told
    assert f"[{'*' * len(GOOD['admin']['password'])}]" in told


@pytest.mark.parametrize("ends", ["typed", "left", "gone"])
def test_a_password_is_not_echoed_and_keeps_its_blanks(sitting: Sitting, ends: str) -> None:
    sitting.wizard.state = type(sitting.wizard.state)(values={**GOOD, "admin": {}}, page="admin")
    person, terminal = os.openpty()
    with os.fdopen(person, "r+b", buffering=0) as typed, os.fdopen(terminal) as read:
        before = termios.tcgetattr(read)
        shown = io.StringIO()
        answer: list[object] = []

        def ask() -> None:
            field = sitting.wizard.page.asked({})[0]
            assert field.kind == "secret"
            try:
                answer.append(Prompt(sitting, read, shown)._ask(field, "", "", None))
            except (GoBack, EOFError) as error:
                answer.append(type(error))

        asking = threading.Thread(target=ask)
        asking.start()
        while "]: " not in shown.getvalue():
            time.sleep(0.01)
        # Ctrl-D at the beginning of a line is its end.
        typed.write({"typed": b" a horse \n", "left": b"<\n", "gone": b"\x04"}[ends])
        asking.join(10)
        assert answer == [{"typed": " a horse ", "left": GoBack, "gone": EOFError}[ends]]
        assert termios.tcgetattr(read) == before
        os.set_blocking(typed.fileno(), False)
        assert b"horse" not in (typed.read() or b"")


def test_nobody_answers_in_time(sitting: Sitting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "TRIAL_S", 0.2)
    for key in ("keyboard", "role", "name", "link.enp0s2", "link.enp0s3", "link.enp0s4"):
        assert sitting.wizard.answer(GOOD[key]) == {}
    reader, writer = os.pipe()
    with os.fdopen(reader) as read:
        Prompt(sitting, read, io.StringIO())._page()
    os.close(writer)
    assert sitting.wizard.page.key == "link.enp0s2"
    machine = sitting.wizard.machine
    assert isinstance(machine, ToyMachine)
    assert machine.done[-1] == "network restored"
