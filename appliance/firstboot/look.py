# SPDX-License-Identifier: GPL-2.0-or-later
"""How the wizard looks on each kind of terminal."""

from __future__ import annotations

import fcntl
import struct
import termios
from dataclasses import dataclass

# name, foreground and background in colour, and in one colour (urwid's display attributes).
PALETTE = (
    ("title", "white,bold", "dark blue", "standout"),
    ("body", "light gray", "black", ""),
    ("strong", "white,bold", "black", "bold"),
    ("label", "light cyan", "black", ""),
    ("field", "white", "dark gray", "underline"),
    ("focus", "black", "light gray", "standout"),
    ("fault", "light red", "black", "bold"),
    ("notice", "yellow", "black", "bold"),
    ("hint", "light gray", "black", ""),
    ("keys", "black", "light gray", "standout"),
)
# Ours and people's words have few characters that an old terminal lacks.
_PLAIN = str.maketrans({"…": "...", "·": "-", "–": "-", "—": "-", "“": '"', "”": '"', "’": "'"})  # noqa: RUF001
SIZE = (80, 24)


@dataclass(frozen=True)
class Look:
    """``colors``: 1 or 16. ``ascii``: nothing but ASCII is drawn."""

    colors: int
    ascii: bool

    def text(self, words: str) -> str:
        if not self.ascii:
            return words
        return words.translate(_PLAIN).encode("ascii", "replace").decode()


def look_of(term: str) -> Look:
    """Linux' own console and xterms have colours and UTF-8; of anything else neither is asked."""
    rich = term == "linux" or term.startswith(("xterm", "screen", "tmux", "rxvt"))
    return Look(16, ascii=False) if rich else Look(1, ascii=True)


def dumb(term: str) -> bool:
    """Whether the cursor cannot be moved there, so that only line after line can be asked."""
    return term in ("", "dumb", "unknown", "network")


def give_size(descriptor: int) -> None:
    """A serial line does not know how large the terminal at its other end is; nearly all show this much."""
    rows, columns, *_ = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, b"\0" * 8))
    if rows == 0 or columns == 0:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
