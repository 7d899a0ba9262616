# SPDX-License-Identifier: GPL-2.0-or-later
"""Topologies, and the QEMU command lines made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import InputError
from appliance.lab import qemu
from appliance.lab.pair import ROLES, Role
from appliance.lab.spec import BmcSpec, BootImage, Disk, MachineSpec, Network, Nic, Topology

IMAGE = BootImage("k1", Path("/images/vmlinuz"), Path("/images/initrd"), Path("/images/root.raw"))
ALPHA = MachineSpec("alpha", "database", 768, (Nic(1, "52:54:00:09:01:0b"),), (Disk("data", 1024),), "x = 1\n")


@pytest.fixture
def topology() -> Topology:
    return Topology(
        networks=(Network(1, "10.9.1.1/24"), Network(2)),
        machines=(ALPHA,),
        images={"database": IMAGE},
        accelerator="tcg",
        qemu=("qemu-system-x86_64", "-L", "/share"),
        qemu_img=("qemu-img",),
        qemu_version="10",
    )


def test_a_topology_survives_json(topology: Topology) -> None:
    assert Topology.loads(topology.dumps()) == topology


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (replace(ALPHA, name="Alpha-1"), "machine 'Alpha-1': expected up to 12 small letters and digits"),
        (replace(ALPHA, name="a" * 13), "machine 'aaaaaaaaaaaaa': expected up to 12 small letters and digits"),
        (replace(ALPHA, image="san"), "machine alpha: there is no image 'san'"),
        (replace(ALPHA, nics=(Nic(3, ""),)), "machine alpha: there is no network 3"),
        (replace(ALPHA, bmc=BmcSpec(4, "10.9.4.1", "u", "p")), "machine alpha: there is no network 4"),
    ],
)
def test_a_machine_that_does_not_fit_is_refused(topology: Topology, machine: MachineSpec, message: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(topology, machines=(machine,))
    assert caught.value.message == message


def test_two_machines_of_one_name_are_refused(topology: Topology) -> None:
    with pytest.raises(InputError, match="two machines of one name"):
        replace(topology, machines=(ALPHA, ALPHA))


def test_an_unknown_machine_is_answered_with_those_there_are(topology: Topology) -> None:
    with pytest.raises(InputError, match="there is no machine 'gamma', expected one of: alpha"):
        topology.machine("gamma")


def test_the_key_follows_contents_and_not_places(topology: Topology) -> None:
    elsewhere = replace(IMAGE, root=Path("/elsewhere"))
    assert replace(topology, images={"database": elsewhere}, qemu=("other",)).key() == topology.key()


@pytest.mark.parametrize(
    "change",
    [
        {"images": {"database": replace(IMAGE, key="k2")}},
        {"machines": (replace(ALPHA, answers="x = 2\n"),)},
        {"accelerator": "kvm"},
        {"qemu_version": "11"},
    ],
)
def test_the_key_follows_all_that_a_saved_cluster_depends_on(topology: Topology, change: dict[str, object]) -> None:
    assert replace(topology, **change).key() != topology.key()  # type: ignore[arg-type]


def test_a_machine_boots_its_image_with_its_disks_in_order(topology: Topology) -> None:
    words = qemu.argv(topology, ALPHA, life=2, incoming=False)
    assert words[:3] == topology.qemu
    assert _pair(words, "-kernel") == ("-kernel", "/images/vmlinuz")
    assert "root=/dev/vda" in _pair(words, "-append")[1]
    devices = [word for word in words if word.startswith("virtio-blk-pci")]
    assert devices == [
        "virtio-blk-pci,drive=root,serial=root,addr=0x8",
        "virtio-blk-pci,drive=data,serial=data,addr=0x9",
    ]
    assert "-incoming" not in words
    assert _pair(words, "-smbios")[1] == "type=11,path=answers.smbios"
    assert any(word.endswith("file=net1-2.pcap") for word in words)


def test_a_restored_machine_waits_for_its_memory_and_stays_paused(topology: Topology) -> None:
    words = qemu.argv(topology, ALPHA, life=1, incoming=True)
    assert words[-3:] == ("-incoming", "defer", "-S")


def test_a_machine_without_answers_gets_no_credential(topology: Topology) -> None:
    assert "-smbios" not in qemu.argv(topology, replace(ALPHA, answers=None), life=1, incoming=False)


def test_only_tcg_needs_another_clock() -> None:
    assert "clocksource=hpet" in qemu.kernel_arguments("tcg")
    assert "clocksource" not in qemu.kernel_arguments("kvm")


@pytest.mark.parametrize("role", ROLES)
def test_every_tap_has_a_name_the_kernel_takes(role: Role) -> None:
    assert len(qemu.tap_name(role.name, 2)) <= 15


def _pair(words: tuple[str, ...], option: str) -> tuple[str, str]:
    place = words.index(option)
    return words[place], words[place + 1]
