# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep maintenance on|off`: hands off everything, in the whole cluster; it lasts over restarts."""

from __future__ import annotations

import argparse

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "maintenance", "leave all groups as they are, whatever happens to them")
    parser.add_argument("state", choices=("on", "off"))
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    bus.call("Maintenance", args.state == "on")
    if args.json:
        print_json({"maintenance": args.state == "on"})
    else:
        print(f"maintenance is {args.state}")
    return 0
