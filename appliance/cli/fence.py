# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep fence test NODE` and `pairkeep confirm-fenced NODE`."""

from __future__ import annotations

import argparse

from appliance.cli import bus
from appliance.cli.confirm import add_yes, confirm
from appliance.cli.parsers import Subparsers, add_json, command, print_json

# A device may need its whole time-out, twice, and so may its second level.
FENCE_S = 300


def add(subparsers: Subparsers) -> None:
    fence = command(subparsers, "fence", "try the devices that switch nodes off")
    actions = fence.add_subparsers(metavar="ACTION", required=True)
    test = command(actions, "test", "switch a node off for real, and see that it is")
    test.set_defaults(run=run_test)
    word = command(
        subparsers, "confirm-fenced", "say that a silent node is off; its service may then start elsewhere"
    )
    word.set_defaults(run=run_confirm)
    for parser in (test, word):
        parser.add_argument("node")
        add_yes(parser)
        add_json(parser)


def run_test(args: argparse.Namespace) -> int:
    warning = f"{args.node} loses power now, as if its cable was pulled, and what runs there moves."
    confirm(args, warning, args.node)
    bus.call("Fence", args.node, timeout_s=FENCE_S)
    _done(args, f"{args.node} was switched off")
    return 0


def run_confirm(args: argparse.Namespace) -> int:
    confirm(
        args,
        f"If {args.node} still runs, two machines will write to two copies of the data, and one will be lost.\n"
        "Look at it: it has no power, or its plug is in your hand.",
        args.node,
    )
    bus.call("ConfirmFenced", args.node)
    _done(args, f"{args.node} counts as off")
    return 0


def _done(args: argparse.Namespace, text: str) -> None:
    if args.json:
        print_json({"node": args.node, "off": True})
    else:
        print(text)
