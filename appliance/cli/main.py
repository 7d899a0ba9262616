# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep`: one command for the host that builds and for the appliance that runs."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from types import FrameType

from appliance import __version__
from appliance.errors import PairkeepError

# In the order of the help. What builds images is not in the image, so it is not offered there.
COMMANDS = (
    "status",
    "why",
    "simulate",
    "switchover",
    "standby",
    "maintenance",
    "cleanup",
    "verify",
    "fence",
    "initiator",
    "target",
    "recover",
    "events",
    "lvs",
    "real",
    "realserver",
    "setup",
    "answers",
    "config",
    "apply",
    "rollback",
    "upgrade",
    "backup",
    "report",
    "image",
    "lab",
    "demo",
    "sim",
    "mutants",
    "bench",
    "completion",
)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="pairkeep",
        description="Two machines keep one service alive. Exit codes: 0 done, 1 failed, 2 refused before "
        "anything was changed.",
    )
    top.add_argument("--version", action="version", version=f"pairkeep {__version__}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        if find_spec(f"appliance.cli.{name}") is not None:
            importlib.import_module(f"appliance.cli.{name}").add(subparsers)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    commands = parser()
    if "_ARGCOMPLETE" in os.environ:
        # The shell asks what may come next; see cli/completion.py. Otherwise it would only cost time.
        import argcomplete

        argcomplete.autocomplete(commands)
    args = commands.parse_args(arguments)
    # As timeout(1) and CIs send it. Python would be gone at once, and what it has begun go on or stay behind.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code: int = args.run(args)
    except PairkeepError as error:
        print(f"pairkeep: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        print("pairkeep: interrupted", file=sys.stderr)
        return 128 + (error.args[0] if error.args else signal.SIGINT)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep Python from complaining at exit.
        sys.stderr.close()
        return 0
    return code


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    sys.exit(main())
