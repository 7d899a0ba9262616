# SPDX-License-Identifier: GPL-2.0-or-later
"""First boot waits for the disks and cards that its answers name, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.firstboot import devices
from appliance.firstboot.answers import parse_answers
from appliance.lab.pair import ROLES, answers

MAC = "52:54:00:09:01:0b"


class Machine:
    """Its devices are files; something may happen each time somebody has waited."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.cards = folder / "virtio-data", folder / "net"
        self.cards.mkdir()
        self.now, self.told, self.ran = 0.0, list[str](), list[object]()
        self.then: Callable[[], None] = lambda: None

    def plug_in(self, card: str, mac: str = MAC) -> None:
        (self.cards / card).mkdir()
        (self.cards / card / "address").write_text(f"{mac}\n")

    def sleep(self, for_s: float) -> None:
        self.now += for_s
        self.then()

    def monotonic(self) -> float:
        return self.now

    def run(self, argv: list[str], **_how: object) -> None:
        self.ran.append(argv[:2])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(devices, "time", machine)
    monkeypatch.setattr(devices, "run", machine.run)
    monkeypatch.setattr(devices, "_NET", machine.cards)
    return machine


def test_what_is_there_is_not_waited_for(machine: Machine) -> None:
    machine.disk.touch()
    machine.plug_in("enp0s2")
    assert devices.wait_for((str(machine.disk), MAC, "enp0s2"), machine.told.append) == ()
    assert devices.wait_for((), machine.told.append) == ()
    assert (machine.now, machine.told, machine.ran) == (0.0, [], [])


def test_what_comes_up_late_is_waited_for_until_it_has_its_names(machine: Machine) -> None:
    def then() -> None:
        if machine.now == 5.0:
            machine.disk.touch()
        if machine.now == 7.0:
            machine.plug_in("eth0")

    machine.then = then
    assert devices.wait_for((str(machine.disk), MAC), machine.told.append) == ()
    assert machine.now == 7.0
    assert machine.told == [f"waiting up to 30 s for {machine.disk} and {MAC}"]
    assert machine.ran == [["udevadm", "settle"]]


def test_what_never_comes_is_told_after_half_a_minute(machine: Machine) -> None:
    machine.plug_in("enp0s2", "52:54:00:09:02:0b")
    # No card at all, but it stands beside them.
    (machine.cards / "bonding_masters").touch()
    assert devices.wait_for(("enp0s2", MAC, "enp0s3"), machine.told.append) == (MAC, "enp0s3")
    assert machine.now == devices.WAIT_S
    assert machine.told[-1] == f"not there after 30 s: {MAC} and enp0s3"


def test_what_answers_to_the_pages_name() -> None:
    pages = {
        "name": {"name": "alpha"},
        "link.enp0s2": {"address4": "10.9.1.11/24"},
        "link.enp0s3": {"use": "unused"},
        "disk": {"disk": "/dev/disk/by-id/virtio-data"},
    }
    assert devices.named(pages) == ("/dev/disk/by-id/virtio-data", "enp0s2")
    assert devices.named({"name": {"name": "alpha"}, "disk": {}}) == ()


def test_what_answers_for_all_at_once_name() -> None:
    macs = (MAC, "52:54:00:09:02:0b")
    alpha, witness = (answers(role) for role in (ROLES[0], ROLES[2]))
    assert parse_answers(alpha).devices == ("/dev/disk/by-id/virtio-data", *macs)
    assert "/dev/disk/by-id/virtio-data" not in parse_answers(witness).devices
    # What first boot makes of the disk that is named for this machine cannot be there before.
    own = alpha.replace('"/dev/disk/by-id/virtio-data"', '"/dev/disk/by-id/pairkeep-data"')
    assert parse_answers(f'disk = "/dev/sdb"\n{own}').devices == ("/dev/sdb", *macs)
