# SPDX-License-Identifier: GPL-2.0-or-later
"""Where two builds differ, told by the name of a file and not by a sum."""

from __future__ import annotations

import os
import re
import tarfile
import tempfile
from itertools import zip_longest
from pathlib import Path

from appliance.build.disk import MIB, Partition, disk_mib, layout
from appliance.build.tools import Tools
from appliance.run import run

_CHUNK = 1 * MIB
_BLOCK = 4096
# What of a member counts beside its content, in the order in which a person wants to hear of it.
_ASPECTS = ("type", "linkname", "mode", "uid", "gid", "mtime", "size", "pax_headers")


def packages(one: Path, other: Path) -> str | None:
    """How the first member in which two tar files differ does so; None when there is none.

    ``etc/shadow: content, from byte 17 on`` or ``etc/hosts: mode is 0644 and 0600``.
    """
    with tarfile.open(one) as first, tarfile.open(other) as second:
        for mine, its in zip_longest(first, second):
            if mine is None or its is None or mine.name != its.name:
                lone = min(member.name for member in (mine, its) if member is not None)
                return f"{lone.removeprefix('./')}: only in one of them"
            name = mine.name.removeprefix("./")
            for aspect in _ASPECTS:
                left, right = getattr(mine, aspect), getattr(its, aspect)
                if left != right:
                    shown = f"{left:04o} and {right:04o}" if aspect == "mode" else f"{left!r} and {right!r}"
                    return f"{name}: {aspect} is {shown}"
            if mine.isfile():
                left_file, right_file = first.extractfile(mine), second.extractfile(its)
                assert left_file is not None  # noqa: S101 - isfile() says so
                assert right_file is not None  # noqa: S101
                at = first_difference(left_file.read(), right_file.read())
                if at is not None:
                    return f"{name}: content, from byte {at} on"
    return None


def disks(one: Path, other: Path, tools: Tools) -> str | None:
    """As `packages`, for two raw disks: the partition, and the file there that the first other byte belongs to."""
    sizes = [path.stat().st_size for path in (one, other)]
    if sizes[0] != sizes[1]:
        return f"the size of the disk: {sizes[0]} and {sizes[1]} bytes"
    at = _first_other_byte(one, other)
    return None if at is None else _whose(at, one, tools)


def partitions_of(disk_bytes: int) -> tuple[Partition, ...]:
    """The layout of a disk of this size as `disk.make` makes it."""
    return layout(disk_bytes // MIB - disk_mib(0))


def first_difference(left: bytes, right: bytes) -> int | None:
    """The place of the first byte that differs, or where the shorter one ends; None for equal ones."""
    if left == right:
        return None
    return next(
        (at for at, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]),
        min(len(left), len(right)),
    )


def _first_other_byte(one: Path, other: Path) -> int | None:
    with one.open("rb") as first, other.open("rb") as second:
        base = 0
        while left := first.read(_CHUNK):
            at = first_difference(left, second.read(_CHUNK))
            if at is not None:
                return base + at
            base += len(left)
    return None


def _whose(at: int, raw: Path, tools: Tools) -> str:
    for part in partitions_of(raw.stat().st_size):
        start = part.start * MIB
        if start <= at < start + part.size * MIB:
            inside = at - start
            where = f"partition {part.name}, byte {inside}"
            return f"{where}: {_file_at(inside, raw, part, tools)}" if part.name == "root" else where
    return f"the partition table or boot sector, byte {at}"


def _file_at(at: int, raw: Path, part: Partition, tools: Tools) -> str:
    """The path of the file in the ext4 partition ``part`` to which the byte ``at`` belongs, or what else it is."""
    debugfs = tools.argv("debugfs")
    with tempfile.TemporaryDirectory(dir=raw.parent) as name:
        # debugfs knows no offsets; a hole costs nothing.
        system = Path(name) / "root"
        with raw.open("rb") as source, system.open("wb") as target:
            left, position = part.size * MIB, part.start * MIB
            while left and (done := os.copy_file_range(source.fileno(), target.fileno(), left, position)):
                left, position = left - done, position + done
        block = at // _BLOCK
        answer = run([*debugfs, "-R", f"icheck {block}", system]).stdout
        inode = re.search(rf"^{block}\s+(\d+)\s*$", answer, re.MULTILINE)
        if inode is None:
            return f"the file system's own structures, block {block}"
        answer = run([*debugfs, "-R", f"ncheck {inode[1]}", system]).stdout
        path = re.search(rf"^{inode[1]}\s+(.+)$", answer, re.MULTILINE)
        return f"the content of {path[1]}" if path else f"inode {inode[1]}"
