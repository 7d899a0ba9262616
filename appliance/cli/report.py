# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep report [FILE]`: what a bug report needs of this node, without secrets."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from appliance.cli.parsers import Subparsers, add_json, command, print_json, save
from appliance.errors import InputError


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "report", "collect what a bug report needs of this node, without secrets")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, help="default: pairkeep-report-NODE-TIME.tar.gz"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from appliance.upkeep.collect import archive, collect

    if os.geteuid() != 0:
        raise InputError("only root can read what belongs into it", hint="sudo pairkeep report")
    now = time.time()
    name = f"pairkeep-report-{os.uname().nodename}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    file = args.file or Path(f"{name}.tar.gz")
    found = collect()
    save(file, archive(found, name, now))
    if args.json:
        print_json({"file": str(file), "contents": sorted(found)})
    else:
        print(f"{file}: {len(found)} files, passwords and keys left out. Names and addresses are in it:")
        print("look through it before you give it away, and take one on each node.")
    return 0
