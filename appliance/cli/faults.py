# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep lab faults`: break a pair in every way of the table, and see what comes of it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.parsers import command
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.cli.parsers import Subparsers

MOMENTS = ("idle", "writes", "resync", "switchover")


def add(actions: Subparsers) -> None:
    parser = command(actions, "faults", "break a pair in every way of a table, and judge what comes of it")
    parser.add_argument("--list", action="store_true", help="show the table, and run nothing")
    parser.add_argument(
        "--only", metavar="PATTERN", nargs="+", default=[""], help="cases whose FAULT@MOMENT contains one of these"
    )
    parser.add_argument(
        "--moments", metavar="M", nargs="+", choices=MOMENTS, default=MOMENTS, help=", ".join(MOMENTS)
    )
    parser.add_argument("--repeat", metavar="N", type=int, default=1, help="run each case so often (1)")
    parser.add_argument(
        "--patience", metavar="X", type=float, default=1.0, help="on a busy machine: all times are X times longer"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on where an earlier run on the same cluster was interrupted"
    )
    parser.add_argument("--fenced", action="store_true", help="on a pair with BMCs as fence devices; more cases")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when a case did not go as it should, 2 when none was chosen."""
    from appliance.build.progress import Progress
    from appliance.lab import fault_results, suite
    from appliance.lab.faults import cases
    from appliance.lab.scenes import Moment

    chosen = cases(tuple(args.only), tuple(map(Moment, args.moments)), fenced=args.fenced or args.list)
    if not chosen:
        raise InputError("no case is of that kind", hint="pairkeep lab faults --list")
    if args.repeat < 1:
        raise InputError(f"--repeat: found {args.repeat}, expected at least 1")
    if args.patience < 1:
        raise InputError(f"--patience: found {args.patience:g}, expected at least 1")
    if args.list:
        for case in chosen:
            print(f"{case.name:<36} {case.expected:<20} {case.fault.summary}")
        return 0
    how = suite.How(repeat=args.repeat, fenced=args.fenced, patience=args.patience, resume=args.resume)
    results = suite.run(chosen, how, Progress(sys.stderr))
    if args.json:
        args.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    print(fault_results.table(results), end="")
    wrong = sum(bool(result.wrong) for result in results)
    print(f"\n{len(results)} cases, {wrong} wrong; also in {fault_results.table_path()}")
    return 1 if wrong else 0
