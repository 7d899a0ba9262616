# SPDX-License-Identifier: GPL-2.0-or-later
"""The few widgets of the wizard: a choice in a row, a labelled field with its fault, a page of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import urwid

from appliance.firstboot.fields import Choice, Faults, Field, Page, Values
from appliance.firstboot.look import Look

LABEL_WIDTH = 18
# What a row of choices may take of 80 columns.
_ROW_WIDTH = 60


class Choices(urwid.WidgetWrap):
    """One of several, chosen with left, right or the blank; there is no focus in it that could be elsewhere."""

    def __init__(self, choices: tuple[Choice, ...], value: str, changed: Callable[[], None]) -> None:
        self._choices = choices
        self._changed = changed
        self.value = value
        self._row = sum(len(choice.label) + 6 for choice in choices) <= _ROW_WIDTH
        self._text = urwid.Text("")
        super().__init__(urwid.AttrMap(self._text, "body", "focus"))
        self._show()

    def selectable(self) -> bool:
        return True

    def keypress(self, _size: tuple[int], key: str) -> str | None:
        if key not in ("left", "right", " ") or not self._choices:
            return key
        known = [choice.value for choice in self._choices]
        step = -1 if key == "left" else 1
        place = known.index(self.value) + step if self.value in known else 0
        self.value = known[place % len(known) if key == " " else min(max(place, 0), len(known) - 1)]
        self._show()
        self._changed()
        return None

    def _show(self) -> None:
        words = [f"({'*' if choice.value == self.value else ' '}) {choice.label}" for choice in self._choices]
        self._text.set_text(("  " if self._row else "\n").join(words) or "(none)")


class Row(urwid.WidgetWrap):
    """A field with its label, and what is wrong with it below."""

    def __init__(self, field: Field, value: str, fault: str, look: Look, changed: Callable[[], None]) -> None:
        self.field = field
        self._input: urwid.Edit | Choices
        if field.kind == "choice":
            choices = tuple(Choice(choice.value, look.text(choice.label)) for choice in field.choices)
            self._input = Choices(choices, value, changed)
            shown: urwid.Widget = self._input
        else:
            mask = "*" if field.kind == "secret" else None
            self._input = urwid.Edit(edit_text=value, mask=mask, multiline=field.kind == "lines")
            shown = urwid.AttrMap(self._input, "field", "focus")
        label = urwid.Text(("label", look.text(field.label)))
        rows = [urwid.Columns([(LABEL_WIDTH, label), shown])]
        if fault:
            text = urwid.Text(("fault", look.text(f"! {fault}")))
            rows.append(urwid.Padding(text, left=LABEL_WIDTH))
        super().__init__(urwid.Pile(rows, focus_item=0))

    @property
    def value(self) -> str:
        if isinstance(self._input, Choices):
            return self._input.value
        text: str = self._input.edit_text
        return text if self.field.kind in ("lines", "secret") else text.strip()


class Buttons(urwid.WidgetWrap):
    """A row of them; the first is where Enter leads."""

    def __init__(self, buttons: Iterable[tuple[str, Callable[[], None]]]) -> None:
        made = [(label, _button(label, press)) for label, press in buttons]
        super().__init__(urwid.Columns([(len(label) + 4, one) for label, one in made], dividechars=2))


def _button(label: str, press: Callable[[], None]) -> urwid.AttrMap:
    button = urwid.Button(label, on_press=lambda _: press())
    return urwid.AttrMap(button, "strong", "focus")


class PageView(urwid.WidgetWrap):
    """A page's words, its fields and the buttons, one below the other; longer than the screen, it scrolls."""

    def __init__(
        self,
        page: Page,
        values: Values,
        faults: Faults,
        above: Iterable[tuple[str, str]],
        buttons: Iterable[tuple[str, Callable[[], None]]],
        look: Look,
    ) -> None:
        self._page = page
        self._faults = faults
        self._look = look
        self._above = [urwid.Text((kind, look.text(text))) for kind, text in above]
        self._buttons = Buttons(buttons)
        self._rows: list[Row] = []
        self._walker = urwid.SimpleFocusListWalker([])
        super().__init__(urwid.ListBox(self._walker))
        self._fill(values, faults)

    @property
    def values(self) -> dict[str, str]:
        """Those on the screen over those that are not asked now."""
        return {**self._hidden, **{row.field.name: row.value for row in self._rows}}

    @property
    def hint(self) -> str:
        """The help of the field that has the focus."""
        focus, _ = self._walker.get_focus()
        return focus.field.help if isinstance(focus, Row) else ""

    def keypress(self, size: tuple[int, int], key: str) -> str | None:
        """Tab and Enter go to the next field; Enter in a text of several lines begins another."""
        focus, _ = self._walker.get_focus()
        several = isinstance(focus, Row) and focus.field.kind == "lines"
        if key == "tab" or (key == "enter" and isinstance(focus, Row) and not several):
            self._move(1)
            return None
        if key == "shift tab":
            self._move(-1)
            return None
        rest: str | None = super().keypress(size, key)
        return rest

    def _move(self, step: int) -> None:
        _, place = self._walker.get_focus()
        places = [i for i, widget in enumerate(self._walker) if widget.selectable()]
        self._walker.set_focus(places[(places.index(place) + step) % len(places)] if place in places else places[0])

    def _changed(self) -> None:
        """A choice may bring fields and take others away."""
        asked = [field.name for field in self._page.asked(self.values)]
        if asked != [row.field.name for row in self._rows]:
            focus, _ = self._walker.get_focus()
            self._fill(self.values, {}, focus.field.name if isinstance(focus, Row) else "")

    def _fill(self, values: Values, faults: Faults, focus: str = "") -> None:
        complete = self._page.filled(values)
        asked = self._page.asked(complete)
        self._hidden = complete
        self._rows = [
            Row(field, complete[field.name], faults.get(field.name, ""), self._look, self._changed)
            for field in asked
        ]
        self._walker[:] = [*self._above, *self._rows, urwid.Divider(), self._buttons]
        wanted = focus or next((row.field.name for row in self._rows if row.field.name in faults), "")
        first = len(self._above)
        place = next((i for i, row in enumerate(self._rows) if row.field.name == wanted), 0)
        self._walker.set_focus(first + place if self._rows else len(self._walker) - 1)
