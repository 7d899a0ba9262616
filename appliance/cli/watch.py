# SPDX-License-Identifier: GPL-2.0-or-later
"""What `pairkeep status` and `pairkeep lvs status` share: shown once, or with ``--watch`` again and again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from appliance.cli.bus import NoAnswer
from appliance.cli.parsers import add_json, print_json

WATCH_S = 1.0

Status = dict[str, Any]


def add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-w", "--watch", action="store_true", help="draw it again every second")
    add_json(parser)


def show(
    args: argparse.Namespace,
    ask: Callable[[], Status],
    render: Callable[[Status], Iterable[str]],
    good: Callable[[Status], bool],
) -> int:
    """Exit code 1 when what is shown is not ``good``, so that scripts can ask."""
    silent = False
    while True:
        try:
            status = ask()
        except NoAnswer as error:
            if not args.watch:
                raise
            if not silent:
                print(f"pairkeep: {error.message}; it is asked again every second", file=sys.stderr)
            silent = True
        else:
            silent = False
            if args.json:
                print_json(status)
            else:
                text = "\n".join(render(status))
                print(f"\x1b[H\x1b[2J{text}" if args.watch else text, flush=True)
            if not args.watch:
                return 0 if good(status) else 1
        time.sleep(WATCH_S)
