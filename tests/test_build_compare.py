# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.build import compare
from appliance.build.disk import MIB, disk_mib, layout
from appliance.build.tools import Tools

MEMBERS: dict[str, dict[str, Any]] = {
    "./etc/": {"type": tarfile.DIRTYPE, "mode": 0o755},
    "./etc/hosts": {"content": b"127.0.0.1 localhost\n", "mode": 0o644},
    "./etc/link": {"type": tarfile.SYMTYPE, "linkname": "hosts"},
}


def packed(path: Path, members: dict[str, dict[str, Any]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, values in members.items():
            member = tarfile.TarInfo(name)
            content = values.get("content", b"")
            member.size = len(content)
            for key in values.keys() - {"content"}:
                setattr(member, key, values[key])
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("./etc/hosts", {"content": b"127.0.0.2 localhost\n"}, "etc/hosts: content, from byte 8 on"),
        ("./etc/hosts", {"content": b"127.0.0.1"}, "etc/hosts: size is 20 and 9"),
        ("./etc/hosts", {"mode": 0o600}, "etc/hosts: mode is 0644 and 0600"),
        ("./etc/hosts", {"mtime": 5}, "etc/hosts: mtime is 0 and 5"),
        ("./etc/link", {"linkname": "group"}, "etc/link: linkname is 'hosts' and 'group'"),
        ("./etc/link", {"pax_headers": {"SCHILY.xattr.user.x": "1"}}, "etc/link: pax_headers is {} and "),
    ],
)
def test_the_first_member_that_differs_is_named(
    tmp_path: Path, name: str, change: dict[str, Any], said: str
) -> None:
    one = packed(tmp_path / "one.tar", MEMBERS)
    other = packed(tmp_path / "other.tar", {**MEMBERS, name: {**MEMBERS[name], **change}})
    assert (compare.packages(one, other) or "").startswith(said)
    assert compare.packages(one, one) is None


@pytest.mark.parametrize("lacking", list(MEMBERS))
def test_a_member_that_one_lacks_is_named(tmp_path: Path, lacking: str) -> None:
    one = packed(tmp_path / "one.tar", MEMBERS)
    other = packed(tmp_path / "other.tar", {name: MEMBERS[name] for name in MEMBERS if name != lacking})
    said = f"{lacking.removeprefix('./').rstrip('/')}: only in one of them"
    assert compare.packages(one, other) == compare.packages(other, one) == said


@given(st.binary(), st.binary())
def test_the_first_difference_is_the_first(left: bytes, right: bytes) -> None:
    at = compare.first_difference(left, right)
    if at is None:
        assert left == right
    else:
        assert left[:at] == right[:at]
        assert left[at : at + 1] != right[at : at + 1]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (100, "the partition table or boot sector, byte 100"),
        (MIB + 7, "partition bios, byte 7"),
        (2 * MIB, "partition esp, byte 0"),
    ],
)
def test_a_byte_of_a_disk_is_told_by_its_partition(tmp_path: Path, at: int, said: str) -> None:
    one, other = tmp_path / "one.raw", tmp_path / "other.raw"
    for path in (one, other):
        with path.open("wb") as file:
            file.truncate(disk_mib(8) * MIB)
    with other.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    assert compare.disks(one, other, Tools(None)) == said
    assert compare.disks(one, one, Tools(None)) is None
    with other.open("r+b") as file:
        file.truncate(disk_mib(9) * MIB)
    assert "size of the disk" in (compare.disks(one, other, Tools(None)) or "")


def test_the_partitions_are_found_again_from_the_size_of_the_disk() -> None:
    assert compare.partitions_of(disk_mib(1536) * MIB) == layout(1536)
