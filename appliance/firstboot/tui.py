# SPDX-License-Identifier: GPL-2.0-or-later
"""The wizard on a screen of 80 by 24: the pages as forms, and what happens after them."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import urwid

from appliance.errors import PairkeepError
from appliance.firstboot.fields import Faults, Values
from appliance.firstboot.forming import Gathering
from appliance.firstboot.look import PALETTE, Look
from appliance.firstboot.pages_network import TRIAL_S
from appliance.firstboot.session import Session
from appliance.firstboot.widgets import LABEL_WIDTH, PageView

KEYS = "Tab next   Enter go on   Left/Right or blank choose   F1 help   Esc back"
HELP_KEYS = "Up/Down scroll   Esc or Enter back to the page"
# The last lines of what is being done.
_SHOWN = 14
Button = tuple[str, Callable[[], None]]


class Tui:
    """``screen``: where to; this process' terminal unless told otherwise."""

    def __init__(self, session: Session, look: Look, screen: Any = None) -> None:
        self._session = session
        self._wizard = session.wizard
        self._look = look
        # urwid draws bytes, and asks the locale which; a serial console may not agree with it.
        urwid.set_encoding("ascii" if look.ascii else "utf-8")
        self._title = urwid.Text("")
        self._hint = urwid.Text("")
        self._keys = urwid.Text("")
        footer = urwid.Pile([urwid.Padding(self._hint, left=1), urwid.AttrMap(self._keys, "keys")])
        header = urwid.Pile([urwid.AttrMap(self._title, "title"), urwid.Divider()])
        self.frame = urwid.Frame(urwid.SolidFill(" "), header, footer)
        self._screen = screen or urwid.display.raw.Screen()
        self._screen.set_terminal_properties(colors=look.colors, has_underline=True)
        self.loop = urwid.MainLoop(
            urwid.AttrMap(self.frame, "body"),
            [(name, fore, back, mono) for name, fore, back, mono in PALETTE],
            self._screen,
            handle_mouse=False,
            input_filter=self._filter,
            unhandled_input=self._unhandled,
        )
        self._pipe = -1
        self._view: PageView | None = None
        self._before_help: urwid.Widget | None = None
        self._kept_until: float | None = None
        self._gathering: Gathering | None = None
        self._log: list[str] = []
        self._finished: str | None = None
        self._failed: PairkeepError | None = None

    def run(self) -> bool:
        """Whether the machine was set up; False when somebody left."""
        self._pipe = self.loop.watch_pipe(self._news)
        self.show()
        threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
        self.loop.run()
        return self._finished is not None

    # Pages ------------------------------------------------------------------------------------------

    def show(self, faults: Faults | None = None, values: Values | None = None) -> None:
        """The page that is next."""
        wizard, page = self._wizard, self._wizard.page
        self._before_help = None
        self._kept_until = time.monotonic() + TRIAL_S if page.kind == "trial" else None
        wrong = (faults or {}).get("", "")
        if page.kind == "gather":
            wrong = self._start_gathering() or wrong
        else:
            self._gathering = None
        if page.kind == "trial":
            self.loop.set_alarm_in(1, self.tick)
        above: list[tuple[str, str]] = []
        if wizard.state.notice:
            above += [("notice", f"! {wizard.state.notice}"), ("body", "")]
        if wrong:
            above += [("fault", f"! {wrong}"), ("body", "")]
        if page.intro:
            above += [("body", page.intro), ("body", "")]
        above += self._more(page.kind)
        self._view = PageView(
            page, values or wizard.values, faults or {}, above, self._buttons(page.kind), self._look
        )
        self._set(self._view, f"Step {wizard.place + 1} of {len(wizard.pages)}: {page.title}", KEYS)

    def _more(self, kind: str) -> list[tuple[str, str]]:
        """What some pages show besides their words."""
        if kind == "summary":
            lines = [f"{label:<{LABEL_WIDTH}}{text}" for label, text in self._session.summary()]
            return [("body", line) for line in lines] + [("body", "")]
        if kind == "gather" and self._gathering is not None:
            gathering = self._gathering
            joined = ", ".join(one.name for one in gathering.joined) or "nobody yet"
            return [
                ("body", f"  First machine   {' or '.join(gathering.addresses)}"),
                ("strong", f"  Code            {gathering.code or 'none; make a new one'}"),
                ("body", ""),
                ("body", f"  Joined          {joined}"),
                ("body", f"  Missing         {' and '.join(gathering.missing) or 'nobody: go on'}"),
                ("body", ""),
                *(("hint", f"  {event}") for event in gathering.events),
                ("body", ""),
            ]
        return []

    def _buttons(self, kind: str) -> list[Button]:
        on = "Set up" if kind == "summary" else "Next"
        buttons: list[Button] = [(on, self._next), ("Back", self._back), ("Help", self._help)]
        if kind == "gather":
            buttons.insert(1, ("New code", self._new_code))
        return buttons

    def _next(self) -> None:
        if self._view is None:
            return
        page, values = self._wizard.page, self._view.values
        if page.kind == "summary":
            self._carry_out()
            return
        if page.kind == "gather" and (self._gathering is None or self._gathering.missing):
            missing = "" if self._gathering is None else " and ".join(self._gathering.missing)
            self.show({"": f"{missing} has to join first"} if missing else None)
            return
        self._hint.set_text(("notice", "One moment ..."))
        self.loop.draw_screen()
        faults = self._wizard.answer(values)
        self.show(faults, values if faults else None)

    def _back(self) -> None:
        if self._view is None:
            return
        if self._wizard.page.kind == "gather":
            self._session.stop_gathering()
        self._wizard.back(self._view.values)
        self.show()

    # The trial of new network settings ----------------------------------------------------------------

    def tick(self, *_of_the_loop: object) -> None:
        if self._kept_until is None:
            return
        left = self._kept_until - time.monotonic()
        if left <= 0:
            self._wizard.undo_trial()
            self.show()
            return
        if self._before_help is None:
            self._hint.set_text(("notice", f"Undone in {left:.0f} seconds unless you keep them."))
        self.loop.set_alarm_in(1, self.tick)

    # Other machines join ------------------------------------------------------------------------------

    def _start_gathering(self) -> str:
        """Why nobody can join, or "": then it is tried again with the next look at the page."""
        try:
            self._gathering = self._session.gather(self._ring)
        except PairkeepError as error:
            self._gathering = None
            return str(error)
        return ""

    def _new_code(self) -> None:
        if self._gathering is not None:
            self._gathering.new_code()

    # Setting up ---------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """In a thread of its own: the screen goes on."""
        self._begin_log()
        threading.Thread(target=self._work, daemon=True).start()

    def carry_out_now(self) -> None:
        """As `_carry_out`, and return when it is over."""
        self._begin_log()
        self._work()
        self._news(b"")

    def _begin_log(self) -> None:
        self._log, self._view, self._failed = [], None, None
        self._show_log()

    def _work(self) -> None:
        try:
            self._finished = self._session.carry_out(self._report)
        except PairkeepError as error:
            self._failed = error
        self._ring()

    def _report(self, words: str) -> None:
        self._log.append(words)
        self._ring()

    def _show_log(self) -> None:
        lines = [urwid.Text(("body", self._look.text(line))) for line in self._log[-_SHOWN:]]
        keys = "Please wait. If power fails, it goes on by itself."
        if self._finished is not None:
            lines += [urwid.Divider(), urwid.Text(("strong", self._look.text(self._finished)))]
            keys = "Enter ends the set-up"
        # Otherwise Frame would have nothing to give the focus to.
        lines.append(urwid.SelectableIcon("", 0))
        self._set(urwid.ListBox(urwid.SimpleFocusListWalker(lines)), "Setting up this machine", keys)

    # From other threads -------------------------------------------------------------------------------

    def _ring(self) -> None:
        if self._pipe >= 0:
            os.write(self._pipe, b".")

    def _news(self, _data: bytes) -> bool:
        if self._view is None:
            if self._failed is not None:
                self.show()
            else:
                self._show_log()
        elif self._gathering is not None and self._before_help is None:
            self.show()
        return True

    # Keys ---------------------------------------------------------------------------------------------

    def _filter(self, keys: list[str], _raw: list[int]) -> list[str]:
        """After every key the hint is that of where the focus is then, so it is set with the next draw."""
        self.loop.set_alarm_in(0, lambda _loop, _data: self.show_hint())
        return keys

    def show_hint(self) -> None:
        if self._view is not None and self._before_help is None and self._kept_until is None:
            self._hint.set_text(("hint", self._look.text(self._view.hint)))

    def _unhandled(self, key: str) -> bool:
        if self._finished is not None and key == "enter":
            raise urwid.ExitMainLoop
        if self._before_help is not None and key in ("esc", "enter", "f1"):
            self._leave_help()
        elif key == "f1":
            self._help()
        elif key == "esc" and self._view is not None:
            self._back()
        elif key == "ctrl l":
            self._screen.clear()
        return True

    def _help(self) -> None:
        if self._view is None:
            return
        words = [" ".join(part.split("\n")) for part in self._wizard.help.split("\n\n")]
        lines: list[urwid.Widget] = []
        for part in words:
            lines += [urwid.Text(("body", self._look.text(part))), urwid.Divider()]
        # Something that has the focus, so that keys arrive.
        lines.append(urwid.SelectableIcon(""))
        self._before_help = self.frame.body
        self._set(urwid.ListBox(urwid.SimpleFocusListWalker(lines)), f"Help: {self._wizard.page.title}", HELP_KEYS)
        self._hint.set_text("")

    def _leave_help(self) -> None:
        self.frame.body, self._before_help = self._before_help, None
        self._say(self._page_title(), KEYS)

    def _page_title(self) -> str:
        wizard = self._wizard
        return f"Step {wizard.place + 1} of {len(wizard.pages)}: {wizard.page.title}"

    def _set(self, body: urwid.Widget, title: str, keys: str) -> None:
        self.frame.body = urwid.Padding(body, left=1, right=1)
        self._say(title, keys)

    def _say(self, title: str, keys: str) -> None:
        self._title.set_text(self._look.text(f" Pairkeep   {title}"))
        self._keys.set_text(self._look.text(f" {keys}"))
        self._hint.set_text("")
        self.show_hint()


def _end_with(terminal: int) -> None:
    """A terminal that is gone can be read for ever and has nothing to say, and urwid goes on reading.

    The kernel tells only those whose controlling terminal it was.
    """
    gone = select.poll()
    gone.register(terminal, 0)
    gone.poll()
    os.kill(os.getpid(), signal.SIGHUP)
