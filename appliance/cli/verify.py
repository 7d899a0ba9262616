# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep verify RESOURCE`: compare the two disks while the service runs, and repair what differs."""

from __future__ import annotations

import argparse
import sys
import time

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json
from appliance.errors import PairkeepError

POLL_S = 1.0


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "verify", "compare both disks of a DRBD resource and repair what differs")
    parser.add_argument("drbd", metavar="RESOURCE", help="name of the DRBD resource")
    parser.add_argument("--no-wait", action="store_true", help="start it and return; see pairkeep status")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    bus.call("Verify", args.drbd)
    if args.no_wait:
        return 0
    while True:
        resources = bus.call("Status")["drbd"]
        verify = next(d for d in resources if d["name"] == args.drbd)["verify"]
        if verify["state"] not in ("running", "repairing"):
            break
        if not args.json:
            print(f"\r{verify['text']:<70}", end="", flush=True, file=sys.stderr)
        time.sleep(POLL_S)
    if args.json:
        print_json(verify)
    else:
        print(f"\r{verify['text']:<70}")
    if verify["state"] == "failed":
        raise PairkeepError(f"the verify of {args.drbd} failed")
    return 0
