# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep recover …`: what only a person can decide, after the cluster has refused to guess."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from appliance.cli import bus
from appliance.cli.confirm import add_yes, confirm
from appliance.cli.parsers import Subparsers, add_json, command, print_json
from appliance.errors import InputError

# Attaching reads the whole metadata, and makes it on a blank disk.
ATTACH_S = 120


def add(subparsers: Subparsers) -> None:
    recover = command(subparsers, "recover", "decide what the cluster must not: whose data counts")
    actions = recover.add_subparsers(metavar="WHAT", required=True)
    force = command(actions, "force", "let one node's copy count as the newest, whatever the other one holds")
    force.add_argument("drbd", metavar="RESOURCE")
    force.add_argument("node", metavar="NODE", help="whose copy")
    force.set_defaults(run=run_force)
    split = command(actions, "split-brain", "throw away what one node alone has changed, and copy from the other")
    split.add_argument("drbd", metavar="RESOURCE")
    split.add_argument("--discard", metavar="NODE", help="whose changes; without it only shows both sides")
    split.set_defaults(run=run_split)
    disk = command(actions, "disk", "take up this node's failed disk again, or a blank one in its place")
    disk.add_argument("drbd", metavar="RESOURCE")
    disk.set_defaults(run=run_disk)
    for parser in (force, split):
        add_yes(parser)
    for parser in (force, split, disk):
        add_json(parser)


def run_force(args: argparse.Namespace) -> int:
    _show(args, _sides(args.drbd))
    warning = (
        f"Writes that were acknowledged and are not on {args.node} will be lost for good. If the other node's\n"
        "disk can still be had, start that node instead and wait."
    )
    confirm(args, warning, args.node)
    bus.call("RecoverForce", args.drbd, args.node)
    _done(args, f"the copy of {args.drbd} on {args.node} counts as the newest from now on")
    return 0


def run_split(args: argparse.Namespace) -> int:
    sides = _sides(args.drbd)
    if args.json and args.discard is None:
        print_json(sides)
        return 0
    _show(args, sides)
    if args.discard is None:
        return 0
    if args.discard not in sides:
        raise InputError(f"{args.discard} has no copy of {args.drbd}; there are {', '.join(sides)}")
    kib = sides[args.discard]["out_of_sync_kib"]
    confirm(args, f"What {args.discard} alone has changed, up to {kib} KiB, will be thrown away.", args.discard)
    bus.call("RecoverSplitBrain", args.drbd, args.discard)
    _done(args, f"the changes of {args.discard} are thrown away; pairkeep status shows the resync")
    return 0


def run_disk(args: argparse.Namespace) -> int:
    bus.call("RecoverDisk", args.drbd, timeout_s=ATTACH_S)
    _done(args, f"the disk of {args.drbd} is attached; pairkeep status shows the resync")
    return 0


def _sides(drbd: str) -> dict[str, Any]:
    """What each node says of its copy, with the record's word on it."""
    found = next((d for d in bus.call("Status")["drbd"] if d["name"] == drbd), None)
    if found is None:
        raise InputError(f"there is no DRBD resource {drbd!r}")
    return {name: {**side, "on_record": name in found["current"]} for name, side in found["nodes"].items()}


def _show(args: argparse.Namespace, sides: dict[str, Any]) -> None:
    """For whoever is to confirm it; programs read another thing."""
    for name, side in sides.items():
        record = "newest on record" if side["on_record"] else "not the newest on record"
        print(
            f"  {name:<12} {side['role']:<13}{side['disk']:<13}{side['connection']}\n"
            f"               {side['out_of_sync_kib']} KiB changed alone, {record}",
            file=sys.stderr if args.json else sys.stdout,
        )


def _done(args: argparse.Namespace, text: str) -> None:
    if args.json:
        print_json({"done": text})
    else:
        print(text)
