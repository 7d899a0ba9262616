# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person sees while something takes its time: phases with elapsed seconds, and notes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn


class Progress:
    """Phases and notes on a stream (standard error, so that standard output stays for data).

    On a terminal the running phase has a spinner and a clock; elsewhere each finished phase is one
    plain line. ``seconds`` maps every finished phase to how long it took.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, quiet=quiet, soft_wrap=True)
        self._depth = 0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Show ``title`` for as long as the body runs, then how long it took; phases may nest."""
        started = time.monotonic()
        indent = "  " * self._depth
        self._depth += 1
        ended = "[red]failed[/]"
        try:
            if self._console.is_terminal and self._depth == 1:
                columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
                with Bar(*columns, console=self._console, transient=True) as bar:
                    bar.add_task(title, total=None)
                    yield
            else:
                yield
            ended = "[green]done[/]"
        finally:
            self._depth -= 1
            self.seconds[title] = time.monotonic() - started
            self._console.print(f"{indent}{title}: {ended}, {self.seconds[title]:.1f} s")

    def note(self, text: str) -> None:
        """One line that stays."""
        self._console.print("  " * self._depth + text, markup=False)


SILENT = Progress(quiet=True)
