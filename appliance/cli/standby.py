# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep standby NODE` and `pairkeep online NODE`; it lasts over restarts."""

from __future__ import annotations

import argparse

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    for name, on, summary in (
        ("standby", True, "let a node run no groups until it is set online"),
        ("online", False, "let a node run groups again"),
    ):
        parser = command(subparsers, name, summary)
        parser.add_argument("node")
        add_json(parser)
        parser.set_defaults(run=run, on=on)


def run(args: argparse.Namespace) -> int:
    bus.call("Standby", args.node, args.on)
    if args.json:
        print_json({"node": args.node, "standby": args.on})
    else:
        print(f"{args.node} is now {'in standby' if args.on else 'online'}")
    return 0
