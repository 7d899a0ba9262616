# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command modules share: how they add themselves, and how they print."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

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
