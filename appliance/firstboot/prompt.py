# SPDX-License-Identifier: GPL-2.0-or-later
"""The wizard line by line, for terminals that can do no more: the same pages, checks and words."""

from __future__ import annotations

import contextlib
import select
import termios
import time
from collections.abc import Iterator
from typing import TextIO

from appliance.errors import PairkeepError
from appliance.firstboot.fields import Field, Page
from appliance.firstboot.forming import Gathering
from appliance.firstboot.pages_network import TRIAL_S
from appliance.firstboot.session import Session

BACK, HELP, NEW = "<", "?", "new"
INTRO = f'Enter takes what stands in brackets. "{HELP}" explains, "{BACK}" goes back, "-" empties a field.'


class GoBack(Exception):
    """Somebody typed that."""


class Prompt:
    """``read`` gives a line at a time; an empty text without its end means that the terminal is gone."""

    def __init__(self, session: Session, read: TextIO, write: TextIO) -> None:
        self._session = session
        self._wizard = session.wizard
        self._read = read
        self._write = write

    def run(self) -> bool:
        """Whether the machine was set up; False when the terminal went away."""
        self._say(INTRO)
        while True:
            try:
                done = self._page()
            except EOFError:
                return False
            if done is not None:
                self._say("", done)
                return True

    def _page(self) -> str | None:
        """One page, answered or left; what to say in the end when all is done."""
        wizard, page = self._wizard, self._wizard.page
        self._say("", f"== Step {wizard.place + 1} of {len(wizard.pages)}: {page.title}")
        if wizard.state.notice:
            self._say(f"! {wizard.state.notice}")
        self._say(*page.intro.splitlines())
        try:
            if page.kind == "summary":
                return self._summary()
            if page.kind == "gather":
                self._gather()
            else:
                self._form(page)
        except GoBack:
            if page.kind == "gather":
                self._session.stop_gathering()
            wizard.back()
        return None

    def _form(self, page: Page) -> None:
        until = time.monotonic() + TRIAL_S if page.kind == "trial" else None
        values = self._wizard.values
        faults: dict[str, str] = {}
        while True:
            # Asked one by one, since an answer decides which come after it.
            asked: list[str] = []
            while (field := next((f for f in page.asked(values) if f.name not in asked), None)) is not None:
                asked.append(field.name)
                if faults and field.name not in faults:
                    continue
                answer = self._ask(field, values[field.name], faults.get(field.name, ""), until)
                if answer is None:
                    self._wizard.undo_trial()
                    return
                values[field.name] = answer
            faults = dict(self._wizard.answer(values))
            if not faults:
                return
            if "" in faults:
                self._say(f"! {faults.pop('')}")

    def _ask(self, field: Field, value: str, fault: str, until: float | None) -> str | None:
        """None when the time is over."""
        if fault:
            self._say(f"! {fault}")
        known = ", ".join(f"{choice.value} ({choice.label})" for choice in field.choices)
        shown = "*" * len(value) if field.kind == "secret" else value.replace("\n", " / ")
        while True:
            question = f"{field.label}{f': {known}' if known else ''} [{shown}]: "
            if field.kind == "secret":
                with self._unseen():
                    line = self._line(question, until, whole=True)
            else:
                line = self._line(question, until)
            if line is None:
                return None
            if line == HELP:
                self._say(field.help, "", *self._wizard.page.help.splitlines())
                continue
            if not line:
                return value
            if line == "-":
                return ""
            return f"{value}\n{line}".strip() if field.kind == "lines" else line

    def _gather(self) -> None:
        try:
            gathering = self._session.gather(lambda: None)
        except PairkeepError as error:
            self._wizard.back()
            self._wizard.go_to(self._wizard.page.key, str(error))
            return
        while True:
            self._tell(gathering)
            line = self._line(f'Enter looks again and goes on when all are there, "{NEW}" makes a new code: ', None)
            if line == NEW:
                gathering.new_code()
            elif line == HELP:
                self._say(*self._wizard.page.help.splitlines())
            elif not gathering.missing:
                self._wizard.answer({})
                return

    def _tell(self, gathering: Gathering) -> None:
        joined = ", ".join(one.name for one in gathering.joined) or "nobody yet"
        self._say(f"First machine: {' or '.join(gathering.addresses)}", f"Code: {gathering.code or 'none'}")
        self._say(f"Joined: {joined}", f"Missing: {' and '.join(gathering.missing) or 'nobody'}", *gathering.events)

    def _summary(self) -> str | None:
        self._say(*(f"{label}: {text}" for label, text in self._session.summary()))
        if self._line('Type "yes" to set this machine up: ', None) != "yes":
            return None
        try:
            return self._session.carry_out(lambda words: self._say(words))
        except PairkeepError:
            # The wizard is where it can be mended, and tells there what happened.
            return None

    @contextlib.contextmanager
    def _unseen(self) -> Iterator[None]:
        """A terminal shows nothing meanwhile of what is typed, but the end of the line."""
        if not self._read.isatty():
            yield
            return
        before = termios.tcgetattr(self._read)
        local = before[3] & ~termios.ECHO | termios.ECHONL
        termios.tcsetattr(self._read, termios.TCSADRAIN, [*before[:3], local, *before[4:]])
        try:
            yield
        finally:
            termios.tcsetattr(self._read, termios.TCSADRAIN, before)

    def _line(self, question: str, until: float | None, *, whole: bool = False) -> str | None:
        """What was typed, ``whole`` with the blanks at its ends; None when the time is over.

        Raises GoBack, EOFError.
        """
        self._write.write(question)
        self._write.flush()
        if until is not None and not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
            self._say("")
            return None
        line = self._read.readline()
        if not line:
            raise EOFError
        if line.strip() == BACK:
            raise GoBack
        return line.rstrip("\r\n") if whole else line.strip()

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._write.write(f"{line}\n")
        self._write.flush()
