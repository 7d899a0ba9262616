# SPDX-License-Identifier: GPL-2.0-or-later
"""What the wizard knows of the machine it runs on, as values, and how that is read from what programs print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# What cluster.toml calls the data disk of each machine; first boot gives it to the one that was chosen.
ALIAS = "/dev/disk/by-id/pairkeep-data"
# DRBD's metadata, a journal and a database's first files; less is a mistake, not a choice.
LEAST_DISK_BYTES = 256 << 20
# Read-only and removable things, and those that have no medium of their own.
_NO_DISKS = re.compile(r"(loop|ram|zram|sr|fd|drbd|dm-|md|nbd)\d*")


@dataclass(frozen=True)
class Link:
    """A network card. ``addresses``: what it has now."""

    name: str
    mac: str
    carrier: bool
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Disk:
    """``path``: its lasting name below /dev/disk. ``content``: what is on it, in words; "" for nothing.

    ``in_use``: what uses it now, in words; "" for nothing.
    """

    path: str
    model: str
    serial: str
    size_bytes: int
    content: str = ""
    in_use: str = ""

    @property
    def name(self) -> str:
        """What a person types to have it wiped."""
        return name_of(self.path)


@dataclass(frozen=True)
class Facts:
    """``roles``: what this image can be. ``name``: the host name so far, "" for none of its own."""

    roles: tuple[str, ...]
    name: str
    links: tuple[Link, ...]
    disks: tuple[Disk, ...]
    keyboards: tuple[str, ...]
    languages: tuple[str, ...]
    fence_agents: tuple[str, ...]

    def link(self, name: str) -> Link:
        return next(link for link in self.links if link.name == name)

    def disk(self, path: str) -> Disk | None:
        return next((disk for disk in self.disks if disk.path == path), None)


def name_of(path: str) -> str:
    """What a disk is called, of the path below /dev that it has."""
    return path.rpartition("/")[2]


def size_in_words(size_bytes: int) -> str:
    """In the binary units that disks of virtual machines are given in; below ten with one decimal."""
    size, units = float(size_bytes), ["TiB", "GiB", "MiB", "KiB", "B"]
    while size >= 1024 and len(units) > 1:
        size, _ = size / 1024, units.pop()
    return f"{size:.1f} {units[-1]}" if size < 10 and size != int(size) else f"{size:.0f} {units[-1]}"


def read_disks(lsblk: str, links: Mapping[str, str]) -> tuple[Disk, ...]:
    """Disks out of ``lsblk --json --bytes``; ``links``: kernel names to their lasting names.

    Those that are in use are told as well, since a person will look for them.
    """
    found = []
    for raw in json.loads(lsblk)["blockdevices"]:
        if raw["type"] != "disk" or _NO_DISKS.fullmatch(raw["name"]) or not raw["size"]:
            continue
        found.append(
            Disk(
                path=links.get(raw["name"], f"/dev/{raw['name']}"),
                model=(raw.get("model") or "").strip(),
                serial=(raw.get("serial") or "").strip(),
                size_bytes=int(raw["size"]),
                content=_content(raw),
                in_use=next(_uses(raw), ""),
            )
        )
    return tuple(found)


def _content(raw: Mapping[str, Any]) -> str:
    """What blkid knows of the disk itself and its partitions."""
    if raw.get("fstype"):
        label = f' "{raw["label"]}"' if raw.get("label") else ""
        return f"{raw['fstype']}{label}"
    parts = [child for child in raw.get("children", []) if child["type"] == "part"]
    if parts:
        kinds = ", ".join(child["fstype"] for child in parts if child.get("fstype"))
        return f"{len(parts)} partition{'s' if len(parts) > 1 else ''}{f' ({kinds})' if kinds else ''}"
    return f"an empty {raw['pttype']} partition table" if raw.get("pttype") else ""


def _uses(raw: Mapping[str, Any]) -> Iterator[str]:
    for place in raw.get("mountpoints") or []:
        if place:
            yield "swap" if place == "[SWAP]" else f"mounted on {place}"
    if raw.get("ro"):
        yield "read-only"
    for child in raw.get("children", []):
        if child["type"] != "part":
            yield f"part of {child['name']}"
        yield from _uses(child)


def lasting_names(links: Mapping[str, str]) -> dict[str, str]:
    """Kernel names to the best of their names: ``links`` has paths below /dev/disk and the kernel names they mean.

    by-id names the disk itself, by-path where it is plugged in. Of several by-id names the one that a person
    can read, so not wwn-… nor nvme-eui…. When first boot goes on after a power cut, the disk has to be found by the
    name that it was chosen by: so never `ALIAS`, which it has given itself, nor a name that goes when it is erased.
    """

    def rank(path: str) -> tuple[bool, bool, int, str]:
        name = name_of(path)
        return ("/by-id/" not in path, name.startswith(("wwn-", "nvme-eui.", "nvme-nvme.")), len(name), name)

    best: dict[str, str] = {}
    for path, device in links.items():
        if path == ALIAS or name_of(path).startswith("lvm-pv-uuid-"):
            continue
        if device not in best or rank(path) < rank(best[device]):
            best[device] = path
    return best
