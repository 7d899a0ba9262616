# SPDX-License-Identifier: GPL-2.0-or-later
"""What `pairkeep config check` and `pairkeep answers check` have in common: how a file's mistakes are told."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from appliance.cli.parsers import print_json


def tell(args: argparse.Namespace, check: Callable[[Path], str]) -> int:
    """``check`` describes the good file ``args.file`` or raises ConfigError. Returns the exit code."""
    from appliance.config.load import ConfigError

    try:
        what = check(args.file)
    except ConfigError as error:
        if not args.json:
            raise
        print_json({"file": str(args.file), "valid": False, "problems": error.problems})
        return error.exit_code
    if args.json:
        print_json({"file": str(args.file), "valid": True, "problems": []})
    else:
        print(f"{args.file}: no mistakes. {what}")
    return 0
