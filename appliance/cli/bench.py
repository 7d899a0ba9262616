# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep bench NAME`: figures that anyone can measure again."""

from __future__ import annotations

import argparse
import sys

from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "bench", "measure, and leave the figures in build/bench")
    names = parser.add_subparsers(metavar="NAME", required=True)
    for name, summary in (
        ("failover", "takeover after a power cut, against a hand-written script"),
        ("planned", "outage of a killed service and of a planned switchover"),
        ("idle", "what the supervisor takes while nothing happens"),
        ("build", "image builds: cold, unchanged, after an edit"),
        ("detection", "how soon a lost machine is noticed, by corosync's token"),
        ("alarms", "how often a busy machine is taken for lost, by corosync's token"),
        ("image", "image builds against mkosi's and mmdebstrap's: time and size"),
    ):
        one = command(names, name, summary)
        if name in ("failover", "planned"):
            one.add_argument("--runs", type=int, default=10, metavar="N", help="how often (10)")
        if name in ("detection", "alarms"):
            one.add_argument(
                "--token", type=int, nargs="+", default=[1000, 400], metavar="MS", help="tokens (1000 and 400)"
            )
        if name == "detection":
            one.add_argument("--runs", type=int, default=20, metavar="N", help="how often each (20)")
        if name == "alarms":
            one.add_argument("--minutes", type=float, default=30, metavar="M", help="how long each (30)")
        if name in ("build", "image"):
            default = "database" if name == "build" else "witness"
            one.add_argument("--name", default=default, metavar="NAME", help=f"which image ({default})")
        if name == "idle":
            one.add_argument("--seconds", type=float, default=60, metavar="S", help="how long (60)")
        add_json(one)
        one.set_defaults(run=run, bench=name)


def run(args: argparse.Namespace) -> int:
    from appliance.build import bench as build_bench
    from appliance.build.progress import Progress
    from appliance.lab import bench, detection

    progress = Progress(sys.stderr)
    match args.bench:
        case "failover":
            figures = bench.failover(args.runs, progress)
        case "planned":
            figures = bench.planned(args.runs, progress)
        case "idle":
            figures = bench.idle(args.seconds, progress)
        case "detection":
            figures = detection.detection(args.token, args.runs, progress)
        case "alarms":
            figures = detection.alarms(args.token, args.minutes, progress)
        case "image":
            figures = build_bench.compare(args.name, progress)
        case _:
            figures = build_bench.build(args.name, progress)
    path = bench.save(args.bench, figures)
    print_json(figures)
    print(f"also in {path}", file=sys.stderr)
    return 0
