# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep lab`: virtual machines to try things on, and the faults to try."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from appliance.cli import fault, faults, repeat
from appliance.cli.parsers import add_json, command, print_json
from appliance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.cli.parsers import Subparsers
    from appliance.lab.lab import Lab

DEFAULT = "main"


def add(subparsers: Subparsers) -> None:
    """Add ``lab`` with its actions."""
    lab = command(subparsers, "lab", "run virtual machines in networks of their own, and break things")
    lab.add_argument("--lab", metavar="NAME", default=DEFAULT, help="which lab (default: %(default)s)")
    actions = lab.add_subparsers(metavar="ACTION", required=True)

    up = _action(actions, "up", "start two machines and a witness as a formed cluster", run_up)
    up.add_argument("--boot", action="store_true", help="boot blank machines that form it, instead of restoring")
    up.add_argument("--fenced", action="store_true", help="with BMCs in a third network, as fence devices")
    up.add_argument("--blank", action="store_true", help="boot blank machines that are told nothing")
    down = _action(actions, "down", "end the lab and all that belongs to it", run_down)
    down.add_argument("--all", action="store_true", help="end all labs of this build folder")
    _action(actions, "status", "show the lab's machines", run_status)

    execute = _action(actions, "exec", "run a program inside a machine, as root", run_exec)
    execute.add_argument("machine", metavar="MACHINE")
    execute.add_argument("argv", metavar="PROGRAM", nargs="*", help="after --, with its arguments")
    execute.add_argument(
        "--timeout", metavar="S", type=float, default=60.0, help="seconds it may take (default: %(default)g)"
    )

    console = command(actions, "console", "use the serial line of a machine; Ctrl-] leaves it")
    console.add_argument("machine", metavar="MACHINE")
    console.set_defaults(run=run_console)

    fault.add(actions)

    snapshot = _action(actions, "snapshot", "save all machines, to restore them later", run_snapshot)
    snapshot.add_argument("name", metavar="SNAPSHOT")
    restore = _action(actions, "restore", "put all machines back to a snapshot", run_restore)
    restore.add_argument("name", metavar="SNAPSHOT")
    repeat.add(actions)
    faults.add(actions)


def run_up(args: argparse.Namespace) -> int:
    """Exit code 2 when the lab is up already or the host lacks something."""
    from appliance.build.progress import Progress
    from appliance.lab import topology
    from appliance.lab.cluster import boot_all, formed
    from appliance.lab.lab import Lab
    from appliance.lab.trial import waiting_for

    lab = Lab.open(args.lab)
    if lab.is_up():
        raise InputError(f"the lab {lab.name} is up already", hint=f"pairkeep lab --lab {lab.name} down")
    progress = Progress()
    make = topology.TOPOLOGIES["fenced" if args.fenced else "pair"]
    wanted = make(progress, lambda _: None) if args.blank else make(progress)
    if args.blank or args.boot:
        with progress.phase("starting the machines"):
            boot_all(lab.up(wanted, boot=False))
            for machine in lab.machines:
                machine.wait_booted()
    else:
        lab = formed(lab.name, wanted, waiting_for, progress)
    lab.settle()
    return _show(lab, args)


def run_down(args: argparse.Namespace) -> int:
    """Succeeds also when there was nothing to end."""
    if args.all:
        from appliance.lab.lab import Lab

        names = Lab.names()
        for name in names:
            Lab.open(name).down()
        if args.json:
            print_json({"ended": names})
        else:
            print(f"ended: {', '.join(names) or 'there was none'}")
        return 0
    lab = _open(args)
    there = lab.folder.exists()
    lab.down()
    if args.json:
        print_json({"name": lab.name, "ended": there})
    else:
        print(f"the lab {lab.name} has ended" if there else f"there was no lab {lab.name}")
    return 0


def run_status(args: argparse.Namespace) -> int:
    return _show(_open(args), args)


def run_exec(args: argparse.Namespace) -> int:
    """Ends with the program's own exit code, 128 and its signal's number if one ended it."""
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise InputError("which program?", hint=f"pairkeep lab exec {args.machine} -- uptime")
    done = _open(args)[args.machine].exec(argv, check=False, timeout_s=args.timeout)
    if args.json:
        print_json({"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr})
    else:
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def run_console(args: argparse.Namespace) -> int:
    from appliance.lab.console import attach

    machine = _open(args)[args.machine]
    if machine.state() == "off":
        raise InputError(f"{machine.name} is off", hint=f"what it printed: {machine.folder / 'console.log'}")
    print(f"the serial line of {machine.name}; Ctrl-] leaves it", file=sys.stderr)
    attach(machine.folder)
    return 0


def run_snapshot(args: argparse.Namespace) -> int:
    lab = _open(args)
    lab.snapshot(args.name)
    return _done(args, f"saved as {args.name}")


def run_restore(args: argparse.Namespace) -> int:
    lab = _open(args)
    lab.restore(args.name)
    return _done(args, f"restored from {args.name}")


def _action(
    actions: Subparsers, name: str, summary: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = command(actions, name, summary)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def _open(args: argparse.Namespace) -> Lab:
    from appliance.lab.lab import Lab

    return Lab.open(args.lab)


def _done(args: argparse.Namespace, text: str) -> int:
    if args.json:
        print_json({"name": args.lab, "snapshot": args.name})
    else:
        print(f"the lab {args.lab} is {text}")
    return 0


def _show(lab: Lab, args: argparse.Namespace) -> int:
    status = lab.status()
    if args.json:
        print_json(status)
        return 0
    print(f"lab {lab.name}   in {lab.folder}")
    for name, machine in status["machines"].items():
        print(f"  {name:<12} {machine['state']:<10} {_detail(machine)}")
    if status["partitioned"]:
        print(f"{' and '.join(status['partitioned'])} do not see each other")
    if status["snapshots"]:
        print(f"snapshots: {', '.join(status['snapshots'])}")
    return 0


def _detail(machine: dict[str, Any]) -> str:
    if machine["ended"]:
        return str(machine["ended"])
    broken = "".join(f", {what}" for what in machine["broken"])
    return f"{machine['memory_mib']} MiB, process {machine['pid']}{broken}"
