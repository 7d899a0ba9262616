# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep mutants`: break the code on purpose and see whether the simulation notices."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from appliance.cli.parsers import add_json, command, print_json
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.cli.parsers import Subparsers

WHAT = """
Each mutant is one defect in what decides, in the supervisor's loop, or in how drivers and DRBD are used. Simulated
clusters are run with it until the judge objects; one that survives all seeds shows a hole in the judge or in the
faults.
"""


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "mutants", "break the decisions on purpose and see whether the simulation notices")
    parser.epilog = WHAT
    parser.add_argument("name", nargs="*", help="of a mutant (default: all)")
    parser.add_argument("--seeds", type=int, default=600, metavar="N", help="at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first one (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from appliance.sim.breaking import hunt_many
    from appliance.sim.mutants import MUTANTS

    if args.seeds < 1 or args.seed < 0 or args.jobs < 1:
        raise InputError("--seeds and --jobs must be at least 1, and --seed not negative")
    unknown = [name for name in args.name if name not in MUTANTS]
    if unknown:
        raise InputError(f"there is no mutant {unknown[0]!r}; there is {', '.join(MUTANTS)}")
    names = args.name or list(MUTANTS)
    began = time.monotonic()
    caught = []
    for catch in hunt_many(names, range(args.seed, args.seed + args.seeds), jobs=args.jobs):
        caught.append(catch)
        if not args.json:
            found = "SURVIVED" if catch.rule is None else f"seed {catch.seed}: {catch.rule}"
            print(f"{catch.name:<40} {catch.seeds:>4}  {found}", flush=True)
    survived = [c.name for c in caught if c.rule is None]
    took = time.monotonic() - began
    if args.json:
        print_json(
            {
                "mutants": [{"name": c.name, "seeds": c.seeds, "seed": c.seed, "rule": c.rule} for c in caught],
                "survived": survived,
                "bound": args.seeds,
                "took_s": round(took, 1),
            }
        )
    else:
        most = max((c.seeds for c in caught if c.rule is not None), default=0)
        print(f"{len(caught) - len(survived)} of {len(caught)} caught within {most} seeds, in {took:.0f} s")
        for name in survived:
            print(f"survived {args.seeds} seeds: {name}: {MUTANTS[name].what}")
    return 1 if survived else 0
