# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep real drain|enable SERVER`; it lasts over restarts, on all directors."""

from __future__ import annotations

import argparse

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "real", "take real servers out of virtual services, and put them back")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, on, summary in (
        ("drain", True, "give a real server no new connections; those that it has go on"),
        ("enable", False, "give a real server new connections again"),
    ):
        action = command(actions, name, summary)
        action.add_argument("server", metavar="SERVER", help="its name or its address")
        action.add_argument("--virtual", metavar="NAME", default="", help="of this virtual service only (of all)")
        add_json(action)
        action.set_defaults(run=run, on=on)


def run(args: argparse.Namespace) -> int:
    servers = bus.call("Drain", args.virtual, args.server, args.on)
    if args.json:
        print_json({"servers": servers, "drained": args.on})
    else:
        what = "gets no new connections" if args.on else "gets new connections again"
        for server in servers:
            print(f"{server} {what}")
    return 0
