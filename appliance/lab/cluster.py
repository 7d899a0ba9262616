# SPDX-License-Identifier: GPL-2.0-or-later
"""Clusters that are formed once and then restored wherever one is needed.

Each is saved in a folder of its own, ``build/cache/lab-formed/KEY.NUMBER``, where KEY is its topology's. One that
is formed anew gets the next number. The last one counts; machines may still run from the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from appliance.build import folders
from appliance.build.layers import locked
from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab import keeper, snapshots
from appliance.lab.collect import collect
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.spec import Topology

# Saved clusters that stay besides those in use: as many as all scenarios use, and one. A pair's takes 0.8 GB.
KEPT = 8
_FORM_S = 600.0
_POLL_S = 1.0
# Past this line a kernel has calibrated its timers; TCG guests that do so at one time disturb each other.
_CALIBRATED = "Run /init"
_CALIBRATED_S = 15.0

Readiness = Callable[[Lab], str | None]
"""Says what the lab still waits for, in words; None when the cluster is formed."""


def formed(name: str, topology: Topology, ready: Readiness, progress: Progress, *, anew: bool = False) -> Lab:
    """The lab ``name`` up, its machines restored from the formed cluster of ``topology``.

    The cluster is formed first, and saved, unless it has been: minutes against a second. ``anew`` forms it in any
    case. The lab ends with this process unless it is settled. Raises PairkeepError when the cluster does not form.
    """
    folder = None if anew else saved_folder(topology)
    if folder is None:
        with locked(folders.cache_folder() / ".lab.lock", progress):
            # Another process may have formed it while this one waited.
            folder = None if anew else saved_folder(topology)
            if folder is None:
                folder = _next_folder(topology)
                _form(folder, topology, ready, progress)
                _prune()
    # What has not been used for longest goes first.
    os.utime(folder / snapshots.DESCRIPTION)
    with progress.phase("restoring the formed cluster"):
        return Lab.open(name).up(snapshots.load(folder), base=folder)


def saved_folder(topology: Topology) -> Path | None:
    """Where the formed cluster of ``topology`` is saved; None when there is none."""
    return snapshots.last_of(_saved(), topology.key())


def _saved() -> Path:
    return folders.cache_folder() / "lab-formed"


def _next_folder(topology: Topology) -> Path:
    last = saved_folder(topology)
    return _saved() / f"{topology.key()}.{1 if last is None else snapshots.number_of(last) + 1}"


def boot_all(lab: Lab) -> None:
    """Switch on the machines of ``lab`` one after the other, as far apart as their kernels need."""
    for machine in lab.machines:
        machine.power_on()
        _wait_calibrated(machine)


def _form(folder: Path, topology: Topology, ready: Readiness, progress: Progress) -> None:
    lab = Lab.open(f"forming-{topology.key()[:8]}")
    lab.down()
    with lab:
        try:
            with progress.phase("booting the machines"):
                lab.up(topology, boot=False)
                boot_all(lab)
                for machine in lab.machines:
                    machine.wait_booted()
            with progress.phase("forming the cluster"):
                _wait_ready(lab, ready, progress)
            with progress.phase("saving the formed cluster"):
                lab.snapshot(folder)
        except PairkeepError:
            kept = folders.build_folder() / "failed" / "forming"
            collect(lab, kept)
            progress.note(f"logs of the machines: {kept}")
            raise


def _wait_ready(lab: Lab, ready: Readiness, progress: Progress) -> None:
    deadline = time.monotonic() + _FORM_S
    said: str | None = None
    while (waiting := ready(lab)) is not None:
        if waiting != said:
            progress.note(waiting)
            said = waiting
        if time.monotonic() > deadline:
            raise PairkeepError(f"the cluster did not form within {_FORM_S:g} s: {waiting}")
        time.sleep(_POLL_S)


def _wait_calibrated(machine: Machine) -> None:
    deadline = time.monotonic() + _CALIBRATED_S
    while _CALIBRATED not in machine.console() and time.monotonic() < deadline:
        time.sleep(0.1)


def _prune() -> None:
    """Delete saved clusters that no lab runs from, and the pinned images that nothing refers to any more."""
    cache, saved = folders.cache_folder(), _saved()
    labs = [Lab.open(name) for name in Lab.names()]
    in_use = {lab.topology.key() for lab in labs if lab.is_up()}
    snapshots.prune(saved, [path for path in saved.iterdir() if path.name.split(".")[0] in in_use], KEPT)
    topologies = [snapshots.load(path.parent) for path in saved.glob(f"*/{snapshots.DESCRIPTION}")]
    topologies += [lab.topology for lab in labs if (lab.folder / keeper.TOPOLOGY).exists()]
    pinned = {image.kernel.parent for topology in topologies for image in topology.images.values()}
    snapshots.prune_images(cache / "lab-images", pinned)
