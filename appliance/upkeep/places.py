# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the disks of a backup are on the machine that becomes the node, and by which names it knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from appliance.drivers import disk_name
from appliance.errors import InputError
from appliance.upkeep.keep import Backup

RULES = str(disk_name.RULES.relative_to("/"))


def disks_here(backup: Backup, given: Mapping[str, str], root: Path = Path("/")) -> tuple[Backup, dict[str, str]]:
    """The backup for this machine, and by DRBD resource the disk that is meant; ``given``: other ones than before.

    cluster.toml stays as all nodes have it: another disk gets the old one's name. Raises InputError.
    """
    drbds = () if backup.cluster.node(backup.node).votes_only else backup.cluster.drbd
    strangers = [name for name in given if name not in [d.name for d in drbds]]
    if strangers:
        there_is = ", ".join(d.name for d in drbds) or "none"
        raise InputError(
            f"--disk: there is no DRBD resource {strangers[0]!r} on {backup.node}; there is {there_is}"
        )
    content, mode = backup.files.get(RULES, (b"", 0o644))
    names = disk_name.named(content.decode(errors="replace"))
    places: dict[str, str] = {}
    for drbd in drbds:
        if drbd.name in given:
            names[drbd.disk] = places[drbd.name] = _another(drbd.name, drbd.disk, given[drbd.name], root)
            continue
        found = (disk for disk in (drbd.disk, names.get(drbd.disk)) if disk and _exists(disk, root))
        places[drbd.name] = next(found, "")
        if not places[drbd.name]:
            raise InputError(
                f"drbd.{drbd.name}.disk: {drbd.disk} does not exist on this machine",
                hint=f"if another disk takes its place: --disk {drbd.name}=/dev/disk/by-id/…",
            )
    if not given:
        return backup, places
    rules = "".join(disk_name.rule(disk, alias) for alias, disk in names.items())
    return replace(backup, files={**backup.files, RULES: (rules.encode(), mode)}), places


def _another(name: str, old: str, disk: str, root: Path) -> str:
    if _exists(old, root):
        raise InputError(f"--disk {name}: {old} exists on this machine, so no other disk takes its place")
    if not old.startswith("/dev/disk/"):
        raise InputError(f"--disk {name}: found {old} in cluster.toml, which only the kernel gives to a disk")
    if not _exists(disk, root):
        raise InputError(f"--disk {name}: {disk} does not exist on this machine")
    return disk


def _exists(disk: str, root: Path) -> bool:
    return (root / disk.removeprefix("/")).exists()
