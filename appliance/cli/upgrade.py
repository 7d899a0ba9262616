# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep upgrade`: Debian's updates on this node, while the other one serves."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from appliance.cli import bus
from appliance.cli.confirm import add_yes, confirm
from appliance.cli.parsers import Subparsers, command
from appliance.errors import InputError, PairkeepError

WAIT_S = 600
POLL_S = 2.0
APT_S = 3600
# What it ends with when the machine has to be restarted before it can go on.
RESTART = 3


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "upgrade", "install Debian's updates on this node, while the other one serves")
    parser.add_argument("--hand-over", action="store_true", help="also if a group runs here: it moves first")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only list what would be upgraded")
    add_yes(parser)
    parser.epilog = "One node after the other: the witness, the one without services, then the other one."
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 3 when the machine has to be restarted before it can go on."""
    from appliance.run import run as run_program
    from appliance.upkeep.upgrade import Tools, check, look, upgrade

    if os.geteuid() != 0:
        raise InputError("only root can install packages", hint="sudo pairkeep upgrade")
    me = os.uname().nodename
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    tools = Tools(
        me=me,
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        status=lambda: bus.call("Status"),
        stand_aside=lambda: bus.call("StandAside", me),
        take_part=lambda: bus.call("Standby", me, False),
        run=lambda argv: run_program(argv, env=quiet, timeout_s=APT_S).stdout,
        install=lambda argv: run_program(argv, env=quiet, timeout_s=APT_S, shown=True),
        say=lambda text: print(text, flush=True),
        wait=_wait,
    )
    check(tools, hand_over=args.hand_over)
    if tools.begun.exists():
        # Of half-installed packages apt can tell nothing before they are mended.
        print("an upgrade has begun here, and goes on")
        updates = []
    else:
        tools.say("looking for updates")
        updates = look(tools)
        for update in updates:
            print(f"  {update.package} {update.old} -> {update.new}")
        if not updates:
            print("there is nothing to upgrade")
            return 0
    if args.dry_run:
        return 0
    confirm(args, f"{me} runs nothing meanwhile.", me)
    try:
        done = upgrade(tools, updates, hand_over=args.hand_over)
    except KeyboardInterrupt:
        if tools.begun.exists():
            print(
                f"\n{me} stays as it is, in standby perhaps; the same command goes on from there", file=sys.stderr
            )
        raise
    if not done:
        print(
            f"the kernel is a new one, and {me} stays in standby: systemctl reboot, then pairkeep upgrade once more"
        )
        return RESTART
    print(f"{me} is upgraded and takes part again; now the next node")
    return 0


def _wait(reached: Callable[[], bool]) -> bool:
    """The supervisor may be restarted meanwhile, as an update of its own or of what it stands on."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if reached():
                return True
        except PairkeepError:
            pass
        time.sleep(POLL_S)
    return False
