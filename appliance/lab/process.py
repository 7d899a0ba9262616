# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes named so that a later one with the same number is never mistaken for them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Process:
    """A process: its number, when it started (in clock ticks since boot) and in which boot of the host."""

    pid: int
    started: int
    boot_id: str

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The process that has the number ``pid`` now; None without one, or when it is a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, started = parse_stat(stat)
        return None if state in ("Z", "X") else cls(pid, started, boot_id())

    def alive(self) -> bool:
        return Process.find(self.pid) == self

    def kill(self, *, wait_s: float = 5.0) -> None:
        """End the process with SIGKILL, if it still is this one, and wait until it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The handle is of one process for good; only now is it worth asking whether it is ours.
            if self.alive():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], wait_s)
        finally:
            os.close(handle)


def boot_id() -> str:
    """A name for this boot of the host."""
    return _BOOT_ID.read_text().strip()


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time of a ``/proc/PID/stat`` (proc(5): fields 3 and 22).

    The second field is the program's name in brackets and may hold anything, brackets included.
    """
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])
