# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that live through clusters side by side."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.pool import Pool


def workers(jobs: int) -> Pool:
    """``jobs`` processes, which end without a word when who uses them has enough, or is interrupted."""
    return multiprocessing.get_context("fork").Pool(jobs, initializer=_end_quietly)


def _end_quietly() -> None:
    # The pool ends them by SIGTERM, which is an interrupt to the command that they were forked from. A terminal's
    # Ctrl-C reaches all of them; that one is to tell of it, once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
