# SPDX-License-Identifier: GPL-2.0-or-later
"""TOML that anyone may have written: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import tomllib
from typing import Any


def loads(text: str) -> dict[str, Any]:
    """Raises tomllib.TOMLDecodeError, and nothing else."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        raise tomllib.TOMLDecodeError("a number has too many digits") from error
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("arrays or tables are nested too deeply") from error
