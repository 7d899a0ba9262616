# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep lab repeat SCENARIO N`: the same scenario again and again, and its outages."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from appliance.cli.parsers import add_json, command, print_json
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.cli.parsers import Subparsers

SCENARIOS = {
    "power-cut": "cut the power of the active machine",
    "service-killed": "kill the database, which is restarted in place",
    "switchover": "move the group on purpose",
}


def add(actions: Subparsers) -> None:
    parser = command(actions, "repeat", "run a scenario N times; print the outage's least, median and most")
    parser.add_argument("scenario", metavar="SCENARIO", choices=SCENARIOS, help=", ".join(SCENARIOS))
    parser.add_argument("count", metavar="N", type=int)
    parser.add_argument("--rows", type=int, default=1000, metavar="R", help="rows before the event (1000)")
    parser.add_argument("--fenced", action="store_true", help="on machines that fence each other")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when an acknowledged row was lost or two machines were Primary, in any of the runs."""
    from appliance.build.progress import Progress
    from appliance.lab import bench, topology

    if args.count < 1:
        raise InputError(f"N: found {args.count}, expected at least 1")
    scenario = bench.SCENARIOS[args.scenario]
    progress = Progress(sys.stderr)
    machines = topology.TOPOLOGIES["fenced" if args.fenced else "pair"](progress)
    outages: list[float] = []
    acknowledged = 0
    for number in range(1, args.count + 1):
        with progress.phase(f"{args.scenario}, run {number} of {args.count}"):
            ended = scenario("repeat", progress, args.rows, machines)
        outages.append(ended.outage_s)
        acknowledged += ended.acknowledged
        progress.note(f"outage {ended.outage_s:.1f} s, {ended.acknowledged} rows acknowledged, none lost")
    result: dict[str, Any] = {"scenario": args.scenario, "outage_s": bench.summary(outages)}
    result |= {"rows_acknowledged": acknowledged, "rows_lost": 0, "each_outage_s": [round(s, 2) for s in outages]}
    name = f"repeat-{args.scenario}{'-fenced' if args.fenced else ''}"
    path = bench.save(name, result)
    if args.json:
        print_json(result)
    else:
        found = result["outage_s"]
        print(f"{args.scenario}: outage min {found['min']:.1f} s, median {found['median']:.1f} s, ", end="")
        print(f"max {found['max']:.1f} s over {args.count} runs; {acknowledged} rows acknowledged, 0 lost")
        print(f"also in {path}")
    return 0
