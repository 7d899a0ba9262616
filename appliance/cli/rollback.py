# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep rollback [N]`: an earlier cluster.toml comes into force again, as a version of its own."""

from __future__ import annotations

import argparse
from datetime import datetime

from appliance.cli import bus
from appliance.cli.apply import add_options, bring_into_force
from appliance.cli.parsers import Subparsers, command, print_json
from appliance.errors import InputError


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "rollback", "bring an earlier cluster.toml into force again")
    parser.add_argument("version", metavar="N", nargs="?", type=int, help="default: the one before this")
    parser.add_argument("--list", action="store_true", help="list the versions that this node has had")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from appliance.upkeep.versions import Versions

    versions = Versions()
    if args.list:
        had = versions.list()
        if args.json:
            print_json(had)
        for each in had if not args.json else ():
            at = f"{datetime.fromtimestamp(each['at']):%Y-%m-%d %H:%M}" if each["at"] else ""
            print(f"{each['version']:>4}  {at:<16}  {each['who']:<20}  {each['why']}".rstrip())
        return 0
    now = bus.call("Status")["config"]
    wanted = now - 1 if args.version is None else args.version
    if wanted < 0:
        raise InputError("there is no version before this one", hint="pairkeep rollback --list")
    return bring_into_force(versions.text_of(wanted), args, f"back to version {wanted}")
