# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep lab fault MACHINE FAULT [WHAT]` and `pairkeep lab heal`: break something, or repair it."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.cli.parsers import add_json, command, print_json
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.cli.parsers import Subparsers
    from appliance.lab.machine import Machine


@dataclass(frozen=True)
class Fault:
    """``what`` names the argument that it takes ("" for none), ``do`` gets it as it was typed."""

    summary: str
    do: Callable[[Machine, str], object]
    what: str = ""


def _network(text: str) -> int:
    if text not in ("1", "2", "3"):
        raise InputError(f"NETWORK: found {text or 'nothing'!r}, expected 1, 2 or 3")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"found {text!r}, expected a number") from error


def _impairment(machine: Machine, text: str, unit: str) -> None:
    from appliance.lab import inside

    network, _, amount = text.partition(":")
    how = {unit: _number(amount)}
    inside.impair(machine, _network(network), **how)


def _inside(name: str) -> Callable[[Machine, str], object]:
    """A fault of lab/inside.py that takes nothing more."""

    def do(machine: Machine, _: str) -> None:
        from appliance.lab import inside

        getattr(inside, name)(machine)

    return do


def _clock(machine: Machine, text: str) -> None:
    from appliance.lab import inside

    inside.shift_clock(machine, _number(text))


def _repair(machine: Machine, text: str) -> None:
    from appliance.lab import inside

    inside.repair(machine, _network(text))


FAULTS = {
    "power-off": Fault("cut the power", lambda m, _: m.power_off()),
    "power-on": Fault("give it power; it boots", lambda m, _: m.power_on()),
    "reset": Fault("press the reset button", lambda m, _: m.reset()),
    "panic": Fault("crash the kernel", lambda m, _: m.panic()),
    "pause": Fault("stop the processor", lambda m, _: m.pause()),
    "resume": Fault("let the processor go on", lambda m, _: m.resume()),
    "unplug": Fault("pull the cable of a network", lambda m, w: m.unplug(_network(w)), "NETWORK"),
    "plug": Fault("put the cable back", lambda m, w: m.plug(_network(w)), "NETWORK"),
    "drop-out": Fault("drop what it sends", lambda m, w: m.drop(_network(w), "out"), "NETWORK"),
    "drop-in": Fault("drop what it should get", lambda m, w: m.drop(_network(w), "in"), "NETWORK"),
    "deliver-out": Fault("undo drop-out", lambda m, w: m.deliver(_network(w), "out"), "NETWORK"),
    "deliver-in": Fault("undo drop-in", lambda m, w: m.deliver(_network(w), "in"), "NETWORK"),
    "lose": Fault(
        "lose a share of what it sends", lambda m, w: _impairment(m, w, "loss_percent"), "NETWORK:PERCENT"
    ),
    "delay": Fault("delay what it sends", lambda m, w: _impairment(m, w, "delay_ms"), "NETWORK:MS"),
    "repair": Fault("undo lose and delay", _repair, "NETWORK"),
    "disk-errors": Fault("each read and write of the data disk fails", lambda m, _: m.break_disk("errors")),
    "disk-hang": Fault("no read or write of the data disk ends", lambda m, _: m.break_disk("hang")),
    "disk-mend": Fault("undo disk-errors and disk-hang", lambda m, _: m.mend_disk()),
    "disk-fill": Fault("leave no free block in the mounted data disk", _inside("fill_disk")),
    "disk-empty": Fault("undo disk-fill", _inside("empty_disk")),
    "clock": Fault("shift its clock; 0 sets it right", _clock, "SECONDS"),
    "memory-hog": Fault("use up its memory", _inside("hog_memory")),
    "memory-free": Fault("undo memory-hog", _inside("release_memory")),
    "mount-hold": Fault("a process works below the mount point, and stays", _inside("hold_mount")),
    "mount-free": Fault("undo mount-hold", _inside("release_mount")),
    "bmc-mute": Fault("its BMC answers nothing", lambda m, _: m.mute_bmc()),
    "bmc-unmute": Fault("undo bmc-mute", lambda m, _: m.unmute_bmc()),
    "bmc-slow": Fault("its BMC takes so long over each packet", lambda m, w: m.slow_bmc(_number(w)), "SECONDS"),
    "kill": Fault("kill the processes whose command line matches", lambda m, w: m.kill_process(w), "PATTERN"),
    "stop": Fault(
        "stop such processes, without their knowing", lambda m, w: m.kill_process(w, signal.SIGSTOP), "PATTERN"
    ),
    "cont": Fault("let such processes go on", lambda m, w: m.kill_process(w, signal.SIGCONT), "PATTERN"),
}


def add(actions: Subparsers) -> None:
    """Add ``fault``, ``partition`` and ``heal``."""
    fault = command(actions, "fault", "break something, or repair it")
    fault.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = (f"  {name + ' ' + fault.what:<22} {fault.summary}" for name, fault in FAULTS.items())
    fault.epilog = "faults:\n" + "\n".join(lines)
    fault.add_argument("machine", metavar="MACHINE")
    fault.add_argument("fault", metavar="FAULT", choices=FAULTS)
    fault.add_argument("what", metavar="WHAT", nargs="?", default="", help="what the list below names, if anything")
    add_json(fault)
    fault.set_defaults(run=run)

    partition = command(actions, "partition", "let two machines see each other no more; the third sees both")
    partition.add_argument("one", metavar="MACHINE")
    partition.add_argument("other", metavar="MACHINE")
    partition.set_defaults(run=run_partition)

    heal = command(actions, "heal", "undo every fault of networks, disks and BMCs, of all machines")
    heal.set_defaults(run=run_heal)


def run(args: argparse.Namespace) -> int:
    """Exit code 2 for a fault that does not fit, 1 when nothing matched the pattern."""
    from appliance.lab.lab import Lab

    machine = Lab.open(args.lab)[args.machine]
    inject(machine, args.fault, args.what)
    if args.json:
        print_json({"machine": machine.name, "fault": args.fault, "what": args.what})
    else:
        print(f"{machine.name}: {args.fault} {args.what}".rstrip())
    return 0


def inject(machine: Machine, name: str, what: str) -> None:
    """Do the fault ``name`` to ``machine``. Raises InputError when ``what`` does not fit it."""
    fault = FAULTS[name]
    if bool(what) != bool(fault.what):
        raise InputError(
            f"{name}: found {what or 'nothing'!r}, expected {fault.what or 'nothing more'}",
            hint="pairkeep lab fault --help",
        )
    fault.do(machine, what)


def run_partition(args: argparse.Namespace) -> int:
    """Exit code 2 when two machines are apart already."""
    from appliance.lab.lab import Lab

    Lab.open(args.lab).partition(args.one, args.other)
    print(f"{args.one} and {args.other} do not see each other (pairkeep lab heal undoes it)")
    return 0


def run_heal(args: argparse.Namespace) -> int:
    from appliance.lab.lab import Lab

    Lab.open(args.lab).heal()
    print(f"networks, disks and BMCs of the lab {args.lab} are whole")
    return 0
