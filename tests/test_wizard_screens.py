# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person sees on each kind of terminal, and what their keys do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import PairkeepError
from tests.wizard_machine import GOOD, KEY, ToyMachine
from tests.wizard_screens import FOLDER, TERMS, Sitting, Terminal, pictures

RENEW = "if this is meant: make wizard-screens"


@pytest.mark.parametrize("term", TERMS)
def test_every_page_looks_as_it_did(term: str, tmp_path: Path) -> None:
    seen = set()
    for name, terminal in pictures(term, tmp_path / "setup.json"):
        seen.add(name)
        assert terminal.picture() == (FOLDER / term / f"{name}.txt").read_text(), f"{name} under {term}; {RENEW}"
    assert seen == {path.stem for path in (FOLDER / term).glob("*.txt")}


def test_an_old_terminal_gets_ascii_and_one_colour() -> None:
    for path in (FOLDER / "vt220").glob("*.txt"):
        text = path.read_text()
        assert text.isascii()
        assert " on " not in text.partition("\n\n")[2]


@pytest.fixture
def sitting(tmp_path: Path) -> Sitting:
    return Sitting(tmp_path / "setup.json")


@pytest.fixture
def terminal(sitting: Sitting) -> Iterator[Terminal]:
    terminal = Terminal("vt220", sitting)
    yield terminal
    terminal.close()


def shown(terminal: Terminal) -> str:
    return "\n".join(terminal.lines)


def test_keys_alone_lead_to_the_summary(sitting: Sitting, terminal: Terminal) -> None:
    """Nothing but keystrokes, as on a serial line; Enter alone takes what is proposed."""
    terminal.press(*["enter"] * 3)
    terminal.press("enter", "enter")
    assert sitting.wizard.page.key == "name"
    terminal.type("alpha")
    terminal.press("enter", "enter")
    terminal.press("enter", "enter")
    terminal.type("10.9.1.11/24")
    terminal.press(*["enter"] * 5)
    terminal.press("enter", "right", "right", "enter", "left", "left", "enter")
    terminal.type("fd00:9:2::11/64")
    terminal.press(*["enter"] * 4)
    assert sitting.wizard.page.key == "link.enp0s4"
    terminal.press("enter", "enter")
    assert sitting.wizard.page.key == "trial"
    terminal.press("enter", "enter")
    assert sitting.wizard.page.key == "disk"
    terminal.press("enter", "enter")
    terminal.press("enter", "enter", "enter")
    terminal.type("a horse, a boat")
    terminal.press("enter")
    terminal.type("a horse, a boat")
    terminal.press("enter")
    terminal.type(KEY)
    terminal.press("enter", "tab", "enter")
    assert sitting.wizard.page.key == "cluster"
    terminal.press("enter")
    terminal.type("shop")
    terminal.press("enter", "enter")
    terminal.press("enter", "enter")
    terminal.type("10.9.1.100/24")
    terminal.press("enter")
    terminal.type("shop")
    terminal.press("enter")
    terminal.type("shop")
    terminal.press("enter")
    terminal.type("pairkeep-test")
    terminal.press("enter", "enter")
    assert sitting.wizard.page.key == "gather"
    given = sitting.wizard.given
    assert [str(address) for address in given.heartbeats] == ["10.9.1.11/24", "fd00:9:2::11/64"]
    assert given.get("admin", "keys").strip() == KEY
    assert given.get("service", "password") == GOOD["service"]["password"]


def test_a_fault_is_told_under_its_field_and_has_the_cursor(sitting: Sitting, terminal: Terminal) -> None:
    sitting.wizard.go_to("name", "")
    terminal.tui.show()
    terminal.type("Alpha")
    terminal.press("enter", "enter")
    assert '! found "Alpha", expected small letters' in shown(terminal)
    terminal.press(*["backspace"] * 5)
    terminal.type("beta")
    terminal.press("enter", "enter")
    assert sitting.wizard.given.name == "beta"


def test_a_choice_brings_fields_and_takes_them_away(sitting: Sitting, terminal: Terminal) -> None:
    sitting.wizard.go_to("link.enp0s2", "")
    terminal.tui.show()
    terminal.press("enter", "enter")
    terminal.type("10.9.1.11/24")
    terminal.press("up", "right")
    assert "10.9.1.11/24" not in shown(terminal)
    terminal.press("left")
    assert "10.9.1.11/24" in shown(terminal)


def test_escape_goes_back_and_keeps_what_was_typed(sitting: Sitting, terminal: Terminal) -> None:
    sitting.wizard.go_to("name", "")
    terminal.tui.show()
    terminal.type("alph")
    terminal.press("esc")
    assert sitting.wizard.page.key == "role"
    terminal.press("enter", "enter")
    terminal.press("end")
    terminal.type("a")
    terminal.press("enter", "enter")
    assert sitting.wizard.given.name == "alpha"


def test_settings_of_the_cards_that_nobody_keeps_are_undone(
    sitting: Sitting, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    sitting.wizard.note(GOOD["keyboard"])
    for key in ("keyboard", "role", "name", "link.enp0s2", "link.enp0s3", "link.enp0s4"):
        assert sitting.wizard.answer(GOOD[key]) == {}
    terminal.tui.show()
    terminal.tui.tick()
    assert "seconds unless you keep them" in shown_after(terminal)
    now = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: now)
    terminal.tui.tick()
    assert "set up as they were before" in shown_after(terminal)
    assert sitting.wizard.page.key == "link.enp0s2"
    machine = sitting.wizard.machine
    assert isinstance(machine, ToyMachine)
    assert machine.done[-1] == "network restored"


def shown_after(terminal: Terminal) -> str:
    terminal.draw()
    return shown(terminal)


def test_nobody_goes_on_before_all_have_joined(sitting: Sitting, terminal: Terminal) -> None:
    sitting.wizard.state = type(sitting.wizard.state)(values=GOOD, page="gather")
    terminal.tui.show()
    terminal.press("enter")
    assert "! the second database machine and the witness has to join first" in shown(terminal)
    terminal.press("right", "enter")
    terminal.tui.show()
    assert "W4HN-8PZ2" in shown_after(terminal)


def test_a_port_that_is_taken_is_told_and_tried_again(
    sitting: Sitting, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(_changed: object) -> None:
        raise PairkeepError("port 7780 cannot be opened: Address already in use")

    sitting.wizard.state = type(sitting.wizard.state)(values=GOOD, page="gather")
    with monkeypatch.context() as patch:
        patch.setattr(sitting, "gather", taken)
        terminal.tui.show()
        terminal.press("enter")
        assert "! port 7780 cannot be opened" in shown(terminal)
        assert sitting.wizard.page.key == "gather"
    terminal.press("enter")
    assert "K7QX-3M9T" in shown(terminal)
    assert "cannot be opened" not in shown(terminal)


def test_what_fails_leads_back_to_where_it_can_be_mended(sitting: Sitting, terminal: Terminal) -> None:
    sitting.wizard.state = type(sitting.wizard.state)(values=GOOD, page="summary")
    terminal.tui.show()
    sitting.fails = "beta has not got the configuration: it is gone; no machine keeps it"
    terminal.tui.carry_out_now()
    assert "! beta has not got the configuration" in shown_after(terminal)
    assert sitting.wizard.page.key == "gather"
