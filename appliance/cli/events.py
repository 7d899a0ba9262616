# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep events`: what happened here, and with ``--follow`` what happens."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, command


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "events", "print what has happened")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing what happens")
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N only (50)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=run)


def line(event: dict[str, Any]) -> str:
    """One event for a person: local time, and what happened."""
    return f"{datetime.fromtimestamp(event['at']):%H:%M:%S}  {event['text']}"


def run(args: argparse.Namespace) -> int:
    show = json.dumps if args.json else line
    events = bus.call("Events")
    for event in events[max(0, len(events) - args.lines) :]:
        print(show(event), flush=True)
    if args.follow:
        for event in bus.follow():
            print(show(event), flush=True)
    return 0
