# SPDX-License-Identifier: GPL-2.0-or-later
"""The one base of every error that Pairkeep reports to a person."""

from __future__ import annotations


class PairkeepError(Exception):
    """Something a person has to know: one message, and what to do about it.

    ``exit_code`` is what the command line ends with: 2 for bad input that was refused before
    anything was changed, 1 for everything that failed while being done.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"


class InputError(PairkeepError):
    """What a person wrote or asked for cannot be accepted; nothing was changed."""

    exit_code = 2
