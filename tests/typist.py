# SPDX-License-Identifier: GPL-2.0-or-later
"""A person at a terminal: sees an 80 by 24 screen, and types."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

import pyte

from appliance.errors import PairkeepError

ENTER, TAB, RIGHT, BACKSPACE = b"\r", b"\t", b"\x1b[C", b"\x7f"
# An emulated machine takes its time over every screen.
SCREEN_S = 120.0


class Line(Protocol):
    """What a terminal is plugged into: a socket, or a pseudo terminal."""

    def fileno(self) -> int: ...
    def recv(self, most: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def close(self) -> None: ...


class _Screen(pyte.Screen):
    """A character that an emulated serial line doubles must not end the test: the next drawing mends it."""

    def cursor_position(self, line: int | None = None, column: int | None = None, *_more: int) -> None:
        super().cursor_position(line, column)


class Typist:
    """Answers what the screen asks; as a context manager it leaves in the end.

    ``pause_s``: how long what is drawn of a page may take to come; each key waits for a 25th of it.
    """

    def __init__(self, name: str, line: Line, pause_s: float = 0.5) -> None:
        self.name = name
        self._pause_s = pause_s
        self._line = line
        self._screen = _Screen(80, 24)
        self._stream = pyte.ByteStream(self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.close()

    @property
    def screen(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def look(self, for_s: float = 0.1) -> None:
        """Take in what the machine draws."""
        until = time.monotonic() + for_s
        while (left := until - time.monotonic()) > 0:
            if select.select([self._line], [], [], left)[0]:
                drawn = self._line.recv(65536)
                if not drawn:
                    raise PairkeepError(f"{self.name} is off")
                self._stream.feed(drawn)

    def pause(self) -> None:
        self.look(self._pause_s)

    def wait_for(self, pattern: str, timeout_s: float = SCREEN_S) -> re.Match[str]:
        """Until the screen shows it; raises PairkeepError with the screen."""
        until = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.screen)) is None:
            if time.monotonic() > until:
                raise PairkeepError(f"{self.name} does not show {pattern!r} but:\n{self.screen}")
            self.look()
        return found

    def type(self, *keys: bytes | str) -> None:
        """As fast as a quick person: a key a while."""
        for key in keys:
            for one in [key] if isinstance(key, bytes) else [letter.encode() for letter in key]:
                self._line.sendall(one)
                self.look(self._pause_s / 25)

    def answer(self, title: str, *fields: bytes | str | tuple[bytes | str, ...]) -> None:
        """Wait for the page ``title``; fill in its fields, each ended by Enter; then press its first button."""
        self.wait_for(rf"Step \d+ of \d+: {title}")
        self.pause()
        for field in fields:
            self.type(*(field if isinstance(field, tuple) else (field,)), ENTER)
        self.type(ENTER)

    def sit_down(self) -> None:
        """From the greeting to the first page."""
        self.wait_for("Press Enter to set up here", timeout_s=600)
        self.type(ENTER)
        self.wait_for("Step 1 of", timeout_s=300)


PASSWORD = "a horse, a boat"  # noqa: S105 (of a machine that lives for minutes)


def walk(typist: Typist, name: str, addresses: Mapping[str, str]) -> None:
    """The pages that every database machine is asked, up to the cluster's."""
    typist.answer("Keyboard and language", "", "")
    typist.answer("What this machine is to be", "")
    typist.answer("Host name", name)
    for card, address in addresses.items():
        typist.answer(f"Network card {card}", "", "", address, "", "", "")
    typist.answer("Keep these network settings", "")
    typist.answer("Data disk", "")
    typist.answer("Time", "", "")
    typist.wait_for("Administrator")
    typist.pause()
    # Enter would begin another line of the keys.
    typist.type(PASSWORD, ENTER, PASSWORD, ENTER, TAB, ENTER)
