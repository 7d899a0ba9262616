# SPDX-License-Identifier: GPL-2.0-or-later
"""The wizard itself: which page is next, what an answer leads to, what is kept. It shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from appliance.firstboot import help_texts
from appliance.firstboot.facts import Facts
from appliance.firstboot.fields import Faults, Page, Values
from appliance.firstboot.given import LINK_PAGE, Given
from appliance.firstboot.machine import Machine
from appliance.firstboot.pages import pages
from appliance.firstboot.pages_network import TRIAL
from appliance.firstboot.state import State

UNDONE = "The network cards are set up as they were before: the new settings were not kept in time."
Pages = Callable[[Given], tuple[Page, ...]]


class Wizard:
    """``keep`` is called with every new state, before anything else happens. ``made_by`` makes the pages.
    ``by_person``: somebody at a console answers, not a file.

    Every page that was passed stays answered, so going back and on loses nothing.
    """

    def __init__(
        self,
        machine: Machine,
        state: State,
        keep: Callable[[State], None],
        made_by: Pages = pages,
        *,
        by_person: bool = True,
    ) -> None:
        self.machine = machine
        self.state = state
        self._keep = keep
        self._made_by = made_by
        self._by_person = by_person
        self.facts: Facts = machine.facts()
        self._begin()

    @property
    def given(self) -> Given:
        return Given(self.facts, self.state.values)

    @property
    def pages(self) -> tuple[Page, ...]:
        return self._made_by(self.given)

    @property
    def page(self) -> Page:
        return self.pages[self.place]

    @property
    def place(self) -> int:
        """Which of `pages` is next, from 0. What is no page any more leads to the first."""
        return next((i for i, page in enumerate(self.pages) if page.key == self.state.page), 0)

    @property
    def values(self) -> dict[str, str]:
        """The answers of this page so far."""
        return self.page.filled(self.state.values.get(self.page.key, {}))

    @property
    def help(self) -> str:
        return f"{self.page.help}\n\n{help_texts.KEYS}"

    def answer(self, values: Values) -> Faults:
        """Go on with these answers; or say what is wrong with them, and stay."""
        page = self.page
        faults = page.faults(values)
        if not faults:
            asked = {field.name for field in page.asked(values)}
            faults = page.live(self.machine, {**page.filled(values)})
            faults = {name if name in asked else "": fault for name, fault in faults.items()}
        if faults:
            self.note(values)
            return faults
        self._go(1, values)
        return {}

    def note(self, values: Values) -> None:
        """Keep answers as they are, right or wrong."""
        self._set(values={**self.state.values, self.page.key: self.page.filled(values)})

    def back(self, values: Values | None = None) -> None:
        """To the page before this one; what was typed here stays."""
        if self.page.kind == "trial":
            self.machine.restore_network()
        if self.place > 0:
            self._go(-1, values)

    def undo_trial(self, notice: str = UNDONE) -> None:
        """The new network settings were not kept: back to where they were made."""
        self.machine.restore_network()
        first = next(page.key for page in self.pages if page.key.startswith(LINK_PAGE))
        self._set(page=first, notice=notice)

    def go_to(self, key: str, notice: str) -> None:
        """To a page on which something has to be put right."""
        self._set(page=key, notice=notice)

    def _begin(self) -> None:
        """A restart has undone the cards' settings, or another console was just trying them."""
        keys = [page.key for page in self.pages]
        if TRIAL not in keys or self.state.page not in keys:
            return
        if self.state.page == TRIAL:
            self.undo_trial()
        elif self.place > keys.index(TRIAL):
            self.machine.try_network(self.given.networks)

    def _go(self, by: int, values: Values | None) -> None:
        page = self.page
        if values is not None:
            self.note(values)
        if by > 0 and page.kind == "trial" and self.values.get("keep") == "undo":
            self.undo_trial("")
            return
        # Asked anew: this answer may have made pages come or go.
        place = next(i for i, one in enumerate(self.pages) if one.key == page.key) + by
        ahead = self.pages[min(place, len(self.pages) - 1)]
        if by < 0 and ahead.kind == "trial":
            # Nobody goes back to a question that has been settled, but to the cards.
            ahead = self.pages[place - 1]
        if by > 0 and ahead.kind == "trial":
            self.machine.try_network(self.given.networks)
        if ahead.looks:
            self.facts = self.machine.facts()
        self._set(page=ahead.key, notice="")

    def _set(
        self,
        *,
        values: Mapping[str, Values] | None = None,
        page: str | None = None,
        notice: str | None = None,
    ) -> None:
        new = self.state
        if values is not None:
            changed = self._by_person and _said(values) != _said(new.values)
            new = replace(new, values=values, by_person=new.by_person or changed)
        new = new if page is None else replace(new, page=page)
        new = new if notice is None else replace(new, notice=notice)
        if new != self.state:
            self.state = new
            self._keep(new)


def _said(values: Mapping[str, Values]) -> dict[str, Values]:
    """Without pages that ask for nothing: who only goes on there has changed no answer."""
    return {key: page for key, page in values.items() if page}
