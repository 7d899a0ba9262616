# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep verify RESOURCE`: compare the two disks while the service runs, and repair what differs."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

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
        if args.json:
            print_json(_verify(args.drbd))
        return 0
    with bus.goes_on(f"the verify of {args.drbd}"):
        while (verify := _verify(args.drbd))["state"] in ("running", "repairing"):
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


def _verify(name: str) -> dict[str, Any]:
    """How far it is. Only the supervisor that began it knows that."""
    drbd = next((d for d in bus.patient_status()["drbd"] if d["name"] == name), None)
    if drbd is None or drbd["verify"] is None:
        raise PairkeepError(
            "the supervisor was restarted meanwhile: nobody waits for this comparison, nor repairs what it finds",
            hint=f"pairkeep verify {name}, once pairkeep status says Connected",
        )
    found: dict[str, Any] = drbd["verify"]
    return found
