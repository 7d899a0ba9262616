# SPDX-License-Identifier: GPL-2.0-or-later
"""A raw disk as the files that hypervisors take: qcow2, VMDK, OVA, a libvirt domain."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import jinja2

from appliance.build.identity import uuid_of
from appliance.build.image import Image
from appliance.build.layers import sha256_of
from appliance.build.tools import Tools
from appliance.errors import PairkeepError
from appliance.run import run

# What a machine gets that is made by a double click; a person may change it there.
CPUS = 2
MEMORY_MIB = 1024
# Two, as a cluster has links; named for what goes over them.
NETWORKS = ("service", "replication")

# The text part of a VMDK begins with the second sector and has room for this many. (qemu: block/vmdk.c)
_DESCRIPTOR_AT = 512
_DESCRIPTOR_BYTES = 20 * 512
_CID = re.compile(rb"(?m)^CID=[0-9a-f]{1,8}$")


@dataclass(frozen=True)
class Disk:
    """A finished raw disk and what is made of it: ``stem`` begins the names of all files."""

    image: Image
    raw: Path
    stem: str


def qcow2(disk: Disk, target: Path, tools: Tools) -> None:
    """A qcow2 file, compressed with zstd: QEMU 5.1 and newer."""
    words = ("convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd")
    run([*tools.argv("qemu-img"), *words, disk.raw, target])


def vmdk(disk: Disk, target: Path, tools: Tools) -> None:
    """A stream-optimized VMDK, the kind that can be in an OVA."""
    words = ("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic")
    run([*tools.argv("qemu-img"), *words, disk.raw, target])
    _settle_content_id(target, uuid_of(disk.image.key, "vmdk").hex[:8])


def ova(disk: Disk, target: Path, packed: Path) -> None:
    """An OVA of the VMDK ``packed``: descriptor, sums, disk, in the order that importers want (DSP0243, 5.3)."""
    inside = f"{disk.stem}.vmdk"  # as the VMDK itself says that it is called
    descriptor = ovf(disk, inside, packed).encode()
    sums = (
        f"SHA256({disk.stem}.ovf)= {hashlib.sha256(descriptor).hexdigest()}\n"
        f"SHA256({inside})= {sha256_of(packed)}\n"
    )
    # POSIX's oldest form, as the standard says.
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in ((f"{disk.stem}.ovf", descriptor), (f"{disk.stem}.mf", sums.encode())):
            archive.addfile(_member(name, len(content), disk.image.epoch), io.BytesIO(content))
        with packed.open("rb") as file:
            archive.addfile(_member(inside, packed.stat().st_size, disk.image.epoch), file)


def ovf(disk: Disk, inside: str, packed: Path) -> str:
    """The OVF descriptor of the machine whose disk is ``packed``, called ``inside`` in the archive."""
    return _render(
        "machine.ovf.j2",
        disk,
        file=inside,
        file_bytes=packed.stat().st_size,
        disk_bytes=disk.raw.stat().st_size,
    )


def libvirt(disk: Disk, target: Path) -> None:
    """A domain for ``virsh define``, with the qcow2 file where libvirt keeps disks."""
    target.write_text(_render("domain.xml.j2", disk, file=f"/var/lib/libvirt/images/{disk.stem}.qcow2"))


def _render(template: str, disk: Disk, **more: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        name=f"pairkeep-{disk.image.name}", cpus=CPUS, memory_mib=MEMORY_MIB, networks=NETWORKS, **more
    )


def _settle_content_id(file: Path, content_id: str) -> None:
    """Replace the content ID that qemu-img chose at random by one that follows from the image."""
    with file.open("r+b") as handle:
        handle.seek(_DESCRIPTOR_AT)
        text = handle.read(_DESCRIPTOR_BYTES)
        found = _CID.search(text)
        if found is None:
            raise PairkeepError(f"{file} has no content ID")
        settled = text[: found.start()] + f"CID={content_id}".encode() + text[found.end() :]
        # An ID chosen at random may be shorter: what follows the text is zeros.
        handle.seek(_DESCRIPTOR_AT)
        handle.write(settled[:_DESCRIPTOR_BYTES].ljust(_DESCRIPTOR_BYTES, b"\0"))


def _member(name: str, size: int, epoch: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, epoch, 0o644
    return member
