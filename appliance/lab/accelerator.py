# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of QEMU's accelerators works here, found out by booting something.

The device alone says nothing: there are hosts where ``/dev/kvm`` opens and makes a virtual machine, and
a kernel hangs in it before its first line.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.build.progress import Progress
from appliance.errors import InputError
from appliance.lab.process import boot_id
from appliance.lab.spec import BootImage
from appliance.run import MORTAL

VARIABLE = "PAIRKEEP_ACCEL"
KVM = Path("/dev/kvm")
CACHE_FILE = "accelerator.json"

# A kernel prints the first mark at once and is done with the second in a second or two where KVM works.
_MARKS = ((b"Linux version", 10.0, "its first line"), (b"Run /init", 20.0, "the start of its first program"))


@dataclass(frozen=True)
class Choice:
    """``accelerator`` ("kvm" or "tcg"), and in words why not KVM (empty where it is KVM)."""

    accelerator: str
    reason: str = ""


def choose(qemu: Sequence[str], image: BootImage, cache: Path, progress: Progress) -> Choice:
    """The accelerator to use: what PAIRKEEP_ACCEL says, else what a trial boot of ``image`` shows.

    The trial takes up to 10 s where KVM is broken; its result is kept in the folder ``cache`` until the
    host boots again. Raises InputError when the variable asks for what there is not.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "tcg", "kvm"):
        raise InputError(f"{VARIABLE}: found {wanted!r}, expected tcg or kvm")
    if wanted == "tcg":
        return Choice("tcg", f"{VARIABLE} says so")
    choice = _cached(cache)
    # A person who asks for KVM may just have repaired it: try afresh what is remembered as broken.
    if choice is None or (wanted == "kvm" and choice.accelerator != "kvm"):
        with progress.phase("finding out whether KVM works"):
            choice = probe(qemu, image.kernel, image.initrd)
        if choice.accelerator == "tcg":
            progress.note(f"without KVM the lab is slower: {choice.reason}")
        _remember(cache, choice)
    if wanted == "kvm" and choice.accelerator != "kvm":
        raise InputError(
            f"{VARIABLE} asks for kvm, but {choice.reason}",
            hint=f"without {VARIABLE} the lab uses TCG: slower, but it works everywhere",
        )
    return choice


def probe(qemu: Sequence[str], kernel: Path, initrd: Path, device: Path = KVM) -> Choice:
    """Boot ``kernel`` under KVM as far as its first program, and see."""
    if not device.exists():
        return Choice("tcg", f"there is no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return Choice("tcg", f"user {os.geteuid()} may not use {device}")
    argv = (
        *(*MORTAL, *qemu, "-accel", "kvm", "-cpu", "host", "-m", "256M", "-machine", "q35"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 panic=-1"),
    )
    program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        return Choice("kvm") if (reason := _watch(program)) is None else Choice("tcg", reason)
    finally:
        program.kill()
        program.wait()


def _watch(program: subprocess.Popen[bytes]) -> str | None:
    """Why the trial failed; None when it reached the last mark."""
    if program.stdout is None:
        raise ValueError("the program's output must be a pipe")
    printed = b""
    started = time.monotonic()
    for mark, limit_s, meaning in _MARKS:
        while mark not in printed:
            left_s = started + limit_s - time.monotonic()
            if left_s <= 0 or not select.select([program.stdout], [], [], left_s)[0]:
                return f"a kernel did not get to {meaning} within {limit_s:g} s under {KVM}"
            data = os.read(program.stdout.fileno(), 65536)
            if not data:
                last = (printed.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
                return f"QEMU ended under {KVM} with: {last}"
            printed += data
    return None


def _cached(cache: Path) -> Choice | None:
    try:
        known = json.loads((cache / CACHE_FILE).read_text())
        if known["boot_id"] == boot_id() and known["user"] == os.geteuid():
            return Choice(**known["choice"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _remember(cache: Path, choice: Choice) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    known = {"boot_id": boot_id(), "user": os.geteuid(), "choice": asdict(choice)}
    making = cache / f".{CACHE_FILE}.{os.getpid()}"
    making.write_text(json.dumps(known) + "\n")
    making.replace(cache / CACHE_FILE)
