# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import hashlib
import tarfile
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from appliance.build import formats
from appliance.build.image import Image

OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"


@pytest.fixture
def disk(tmp_path: Path) -> formats.Disk:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(4096))
    image = Image("witness", "ab" * 10, tmp_path, raw, raw, raw, 1700000000, {})
    return formats.Disk(image, raw, "pairkeep-witness-abababab")


@pytest.fixture
def ova(disk: formats.Disk, tmp_path: Path) -> Path:
    packed = tmp_path / "packed.vmdk"
    packed.write_bytes(b"a disk")
    formats.ova(disk, tmp_path / "out.ova", packed)
    return tmp_path / "out.ova"


def contents(ova: Path) -> dict[str, bytes]:
    with tarfile.open(ova) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_an_ova_has_descriptor_sums_and_disk_in_the_order_that_importers_want(ova: Path) -> None:
    stem = "pairkeep-witness-abababab"
    assert list(contents(ova)) == [f"{stem}.ovf", f"{stem}.mf", f"{stem}.vmdk"]
    assert ova.read_bytes()[257:265] == b"ustar\x0000", "no extensions of GNU's or POSIX's later tar"


def test_the_sums_are_those_of_the_files(ova: Path) -> None:
    descriptor, sums, disk = contents(ova).items()
    assert sums[1].decode().splitlines() == [
        f"SHA256({name})= {hashlib.sha256(content).hexdigest()}" for name, content in (descriptor, disk)
    ]


def test_an_ova_is_the_same_each_time(disk: formats.Disk, ova: Path, tmp_path: Path) -> None:
    formats.ova(disk, tmp_path / "again.ova", tmp_path / "packed.vmdk")
    assert (tmp_path / "again.ova").read_bytes() == ova.read_bytes()


def test_the_descriptor_keeps_to_the_rules_of_its_importers(ova: Path) -> None:
    root = ET.fromstring(next(iter(contents(ova).values())))
    # DSP0243: references, then sections, then the machine; every section tells what it is for.
    assert [child.tag.removeprefix(OVF) for child in root] == [
        "References",
        "DiskSection",
        "NetworkSection",
        "VirtualSystem",
    ]
    for section in root.iter():
        if section.tag.endswith("Section"):
            assert section[0].tag == f"{OVF}Info"
    files = {file.get(f"{OVF}id"): file for file in root.iter(f"{OVF}File")}
    disks = {disk.get(f"{OVF}diskId"): disk for disk in root.iter(f"{OVF}Disk")}
    assert {disk.get(f"{OVF}fileRef") for disk in disks.values()} == set(files)
    assert files["file1"].get(f"{OVF}size") == str(len(b"a disk"))
    assert disks["disk1"].get(f"{OVF}capacity") == "4096"
    networks = {network.get(f"{OVF}name") for network in root.iter(f"{OVF}Network")}
    items = list(root.iter(f"{OVF}Item"))
    # CIM's schema is a sequence in the order of the alphabet, and VMware refuses any other.
    for item in items:
        names = [element.tag for element in item]
        assert names == sorted(names)
    numbers = [item.findtext(f"{RASD}InstanceID") for item in items]
    assert len(set(numbers)) == len(numbers)
    for item in items:
        assert item.findtext(f"{RASD}Parent") in (None, *numbers)
        if (resource := item.findtext(f"{RASD}HostResource")) is not None:
            assert resource.removeprefix("ovf:/disk/") in disks
    assert {item.findtext(f"{RASD}Connection") for item in items} - {None} == networks
    # Processors, memory, a controller, a disk, and a card for each network.
    assert [item.findtext(f"{RASD}ResourceType") for item in items] == ["3", "4", "6", "17", "10", "10"]


def test_the_domain_takes_the_compressed_disk(disk: formats.Disk, tmp_path: Path) -> None:
    formats.libvirt(disk, tmp_path / "out.xml")
    root = ET.parse(tmp_path / "out.xml").getroot()
    source = root.find("devices/disk/source")
    assert source is not None
    assert source.get("file") == "/var/lib/libvirt/images/pairkeep-witness-abababab.qcow2"
    assert root.findtext("name") == "pairkeep-witness"
    assert len(root.findall("devices/interface")) == len(formats.NETWORKS)


@pytest.mark.parametrize("found", [b"CID=1", b"CID=deadbeef"])
def test_the_content_id_of_a_vmdk_is_not_random(tmp_path: Path, found: bytes) -> None:
    file = tmp_path / "disk.vmdk"
    rest = b'\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
    text = b"# Disk DescriptorFile\nversion=1\n" + found + rest
    file.write_bytes(b"KDMV".ljust(512, b"\0") + text.ljust(20 * 512, b"\0") + b"grains")
    content_id = uuid.uuid4().hex[:8]
    formats._settle_content_id(file, content_id)
    after = file.read_bytes()
    assert after[512:].rstrip(b"\0").startswith(text.replace(found + b"\n", f"CID={content_id}\n".encode(), 1))
    assert after[:512] == b"KDMV".ljust(512, b"\0")
    assert after[21 * 512 :] == b"grains"
