# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep answers check FILE`: every mistake in an answers file, before a machine is started with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "answers", "look at the answers for an unattended first boot")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = command(actions, "check", "name every mistake in an answers file, without the machine")
    check.add_argument("file", metavar="FILE", type=Path, help="the pairkeep.toml to check")
    add_json(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 2 when there are mistakes."""
    from appliance.config.load import ConfigError

    try:
        kind = _checked(args.file)
    except ConfigError as error:
        if not args.json:
            raise
        print_json({"file": str(args.file), "valid": False, "problems": error.problems})
        return error.exit_code
    if args.json:
        print_json({"file": str(args.file), "valid": True, "problems": []})
    else:
        print(f"{args.file}: no mistakes. {kind}")
    return 0


def _checked(path: Path) -> str:
    """What kind of file it is, in words. Raises ConfigError, InputError."""
    from appliance.errors import InputError
    from appliance.firstboot.answers import parse_answers
    from appliance.firstboot.setup_file import is_setup, parse_setup

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found bytes that are not UTF-8 at offset {error.start}") from error
    if is_setup(text):
        return f"It answers the wizard's pages: {', '.join(sorted(parse_setup(text, str(path))))}."
    answers = parse_answers(text, str(path))
    return f"It sets up {answers.node} of the cluster {answers.cluster.name}."
