# SPDX-License-Identifier: GPL-2.0-or-later
"""Every page of the wizard as a terminal shows it; `python -m tests.wizard_screens` writes them anew.

What urwid sends goes through a real pseudo terminal to pyte, which understands it as a terminal does.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import select
import struct
import termios
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest import mock

import pyte
import urwid

from appliance.errors import PairkeepError
from appliance.firstboot.forming import Gathering
from appliance.firstboot.install import Report
from appliance.firstboot.look import SIZE, look_of
from appliance.firstboot.session import FirstBoot
from appliance.firstboot.tui import Tui
from appliance.joining import Candidate
from tests.wizard_machine import GOOD, ToyMachine

FOLDER = Path(__file__).parent / "wizard"
TERMS = ("linux", "vt220", "xterm")
# What the README shows of it.
SHOWN = Path(__file__).parents[1] / "docs/wizard"
DOCUMENTED = ("04-link-enp0s2-fault", "08-disk-fault", "14-gather", "15-summary")


class Terminal:
    """A terminal of 80 by 24 with a wizard on it, without the time that passes in a real one."""

    def __init__(self, term: str, session: Any) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        self._in = os.fdopen(os.dup(slave), "r")
        self._out = os.fdopen(slave, "w")
        with mock.patch.dict(os.environ, {"TERM": term}):
            self._raw = urwid.display.raw.Screen(input=self._in, output=self._out)
        self.tui = Tui(session, look_of(term), self._raw)
        self._screen = pyte.Screen(*SIZE)
        self._stream = pyte.ByteStream(self._screen)
        self._raw.start()
        self.tui.show()
        self.draw()

    def draw(self) -> None:
        self.tui.loop.draw_screen()
        self._out.flush()
        while select.select([self.master], [], [], 0)[0]:
            self._stream.feed(os.read(self.master, 65536))

    def press(self, *keys: str) -> None:
        """Keys by urwid's names, letters by themselves."""
        for key in keys:
            self.tui.loop.process_input([key])
            self.tui.show_hint()
        self.draw()

    def type(self, text: str) -> None:
        self.press(*text)

    def close(self) -> None:
        self._raw.stop()
        for one in (self._in, self._out):
            one.close()
        os.close(self.master)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    def picture(self) -> str:
        """The text, and below it the runs of cells that look other than plain: row, columns, how."""
        drawn = [f"|{line}|" for line in self._screen.display]
        return "\n".join([*drawn, "", *self._looks()]) + "\n"

    def styled(self, text: Any) -> Any:
        """The screen as a ``rich.text.Text``."""
        whole = text()
        for number in range(SIZE[1]):
            row = [self._screen.buffer[number][column] for column in range(SIZE[0])]
            for style, cells in groupby(row, _rich):
                whole.append("".join(cell.data for cell in cells), style=style)
            whole.append("\n")
        return whole

    def _looks(self) -> Iterator[str]:
        for number in range(SIZE[1]):
            runs: list[tuple[int, int, str]] = []
            for column in range(SIZE[0]):
                how = _how(self._screen.buffer[number][column])
                if runs and runs[-1][2] == how:
                    runs[-1] = (runs[-1][0], column, how)
                else:
                    runs.append((column, column, how))
            words = [f"{first}-{last} {how}" for first, last, how in runs if how]
            if words:
                yield f"{number:2}: {'; '.join(words)}"


def _how(cell: Any) -> str:
    words = [name for name in ("bold", "underscore", "reverse", "blink") if getattr(cell, name)]
    if cell.fg != "default" or cell.bg != "default":
        words.append(f"{cell.fg} on {cell.bg}")
    return " ".join(words)


def _rich(cell: Any) -> str:
    """pyte's words for colours are those of an old terminal's manual."""

    def named(color: str) -> str:
        word = color.replace("brown", "yellow")
        return f"bright_{word.removeprefix('bright')}" if word.startswith("bright") else word

    words = ["bold"] if cell.bold else []
    words += [named(cell.fg)] if cell.fg != "default" else []
    words += [f"on {named(cell.bg)}"] if cell.bg != "default" else []
    return " ".join(words)


JOINED = (
    Candidate("beta", "worker", "1.2.3", 0.0, ("10.9.1.12/24",), None, None, {}),
    Candidate("witness", "witness", "1.2.3", 0.0, ("10.9.1.13/24",), None, None, {}),
)


class Gathered(Gathering):
    """One whose code and events are always the same, behind which is no `Host`; who joins is told from outside."""

    code: str = "K7QX-3M9T"
    addresses: tuple[str, ...] = ("10.9.1.11", "fd00:9:2::11")
    joined: tuple[Candidate, ...] = ()
    events: tuple[str, ...] = ("refused: a wrong code; 2 tries are left",)

    def __init__(self) -> None:
        pass

    @property
    def missing(self) -> tuple[str, ...]:
        return () if self.joined else ("the second database machine", "the witness")

    def new_code(self) -> None:
        self.code = "W4HN-8PZ2"

    def close(self) -> None:
        self.joined = ()


class Sitting(FirstBoot):
    """The real session, whose other machines are not there and which sets nothing up."""

    def __init__(self, path: Path, machine: ToyMachine | None = None) -> None:
        super().__init__(machine or ToyMachine(), path)
        self.fails: str = ""

    def gather(self, _changed: Callable[[], None], /) -> Gathering:
        self.gathering = self.gathering or Gathered()
        return self.gathering

    def all_join(self) -> None:
        """The other machines do, to the one that waits for them."""
        assert isinstance(self.gathering, Gathered)
        self.gathering.joined = JOINED

    def carry_out(self, report: Report) -> str:
        report("handing the configuration to the others")
        report("step 1 of 13: naming the data disk")
        if self.fails:
            self.wizard.go_to("gather", self.fails)
            raise PairkeepError(self.fails)
        report("step 13 of 13: starting the supervisor")
        return "alpha is set up. To look at the cluster: pairkeep status"


def answer(terminal: Terminal, session: Sitting, values: dict[str, str]) -> None:
    """Answer the page by its values; that keys do so is tested elsewhere."""
    faults = session.wizard.answer(values)
    terminal.tui.show(faults, values if faults else None)
    terminal.draw()


def pictures(term: str, path: Path) -> Iterator[tuple[str, Terminal]]:
    """(name, the terminal as it then is) for every page, a fault on some, help, progress and result."""
    session = Sitting(path)
    terminal = Terminal(term, session)
    try:
        number = 0
        while session.wizard.page.key != "gather":
            key, number = session.wizard.page.key, number + 1
            name = f"{number:02}-{key.replace('.', '-')}"
            yield name, terminal
            if key in FAULTS:
                answer(terminal, session, FAULTS[key])
                yield f"{name}-fault", terminal
            if key == "fencing":
                terminal.press("f1")
                yield f"{name}-help", terminal
                terminal.press("esc")
            answer(terminal, session, GOOD[key])
        yield "14-gather", terminal
        session.all_join()
        terminal.tui.show()
        terminal.draw()
        yield "14-gather-joined", terminal
        answer(terminal, session, {})
        yield "15-summary", terminal
        terminal.tui.carry_out_now()
        terminal.draw()
        yield "16-result", terminal
    finally:
        terminal.close()


FAULTS = {
    "name": {"name": "Alpha_1"},
    "link.enp0s2": {"address4": "10.9.1.0/24", "gateway": "10.8.0.1"},
    "disk": {"disk": "/dev/disk/by-id/ata-WDC_WD40_WX12", "wipe": "yes"},
    "admin": {"password": "short", "again": "", "keys": "ssh-dss AAAA"},
    "service": {"address": "10.8.1.100/24", "database": "mysql", "user": "shop", "password": "it's"},
}


def main() -> None:
    """Write the golden pictures anew, and those of the documentation."""
    import tempfile

    from rich.console import Console
    from rich.text import Text

    for old in FOLDER.glob("*/*.txt"):
        old.unlink()
    SHOWN.mkdir(parents=True, exist_ok=True)
    for term in TERMS:
        (FOLDER / term).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            for name, terminal in pictures(term, Path(folder) / "setup.json"):
                (FOLDER / term / f"{name}.txt").write_text(terminal.picture())
                if term == "xterm" and name in DOCUMENTED:
                    console = Console(record=True, width=SIZE[0], file=io.StringIO())
                    console.print(terminal.styled(Text), end="")
                    drawing = console.export_svg(title="Pairkeep", unique_id=name)
                    # Nobody who looks at a picture is to fetch fonts from somewhere.
                    drawing = re.sub(r"@font-face \{.*?\}\n", "", drawing, flags=re.DOTALL)
                    (SHOWN / f"{name}.svg").write_text(drawing)


if __name__ == "__main__":
    main()
