# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep sim`: run the decision core and the supervisor's loop in simulated clusters, and judge them."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from appliance.cli.parsers import add_json, command, print_json
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.cli.parsers import Subparsers
    from appliance.sim.run import Verdict


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "sim", "try the decisions in simulated clusters with random faults")
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first one (default: %(default)s)")
    parser.add_argument(
        "--story", action="store_true", help="tell every run's whole story, not only the end of failed ones"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from appliance.sim.run import run_one

    if args.seeds < 1 or args.seed < 0:
        raise InputError("--seeds must be at least 1, and --seed not negative")
    began, verdicts = time.monotonic(), []
    for number, seed in enumerate(range(args.seed, args.seed + args.seeds), start=1):
        verdict = run_one(seed, whole_story=args.story)
        verdicts.append(verdict)
        failed = sum(v.violation is not None for v in verdicts)
        if sys.stderr.isatty():
            print(f"\r{number}/{args.seeds} seeds, {failed} failed ", end="", file=sys.stderr, flush=True)
        if not args.json and (args.story or verdict.violation is not None):
            _tell(verdict)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    failures = [v for v in verdicts if v.violation is not None]
    summary = {
        "seeds": len(verdicts),
        "failed": [v.seed for v in failures],
        "simulated_s": round(sum(v.seconds for v in verdicts)),
        "acknowledged_writes": sum(v.acknowledged for v in verdicts),
        "took_s": round(time.monotonic() - began, 1),
    }
    if args.json:
        print_json(summary)
    else:
        print(
            f"{summary['seeds']} clusters, {summary['simulated_s']} s of their time in {summary['took_s']} s, "
            f"{summary['acknowledged_writes']} acknowledged writes: {len(failures)} failed"
        )
    return 1 if failures else 0


def _tell(verdict: Verdict) -> None:
    print(f"\nseed {verdict.seed}: {verdict.violation or 'all invariants held'}")
    print(verdict.story)
    if verdict.violation is not None:
        print(f"again: pairkeep sim --seed {verdict.seed} --seeds 1 --story")
