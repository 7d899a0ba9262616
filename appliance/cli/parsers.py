# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command modules share: how they add themselves, and how they print and write files."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import InputError, PairkeepError
from appliance.files import replace_file

# Of the screen, in columns.
WIDTH = 80

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    # Generic for type checkers only.
    Subparsers = argparse._SubParsersAction


def command(subparsers: Subparsers, name: str, summary: str, **more: Any) -> argparse.ArgumentParser:
    """A subcommand whose ``--help`` begins with the summary that the list of commands shows."""
    return subparsers.add_parser(name, help=summary, description=f"{summary}.", **more)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, default=str)
    print()


def wrapped(lead: str, text: str, painted: str = "", painted_width: int = 0) -> Iterator[str]:
    """``lead``, a coloured word and ``text``; what does not fit goes on below, indented."""
    indent = len(lead) + painted_width
    lines = textwrap.wrap(text, WIDTH - indent) or [""]
    yield f"{lead}{painted}{lines[0]}"
    for more in lines[1:]:
        yield f"{' ' * indent}{more}"


def save(file: Path, data: bytes) -> None:
    """Write what only root may read into ``file``, wholly or not at all."""
    if file.is_dir():
        raise InputError(f"{file} is a folder, expected the name of a file")
    try:
        replace_file(file, data, 0o600)
    except OSError as error:
        raise PairkeepError(f"{file} could not be written: {error.strerror}") from error
