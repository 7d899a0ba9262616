# SPDX-License-Identifier: GPL-2.0-or-later
"""What breaks a machine's hardware by QMP, and what repairs it, with a QEMU of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from appliance.errors import InputError
from appliance.lab.breakage import Breakage
from appliance.lab.spec import Disk, MachineSpec, Nic

SPEC = MachineSpec("alpha", "database", 768, (Nic(1, ""), Nic(2, "")), (Disk("data", 512),))
NODES = [
    {"node-name": "data", "drv": "qcow2", "file": "data.qcow2", "backing_file": "/saved/data.qcow2"},
    {"node-name": "#b1", "drv": "file", "file": "data.qcow2"},
    {"node-name": "#b2", "drv": "qcow2", "file": "/saved/data.qcow2"},
    {"node-name": "#b3", "drv": "file", "file": "/saved/data.qcow2"},
]


class Qemu:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "query-block":
            return [{"qdev": "/machine/disk", "inserted": {"node-name": "data"}}]
        if name == "query-named-block-nodes":
            return NODES
        self.told.append((name, dict(arguments)))
        return {}


@pytest.fixture
def qemu() -> Qemu:
    return Qemu()


@pytest.fixture
def broken(qemu: Qemu) -> Breakage:
    return Breakage(SPEC, qemu.command)


def test_a_dropped_direction_is_a_filter_and_its_end(qemu: Qemu, broken: Breakage) -> None:
    asyncio.run(broken.set_drop(2, "out", on=True))
    asyncio.run(broken.set_drop(2, "out", on=True))
    assert broken.in_words() == ["network 2 drops out"]
    assert [(name, told["id"]) for name, told in qemu.told] == [
        ("chardev-add", "drop2out"),
        ("object-add", "drop2out"),
    ]
    # What the machine sends is what its netdev receives.
    assert qemu.told[1][1]["queue"] == "rx"
    asyncio.run(broken.mend_all())
    assert [name for name, _ in qemu.told[2:]] == ["object-del", "chardev-remove"]
    assert broken.in_words() == []


def test_errors_come_between_the_disk_and_its_file(qemu: Qemu, broken: Breakage) -> None:
    asyncio.run(broken.set_disk("data", "errors"))
    (_, added), (_, opened) = qemu.told
    assert (added["driver"], added["image"]) == ("blkdebug", "#b1")
    assert {rule["iotype"] for rule in added["inject-error"]} >= {"read", "write", "flush"}
    options = opened["options"][0]
    assert (options["file"], options["backing"]) == ("data-errors", "#b2")
    asyncio.run(broken.set_disk("data", None))
    assert qemu.told[2][1]["options"][0]["file"] == "#b1"
    assert qemu.told[3] == ("blockdev-del", {"node-name": "data-errors"})


def test_a_disk_that_hangs_is_throttled_until_it_is_mended(qemu: Qemu, broken: Breakage) -> None:
    asyncio.run(broken.set_disk("data", "hang"))
    asyncio.run(broken.mend_all())
    assert [(told["id"], told["bps"]) for _, told in qemu.told] == [("/machine/disk", 1), ("/machine/disk", 0)]


def test_what_is_broken_stays_so_when_the_power_comes_back(qemu: Qemu, broken: Breakage) -> None:
    asyncio.run(broken.set_link(1, up=False))
    asyncio.run(broken.set_disk("data", "hang"))
    qemu.told.clear()
    asyncio.run(broken.break_again())
    assert [name for name, _ in qemu.told] == ["set_link", "block_set_io_throttle"]
    broken.forget()
    assert broken.in_words() == []


def test_what_is_not_there_cannot_break(broken: Breakage) -> None:
    with pytest.raises(InputError, match="alpha has no card in network 3"):
        asyncio.run(broken.set_drop(3, "in", on=True))
    with pytest.raises(InputError, match="direction: found 'up', expected in or out"):
        asyncio.run(broken.set_drop(1, "up", on=True))
    with pytest.raises(InputError, match="alpha has no data disk 'root'"):
        asyncio.run(broken.set_disk("root", "hang"))
    with pytest.raises(InputError, match="expected one of errors, hang"):
        asyncio.run(broken.set_disk("data", "melt"))
