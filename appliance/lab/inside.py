# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults inside a machine's own system, each beside what undoes it. A restart of the machine undoes most.

All need the guest agent; each raises PairkeepError when the machine does not answer or refuses.
"""

from __future__ import annotations

import time

from appliance.lab.machine import Machine

MOUNT = "/srv/mysql"
_FILLER = f"{MOUNT}/pairkeep-lab-filler"
# Transient units of the lab in the guest.
_HOG, _HOLDER, _BUSY = "pairkeep-lab-hog", "pairkeep-lab-holder", "pairkeep-lab-busy"
_SYSTEMD_S = 60.0
# What the hog leaves: enough for the guest agent, too little for anyone else who wants more.
LEFT_MIB = 24
HOUR_S = 3600.0
# Writing to each page is what takes it; zeroes alone would not.
_HOG_PROGRAM = f"""
import re, time
taken = []
while True:
    with open("/proc/meminfo") as file:
        available = int(re.search(r"MemAvailable: +([0-9]+)", file.read())[1]) // 1024
    if available > {LEFT_MIB}:
        taken.append(b"x" * (4 << 20))
    else:
        time.sleep(0.1)
"""


def interface(network: int) -> str:
    """The guest's name of its card in ``network``: it follows from the card's place on the bus (qemu.py)."""
    return f"enp0s{network + 1}"


def impair(machine: Machine, network: int, *, loss_percent: float = 0.0, delay_ms: float = 0.0) -> None:
    """Lose and delay what the machine sends to ``network`` (tc-netem(8))."""
    words = ["loss", f"{loss_percent:g}%", "delay", f"{delay_ms:g}ms"]
    # The default of 1000 packets would itself lose some of what is delayed.
    machine.exec(["tc", "qdisc", "replace", "dev", interface(network), "root", "netem", *words, "limit", "10000"])


def repair(machine: Machine, network: int) -> None:
    """Undo ``impair``, if there is something to undo."""
    machine.exec(["tc", "qdisc", "del", "dev", interface(network), "root"], check=False)


def fill_disk(machine: Machine) -> None:
    """Leave not one free block in the mounted data disk, not even those kept for root."""
    machine.exec(["sh", "-c", f"fallocate -l $(($(stat -f -c '%f * %S' {MOUNT}) * 9 / 10)) {_FILLER}"])
    machine.exec(["dd", "if=/dev/zero", f"of={_FILLER}.rest", "bs=64k"], check=False, timeout_s=120)


def empty_disk(machine: Machine) -> None:
    """Undo ``fill_disk``."""
    machine.exec(["rm", "-f", _FILLER, f"{_FILLER}.rest"])


def upset_filesystem(machine: Machine) -> None:
    """Let ext4 meet an error; by its options it takes no more writes then (trigger_fs_error of ext4's sysfs)."""
    source = machine.exec(["findmnt", "--noheadings", "--output=SOURCE", MOUNT]).stdout.strip()
    machine.exec(["tee", f"/sys/fs/ext4/{source.rpartition('/')[2]}/trigger_fs_error"], stdin="from the lab\n")


def shift_clock(machine: Machine, seconds: float) -> None:
    """Set the machine's clock ``seconds`` before or behind the right time; 0 sets it right."""
    machine.exec(["date", "--set", f"@{time.time() + seconds:.3f}"])


def hog_memory(machine: Machine) -> None:
    """Take all memory but LEFT_MIB, and again whatever the kernel frees for others.

    The hog is what the kernel kills first when none is left, so the machine survives.
    """
    settings = ("OOMScoreAdjust=1000", "Restart=always", "RestartSec=1")
    _start_unit(machine, _HOG, ["python3", "-c", _HOG_PROGRAM], *settings)


def release_memory(machine: Machine) -> None:
    """Undo ``hog_memory``."""
    _stop_unit(machine, _HOG)


def hog_processor(machine: Machine) -> None:
    """Let a loop take what the machine's processor has to give, until the machine is restarted."""
    _start_unit(machine, _BUSY, ["sh", "-c", "while :; do :; done"])


def hold_mount(machine: Machine) -> None:
    """Let a process that ignores SIGTERM work below the mount point, which then cannot be unmounted."""
    _start_unit(machine, _HOLDER, ["sh", "-c", "trap '' TERM; sleep infinity"], f"WorkingDirectory={MOUNT}")


def release_mount(machine: Machine) -> None:
    """Undo ``hold_mount``; someone else may have killed the process by then."""
    machine.exec(["systemctl", "kill", "--signal=KILL", f"{_HOLDER}.service"], check=False, timeout_s=_SYSTEMD_S)


def _start_unit(machine: Machine, unit: str, argv: list[str], *settings: str) -> None:
    properties = [f"--property={setting}" for setting in settings]
    started = ["systemd-run", "--collect", "--quiet", f"--unit={unit}", *properties, "--", *argv]
    machine.exec(started, timeout_s=_SYSTEMD_S)


def _stop_unit(machine: Machine, unit: str) -> None:
    machine.exec(["systemctl", "stop", f"{unit}.service"], check=False, timeout_s=_SYSTEMD_S)
