# SPDX-License-Identifier: GPL-2.0-or-later
"""LIO's tree in configfs as values: what targets, LUNs, ACLs, portals and sessions there are. Changes nothing.

Read by listing folders: rtslib's objects look at all others for each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.config.target import Target

ROOT = Path("/sys/kernel/config/target")
# All of a target is in one portal group. Were there several, initiators would take its portals for different ones.
TAG = "tpgt_1"
# Folders of the backstores that LUNs are made of (target_core_iblock.c, target_core_file.c).
PLUGINS = ("iblock_", "fileio_")


@dataclass(frozen=True)
class Tree:
    """A target as the kernel has it.

    ``luns``: what each number shows, by its backstore's name ("" for a LUN that shows nothing yet). ``acls``: the
    numbers of the LUNs that each initiator may reach. ``portals``: as `config.target.Portal` writes them.
    """

    enabled: bool
    luns: Mapping[int, str]
    acls: Mapping[str, frozenset[int]]
    portals: frozenset[str]


@dataclass(frozen=True)
class Session:
    """An initiator that is logged in: where from, and what it has done since."""

    initiator: str
    alias: str
    addresses: tuple[str, ...]
    commands: int
    read_mib: int
    written_mib: int


def wanted(target: Target) -> Tree:
    """What ``target`` looks like when it serves."""
    numbers = {lun.name: lun.number for lun in target.luns}
    return Tree(
        enabled=True,
        luns={lun.number: lun.name for lun in target.luns},
        acls={acl.initiator: frozenset(numbers[name] for name in acl.luns) for acl in target.acls},
        portals=frozenset(map(str, target.portals)),
    )


def found(iqn: str, root: Path = ROOT) -> Tree | None:
    """The target of this name, or None when there is none."""
    group = folder(iqn, root)
    if not group.parent.is_dir():
        return None
    return Tree(
        enabled=_read(group / "enable") == "1",
        luns={number: _shown(path) for number, path in numbered(group / "lun")},
        # Whether each shows something is not asked: of all that is here these are by far the most.
        acls={path.name: frozenset(number for number, _ in numbered(path)) for path in folders(group / "acls")},
        portals=frozenset(path.name for path in folders(group / "np")),
    )


def folder(iqn: str, root: Path = ROOT) -> Path:
    """The portal group of the target of this name."""
    return root / "iscsi" / iqn / TAG


def backstores(root: Path = ROOT) -> dict[str, Path]:
    """The folder of every backstore that a LUN can show, by name."""
    return {
        path.name: path
        for plugin in folders(root / "core")
        if plugin.name.startswith(PLUGINS)
        for path in folders(plugin, own=())
    }


def sessions(iqn: str, root: Path = ROOT) -> Iterator[Session]:
    """Who is logged in to the target of this name."""
    for acl in folders(folder(iqn, root) / "acls"):
        info = _read(acl / "info")
        if "TARG_SESS_STATE_LOGGED_IN" not in info:
            continue
        counts = [
            tuple(_number(path / "statistics/scsi_auth_intr" / name) for name in _COUNTED)
            for _, path in numbered(acl)
        ]
        commands, read, written = map(sum, zip(*counts, strict=True)) if counts else (0, 0, 0)
        yield Session(acl.name, *parse_info(info), commands, read, written)


_COUNTED = ("num_cmds", "read_mbytes", "write_mbytes")


def parse_info(text: str) -> tuple[str, tuple[str, ...]]:
    """(alias, addresses) of a session, by what the kernel says of it (lio_target_nacl_info_show)."""
    alias = re.search(r"^InitiatorAlias: *(.*?) *$", text, re.MULTILINE)
    return (alias[1] if alias else "", tuple(re.findall(r"^ *Address (\S+) ", text, re.MULTILINE)))


def numbered(path: Path) -> Iterator[tuple[int, Path]]:
    """The folders ``lun_N`` in ``path``."""
    for each in folders(path):
        if each.name.startswith("lun_"):
            yield int(each.name.removeprefix("lun_")), each


# What the kernel puts beside the folders that were made in it, but for those of backstores.
_OWN = ("fabric_statistics", "statistics", "attrib", "auth", "param", "discovery_auth", "alua")


def folders(path: Path, own: Collection[str] = _OWN) -> list[Path]:
    """The folders in ``path``, without those that the kernel made itself (``own``); none when it is not there."""
    try:
        with os.scandir(path) as entries:
            return [path / e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in own]
    except FileNotFoundError:
        return []


def links(path: Path) -> list[Path]:
    """What the LUN in ``path`` shows."""
    with os.scandir(path) as entries:
        return [path / e.name for e in entries if e.is_symlink()]


def _shown(path: Path) -> str:
    return next((link.name for link in links(path)), "")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip("\0\n ")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _read(path)
    return int(text) if text.isdigit() else 0
