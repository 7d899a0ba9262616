# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of a lab when a scenario failed: enough to find out why without running it again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from appliance.errors import PairkeepError
from appliance.lab import keeper
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine

# File name in the machine's folder -> what is asked of the guest. Each is worth having alone.
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "journal.txt": ("journalctl", "--boot", "--no-pager", "--output=short-precise"),
    "drbd.txt": ("cat", "/proc/drbd"),
    "status.json": ("pairkeep", "status", "--json"),
    "corosync.txt": ("corosync-quorumtool", "-s"),
    "processes.txt": ("ps", "-e", "-o", "pid,stat,wchan:24,etimes,args"),
    "addresses.txt": ("ip", "-brief", "address"),
    "mounts.txt": ("findmnt", "--real"),
}
_FILES = ("*.log", "*.pcap")
_TIMEOUT_S = 20.0


def collect(lab: Lab, target: Path) -> None:
    """Copy the logs of ``lab``, serial lines and packet captures to ``target``, and ask every machine whose
    agent answers for its journal, DRBD state and the like.

    A machine that does not answer is left out; nothing here raises because of the lab's state.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in (*lab.folder.glob("*.log"), lab.folder / keeper.TOPOLOGY):
        if path.exists():
            shutil.copy(path, target)
    try:
        (target / "lab.json").write_text(json.dumps(lab.status(), indent=1) + "\n")
        machines = lab.machines
    except PairkeepError as error:
        (target / "lab.json").write_text(json.dumps({"error": str(error)}) + "\n")
        return
    with ThreadPoolExecutor(len(machines)) as pool:
        list(pool.map(lambda machine: _machine(machine, target / machine.name), machines))


def _machine(machine: Machine, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for pattern in _FILES:
        for path in machine.folder.glob(pattern):
            shutil.copy(path, target)
    if not machine.answers():
        return
    for name, argv in QUESTIONS.items():
        try:
            done = machine.exec(argv, check=False, timeout_s=_TIMEOUT_S)
            (target / name).write_text(done.stdout + done.stderr)
        except PairkeepError as error:
            (target / name).write_text(f"{error}\n")
