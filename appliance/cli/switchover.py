# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep switchover GROUP [NODE]`: move a group on purpose, and see it arrive."""

from __future__ import annotations

import argparse
import time

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json
from appliance.errors import PairkeepError

POLL_S = 0.5


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "switchover", "move a group to another node")
    parser.add_argument("group")
    parser.add_argument("node", nargs="?", default="", help="where to (default: the best other node)")
    parser.add_argument("--timeout", type=float, default=180, metavar="S", help="seconds to wait (180)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    node = bus.call("Switchover", args.group, args.node)
    with bus.goes_on("the switchover"):
        arrived = _arrived(args, node, began)
    if not arrived:
        raise PairkeepError(
            f"{args.group} did not reach {node} within {args.timeout:.0f} s", hint=f"pairkeep why {args.group}"
        )
    seconds = round(time.monotonic() - began, 1)
    if args.json:
        print_json({"group": args.group, "node": node, "seconds": seconds})
    else:
        print(f"{args.group} runs on {node} ({seconds} s)")
    return 0


def _arrived(args: argparse.Namespace, node: str, began: float) -> bool:
    """Wait until the group runs on ``node``, or the time is over."""
    said, ordered = "", False
    while time.monotonic() - began < args.timeout:
        try:
            status = bus.call("Status")
        except bus.NoAnswer:
            time.sleep(POLL_S)
            continue  # it is being restarted, and the order is on record
        group = next((g for g in status["groups"] if g["name"] == args.group), None)
        if group is None:
            raise PairkeepError(f"there is no group {args.group} any more: cluster.toml was changed meanwhile")
        now = f"{group['state']} on {group['node']}" if group["node"] else group["state"]
        if group["node"] == node and group["state"] == "running":
            return True
        # The order takes a moment to reach all nodes; it is over once it was there and is no more. What a
        # supervisor says that has met nobody yet counts for nothing.
        ordered = ordered or group["ordered"] == node
        if status["settled"] and ordered and group["ordered"] != node and group["target"] != node:
            raise PairkeepError(f"the switchover was given up: {group['reason']}")
        if now != said and not args.json:
            print(f"{args.group}: {now}", flush=True)
            said = now
        time.sleep(POLL_S)
    return False
