# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking a person before something that cannot be taken back."""

from __future__ import annotations

import argparse
import sys

from appliance.errors import InputError


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="ask nothing")


def confirm(args: argparse.Namespace, warning: str, word: str) -> None:
    """Raises InputError unless ``--yes`` was given or a person types ``word``. Standard output is the command's."""
    if args.yes:
        return
    print(warning, file=sys.stderr)
    if not sys.stdin.isatty():
        raise InputError("nobody is there to confirm it", hint="--yes, where a program knows what it does")
    print(f"Type {word} to go on: ", end="", file=sys.stderr, flush=True)
    try:
        typed = input()
    except EOFError:
        print(file=sys.stderr)
        typed = ""
    if typed.strip() != word:
        raise InputError("not confirmed: nothing was done")
