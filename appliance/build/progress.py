# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person sees while something takes its time: phases with elapsed seconds, and notes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn


class Progress:
    """Phases and notes on a stream (standard error, so that standard output stays for data).

    On a terminal every running phase has a spinner and a clock; elsewhere each finished phase is one
    plain line. Phases may nest, and may run in several threads. ``seconds`` maps every finished phase
    to how long it took.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, quiet=quiet, soft_wrap=True)
        self._lock = threading.Lock()
        self._local = threading.local()
        self._bars: Bars | None = None
        self._running = 0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Show ``title`` for as long as the body runs, then how long it took."""
        started = time.monotonic()
        indent = self._indent()
        self._local.depth = self._depth() + 1
        bars = self._open_bars()
        task = bars.add_task(indent + title, total=None) if bars else None
        ended = "[red]failed[/]"
        try:
            yield
            ended = "[green]done[/]"
        finally:
            self._local.depth -= 1
            self.seconds[title] = time.monotonic() - started
            if bars and task is not None:
                bars.remove_task(task)
            self._console.print(f"{indent}{title}: {ended}, {self.seconds[title]:.1f} s")
            self._close_bars()

    def note(self, text: str) -> None:
        """One line that stays."""
        self._console.print(self._indent() + text, markup=False)

    def _depth(self) -> int:
        return getattr(self._local, "depth", 0)

    def _indent(self) -> str:
        return "  " * self._depth()

    def _open_bars(self) -> Bars | None:
        """The one live display, which rich allows only once per console; None off a terminal."""
        with self._lock:
            self._running += 1
            if self._bars is None and self._console.is_terminal and not self._console.quiet:
                columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
                self._bars = Bars(*columns, console=self._console, transient=True)
                self._bars.start()
            return self._bars

    def _close_bars(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running == 0 and self._bars is not None:
                self._bars.stop()
                self._bars = None


SILENT = Progress(quiet=True)
