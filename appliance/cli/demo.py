# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep demo`: see a pair survive a power cut."""

from __future__ import annotations

import argparse
import sys

from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "demo", "boot a pair, cut the power of one machine, and count what was lost")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from appliance.build.folders import build_folder
    from appliance.build.progress import Progress
    from appliance.lab import demo

    result = demo.run(Progress(sys.stderr))
    if args.json:
        print_json(result)
        return 0
    outage = result["outage_s"]
    print()
    print(f"  rows acknowledged   {result['rows_acknowledged']}")
    print(f"  rows lost           {result['rows_lost']}")
    print(f"  outage              {outage['total']:.1f} s, under {result['accelerator']}:")
    for part in (
        "detection",
        "safety_wait",
        "promote",
        "mount",
        "service_start",
        "address",
        "between_steps",
        "client",
    ):
        print(f"    {part.replace('_', ' '):<18}{outage[part]:6.2f} s")
    print(f"  details and picture {build_folder() / 'demo'}")
    return 0
