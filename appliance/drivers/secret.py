# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords and other secrets, each in a file that only root may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from appliance.drivers.base import DriverError


def read(path: Path) -> str:
    """What stands in ``path``, without the end of its line. What is wrong with it is told without a word of it.

    Raises DriverError, also for a file that others may read.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read()
    except OSError as error:
        raise DriverError(f"{path}: {error.strerror}") from error
    if mode & 0o077:
        raise DriverError(
            f"{path}: found mode {mode:04o}, expected 0600: a password is nobody else's business",
            hint=f"chmod 0600 {path}",
        )
    text = data.decode(errors="replace").rstrip("\r\n")
    if "\n" in text:
        # To a fence agent each line is an order of its own.
        raise DriverError(f"{path}: found several lines, expected one")
    return text
