# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.build import disk
from appliance.build.identity import uuid_of


@given(st.integers(min_value=256, max_value=1024 * 1024))
def test_partitions_follow_each_other_and_leave_room_for_both_tables(root_mib: int) -> None:
    at = 1
    for part in disk.layout(root_mib):
        assert part.start == at
        at += part.size
    assert disk.disk_mib(root_mib) == at + 1
    assert disk.layout(root_mib)[-1].size == root_mib


def test_the_table_names_every_partition_by_uuids_of_its_own() -> None:
    lines = disk.table("key", disk.layout(1024)).splitlines()
    assert lines[:3] == ["label: gpt", f"label-id: {uuid_of('key', 'disk')}", "unit: sectors"]
    assert lines[5] == (
        "start=86016, size=2097152, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, "
        f'uuid={uuid_of("key", "partition", "root")}, name="root"'
    )
    assert disk.table("key", disk.layout(1024)) != disk.table("other", disk.layout(1024))


@pytest.mark.parametrize("pieces", [[], [(0, b"a")], [(5 << 20, b"b" * 5000)], [(0, b"a"), (9 << 20, b"z")]])
def test_copies_keep_what_is_there_and_the_holes(tmp_path: Path, pieces: list[tuple[int, bytes]]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(16 << 20)
        for at, data in pieces:
            file.seek(at)
            file.write(data)
    with target.open("w+b") as file:
        file.truncate(20 << 20)
        disk.copy_sparse(source, file.fileno(), 1 << 20)
    assert target.read_bytes() == bytes(1 << 20) + source.read_bytes() + bytes(3 << 20)
    assert target.stat().st_blocks * 512 < 1 << 20
