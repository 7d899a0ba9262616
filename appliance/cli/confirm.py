# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking a person before something that cannot be taken back."""

from __future__ import annotations

import argparse
import sys

from appliance.errors import InputError


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="ask nothing")


def confirm(args: argparse.Namespace, warning: str, word: str) -> None:
    """Raises InputError unless ``--yes`` was given or a person types ``word``."""
    if args.yes:
        return
    print(warning)
    if not sys.stdin.isatty():
        raise InputError("nobody is there to confirm it", hint="--yes, where a program knows what it does")
    if input(f"Type {word} to go on: ").strip() != word:
        raise InputError("not confirmed: nothing was done")
