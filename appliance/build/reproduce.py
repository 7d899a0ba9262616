# SPDX-License-Identifier: GPL-2.0-or-later
"""Two builds of one image from nothing, at two times and places, and whether they are the same to the last bit."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from appliance.build import compare, folders, layers
from appliance.build.progress import Progress
from appliance.build.requirements import require_space
from appliance.build.tools import Tools, tree_folder
from appliance.run import run

_SPACE_MIB = 9000
# What may differ from machine to machine, and must not show: a folder, a time zone, a language, a mask.
_PLACES = (
    ("first", {"TZ": "Pacific/Kiritimati", "LANG": "C.UTF-8"}, 0o022),
    ("second-place", {"TZ": "America/Los_Angeles", "LANG": "de_DE.UTF-8"}, 0o077),
)


@dataclass(frozen=True)
class Verdict:
    """``sums`` are those of the two disks; ``difference`` says where they differ first, None where nowhere."""

    sums: tuple[str, str]
    difference: str | None


def reproduce(name: str, tools: Tools, progress: Progress) -> Verdict:
    """Build ``name`` twice from Debian's packages, and compare. Takes as long as two builds.

    What the two leave stays below ``build/reproduce`` where they differ, for a closer look.
    """
    work = folders.build_folder() / "reproduce"
    layers.remove(work)
    work.mkdir(parents=True)
    require_space(work, _SPACE_MIB, f"building {name} twice")
    disks = []
    for place, env, mask in _PLACES:
        with progress.phase(f"{place} build of {name}"):
            disks.append(_build(name, work / place, env, mask))
    with progress.phase("comparing"):
        sums = (layers.sha256_of(disks[0]), layers.sha256_of(disks[1]))
        difference = None if sums[0] == sums[1] else _difference(work, disks, tools)
    if difference is None:
        layers.remove(work)
    return Verdict(sums, difference)


def _build(name: str, place: Path, env: dict[str, str], mask: int) -> Path:
    """A raw disk, made by a process of its own that finds nothing of an earlier build but the tools."""
    build = place / "build"
    cache = build / "cache"
    cache.mkdir(parents=True)
    tree = tree_folder()
    if tree.exists():
        (cache / tree.name).symlink_to(tree)
    words = ("-m", "appliance.cli.main", "image", "export", name, "--format", "raw", "--to", place / "out")
    before = os.umask(mask)
    try:
        run(
            [sys.executable, *words],
            env={**env, "PAIRKEEP_BUILD": str(build)},
            cwd=folders.project_folder(),
        )
    finally:
        os.umask(before)
    return next((place / "out").glob("*.raw"))


def _difference(work: Path, disks: list[Path], tools: Tools) -> str:
    tars = [next((work / place / "build/cache").glob("packages-*/root.tar")) for place, _, _ in _PLACES]
    found = compare.packages(tars[0], tars[1])
    if found is not None:
        return f"packages layer: {found}"
    return compare.disks(disks[0], disks[1], tools) or "nowhere, now"
