# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep why GROUP`: why it runs where it does, or why it does not run."""

from __future__ import annotations

import argparse

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json, wrapped


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "why", "say why a group runs where it does, or does not run")
    parser.add_argument("group")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    answer = bus.call("Why", args.group)
    if args.json:
        print_json(answer)
    else:
        lines = list(wrapped(f"{answer['group']}: ", answer["reason"]))
        for node, reason in answer["nodes"].items():
            if node != answer["node"]:
                lines += wrapped(f"  not on {node}: ", reason)
        print("\n".join(lines))
    return 0
