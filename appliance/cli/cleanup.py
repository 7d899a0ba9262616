# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep cleanup GROUP`: forget the failures that were counted, after a repair."""

from __future__ import annotations

import argparse

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "cleanup", "forget the failures counted for a group, after a repair")
    parser.add_argument("group")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    bus.call("Cleanup", args.group)
    if args.json:
        print_json({"group": args.group, "fails": 0})
    else:
        print(f"the failures of {args.group} are forgotten")
    return 0
