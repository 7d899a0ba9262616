# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep sim`: run the decision core and the supervisor's loop in simulated clusters, and judge them."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.parsers import add_json, command, print_json
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.cli.parsers import Subparsers
    from appliance.sim.run import Verdict

WHAT = """
A schedule is the whole life of one cluster, decided by its seed: blank machines form a cluster of some shape
(one group or two, each on its own replicated disk), then come ROUNDS rounds. A round is one to six faults, or an
operator's order with faults on top, then everything is put right; after each round the cluster has to be healthy
and redundant again within a bound. Clients write all the time, and the rules are judged by what became of their
writes. A seed that breaks a rule is cut down to the few faults that do it, and its story is told.
"""


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "sim", "try the decisions in simulated clusters with random faults")
    parser.epilog = WHAT
    parser.add_argument("--seeds", type=int, metavar="N", help="how many (default: 200, with --seed: 1)")
    parser.add_argument("--seed", type=int, metavar="S", help="the first one (default: 0); alone: its whole story")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="R", help="of faults in a life (default: %(default)s)"
    )
    parser.add_argument("--shape", help="only clusters of this shape")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes (default: %(default)s)")
    parser.add_argument("--story", action="store_true", help="tell every run's whole story")
    parser.add_argument(
        "--shrink",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="cut what fails down to a short script (default)",
    )
    parser.add_argument("--script", type=Path, metavar="FILE", help="live through a kept script instead")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the short scripts of what failed there")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from appliance.sim import script
    from appliance.sim.run import run_script
    from appliance.sim.shapes import SHAPES

    if args.script is not None:
        verdict = run_script(script.load(args.script), told=True)
        _tell(verdict)
        return 0 if verdict.violation is None else 1
    first = args.seed or 0
    seeds = args.seeds or (200 if args.seed is None else 1)
    if seeds < 1 or first < 0 or args.rounds < 1 or args.jobs < 1:
        raise InputError("--seeds, --rounds and --jobs must be at least 1, and --seed not negative")
    if args.shape is not None and args.shape not in SHAPES:
        raise InputError(f"there is no shape {args.shape!r}; there is {', '.join(SHAPES)}")
    if seeds == 1:
        args.story = True
    return _run_seeds(args, range(first, first + seeds))


def _run_seeds(args: argparse.Namespace, seeds: range) -> int:
    from appliance.sim.run import run_many, run_script

    began, shown = time.monotonic(), 0.0
    done, simulated, acknowledged = 0, 0.0, 0
    failures: list[Verdict] = []
    for verdict in run_many(seeds, rounds=args.rounds, shape=args.shape, jobs=args.jobs):
        done += 1
        simulated += verdict.seconds
        acknowledged += verdict.acknowledged
        took = time.monotonic() - began
        if sys.stderr.isatty() and (took - shown > 0.2 or done == len(seeds)):
            shown = took
            text = f"\r{done}/{len(seeds)} clusters, {done / took:.0f} schedules/s, {len(failures)} failed "
            print(text, end="", file=sys.stderr, flush=True)
        if verdict.violation is not None:
            failures.append(verdict)
            if not args.json:
                _explain(verdict, args)
        elif args.story and not args.json:
            _tell(run_script(verdict.script, told=True))
    took = time.monotonic() - began
    if sys.stderr.isatty():
        print(file=sys.stderr)
    summary = {
        "seeds": done,
        "failed": [v.script.seed for v in failures],
        "simulated_s": round(simulated),
        "acknowledged_writes": acknowledged,
        "took_s": round(took, 1),
        "schedules_per_s": round(done / took, 1),
        "jobs": args.jobs,
    }
    if args.json:
        print_json(summary)
    else:
        print(
            f"{done} clusters, {simulated:.0f} s of their time in {took:.1f} s ({done / took:.1f} schedules/s in "
            f"{args.jobs} process{'es' if args.jobs > 1 else ''}), {acknowledged} acknowledged writes: "
            f"{len(failures)} failed"
        )
    return 1 if failures else 0


def _explain(verdict: Verdict, args: argparse.Namespace) -> None:
    """Tell the shortest story that breaks the same rule."""
    from appliance.sim import script
    from appliance.sim.run import run_script
    from appliance.sim.shrink import shrink

    seed = verdict.script.seed
    if not args.shrink:
        _tell(run_script(verdict.script, told=True))
        return
    print(f"\nseed {seed}: {verdict.violation}\ncutting it down from {verdict.script.acts} faults ...", flush=True)
    short, lives = shrink(verdict)
    print(f"to {short.acts} in {lives} lives:")
    _tell(run_script(short, told=True))
    print(f"whole: pairkeep sim --seed {seed} --rounds {args.rounds} --no-shrink")
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        script.save(short, args.keep / f"seed-{seed}.json", verdict.violation or "")


def _tell(verdict: Verdict) -> None:
    print(verdict.script.text())
    print(verdict.story)
    print(verdict.violation or "all invariants held")
