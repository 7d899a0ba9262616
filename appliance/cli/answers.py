# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep answers check FILE`: every mistake in an answers file, before a machine is started with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.cli.checked import tell
from appliance.cli.parsers import Subparsers, add_json, command


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "answers", "look at the answers for an unattended first boot")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = command(actions, "check", "name every mistake in an answers file, without the machine")
    check.add_argument("file", metavar="FILE", type=Path, help="the pairkeep.toml to check")
    add_json(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return tell(args, _checked)


def _checked(path: Path) -> str:
    """What kind of file it is, in words. Raises ConfigError, InputError."""
    from appliance.config.load import read
    from appliance.firstboot import realserver
    from appliance.firstboot.answers import parse_answers
    from appliance.firstboot.setup_file import is_setup, parse_setup

    text = read(path)
    if is_setup(text):
        return f"It answers the wizard's pages: {', '.join(sorted(parse_setup(text, str(path))))}."
    if realserver.is_for_realserver(text):
        return f"It sets up {realserver.parse_answers(text, str(path)).node} as a real server."
    answers = parse_answers(text, str(path))
    return f"It sets up {answers.node} of the cluster {answers.cluster.name}."
