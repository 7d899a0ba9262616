# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep completion SHELL`: what makes a shell complete commands and options."""

from __future__ import annotations

import argparse

from appliance.cli.parsers import Subparsers, command


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "completion", "print what makes a shell complete pairkeep's commands")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.epilog = 'For this session: eval "$(pairkeep completion bash)"'
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["pairkeep"], shell=args.shell))  # type: ignore[no-untyped-call]
    return 0
