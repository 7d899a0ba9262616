# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep setup`: the first boot's wizard; on a machine that is set up, what belongs to the machine alone."""

from __future__ import annotations

import argparse

from appliance.cli.parsers import Subparsers, command


def add(subparsers: Subparsers) -> None:
    parser = command(
        subparsers, "setup", "set this machine up, or change its keyboard, time servers and administrator"
    )
    parser.add_argument("--plain", action="store_true", help="ask line by line, as for a terminal without a cursor")
    parser.add_argument("--take-over", action="store_true", help="go on here with what somebody began elsewhere")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when it was left before the end."""
    from appliance.firstboot.console import sit_down

    return 0 if sit_down(plain=args.plain, take_over=args.take_over) else 1
