# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole disk that boots by itself under BIOS and UEFI: GPT, boot loader, and an image's root file system.

Made of files only: no root, no loop devices, no mounts. The boot loader's partitions hold just enough of GRUB
to find the root file system, by its UUID; kernel, initrd and grub.cfg are read from there. Under UEFI it is
Debian's signed shim and GRUB, so that Secure Boot may stay on.
"""

from __future__ import annotations

import os
import struct
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.build.identity import uuid_of
from appliance.build.image import Image
from appliance.build.tools import Tools
from appliance.errors import PairkeepError
from appliance.run import run

SECTOR = 512
MIB = 1024 * 1024
# The smallest that FAT32 may be is 33 MiB (65525 clusters of a sector each, and two tables of them).
ESP_MIB = 40

# Where SeaBIOS's sort of firmware looks: offsets in GRUB's boot.img and core.img (grub: boot/i386/pc/boot.S,
# include/grub/i386/pc/boot.h; kernel/i386/pc/diskboot.S).
_BOOT_CODE = 440
_KERNEL_SECTOR = 0x5C
_DRIVE_CHECK = 0x66
_FIRST_BLOCK_LIST = 500

# What grub.cfg uses, and what finds it.
_BIOS_MODULES = (
    *("biosdisk", "part_gpt", "ext2", "search_fs_uuid", "normal", "configfile"),
    *("linux", "probe", "serial", "terminal", "test", "echo", "ls", "cat", "reboot", "halt"),
)
# Debian's signed GRUB looks for its grub.cfg here. (grub2: debian/build-efi-images)
_UEFI_CONFIG = "EFI/debian/grub.cfg"


@dataclass(frozen=True)
class Partition:
    """One partition: ``start`` and ``size`` in MiB, the GPT's type, and a name."""

    name: str
    type: uuid.UUID
    start: int
    size: int


def layout(root_mib: int) -> tuple[Partition, ...]:
    """The partitions of a disk whose root file system has ``root_mib``.

    The root is the last one, so that it can grow with the disk; its type says what it is for, which is how
    systemd-repart knows it. (Discoverable Partitions Specification)
    """
    return (
        Partition("bios", uuid.UUID("21686148-6449-6e6f-744e-656564454649"), 1, 1),
        Partition("esp", uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), 2, ESP_MIB),
        Partition("root", uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"), 2 + ESP_MIB, root_mib),
    )


def disk_mib(root_mib: int) -> int:
    """The size of the whole disk: the partitions, and the table's copy behind the last one."""
    last = layout(root_mib)[-1]
    return last.start + last.size + 1


def table(key: str, partitions: tuple[Partition, ...]) -> str:
    """The partition table as sfdisk(8) reads it; all its UUIDs follow from the image's ``key``."""
    lines = ["label: gpt", f"label-id: {uuid_of(key, 'disk')}", "unit: sectors"]
    per_mib = MIB // SECTOR
    lines += [
        f"start={part.start * per_mib}, size={part.size * per_mib}, type={part.type}, "
        f'uuid={uuid_of(key, "partition", part.name)}, name="{part.name}"'
        for part in partitions
    ]
    return "\n".join(lines) + "\n"


def make(image: Image, tools: Tools, target: Path) -> None:
    """Write the disk of ``image`` to the new sparse file ``target``; takes seconds. Raises RunError."""
    root_mib = image.root.stat().st_size // MIB
    partitions = {part.name: part for part in layout(root_mib)}
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        work = Path(name)
        finder = work / "finder.cfg"
        finder.write_text(_finder(image.key))
        with target.open("wb") as disk:
            disk.truncate(disk_mib(root_mib) * MIB)
        run(
            [*tools.argv("sfdisk"), "--quiet", "--no-reread", "--no-tell-kernel", target],
            stdin=table(image.key, layout(root_mib)),
        )
        esp = work / "esp.img"
        _make_esp(image, tools, finder, esp)
        core = _bios_core(tools, finder, work)
        with target.open("r+b") as disk:
            _write_bios(disk.fileno(), tools, core, partitions["bios"])
            copy_sparse(esp, disk.fileno(), partitions["esp"].start * MIB)
            copy_sparse(image.root, disk.fileno(), partitions["root"].start * MIB)


def copy_sparse(source: Path, target: int, offset: int) -> None:
    """Copy the data of ``source``, without its holes, to ``offset`` of the file that ``target`` is open for."""
    with source.open("rb") as file:
        for start, end in _data(file.fileno()):
            at = start
            while at < end:
                at += os.copy_file_range(file.fileno(), target, end - at, at, offset + at)


def _data(descriptor: int) -> Iterator[tuple[int, int]]:
    """The byte ranges of a sparse file that hold data."""
    size = os.fstat(descriptor).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _finder(key: str) -> str:
    """The grub.cfg of the boot loader's own partitions: go on with the one of the root file system."""
    return (
        f"search.fs_uuid {uuid_of(key)} root\n"
        "set prefix=($root)/boot/grub\n"
        "configfile $prefix/grub.cfg\n"
    )  # fmt: skip


def _make_esp(image: Image, tools: Tools, finder: Path, esp: Path) -> None:
    with esp.open("wb") as file:
        file.truncate(ESP_MIB * MIB)
    volume = uuid_of(image.key, "esp").hex[:8]
    words = ("-F", "32", "-s", "1", "--invariant", "-n", "PAIRKEEP", "-i", volume)
    run([*tools.argv("mkfs.vfat"), *words, esp])
    files = {
        "EFI/BOOT/BOOTX64.EFI": tools.path("usr/lib/shim/shimx64.efi.signed"),
        "EFI/BOOT/grubx64.efi": tools.path("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
        _UEFI_CONFIG: finder,
    }
    folders = sorted({str(parent) for name in files for parent in Path(name).parents[:-1]})
    # mtools dates files by the zone of whoever calls it, unless told.
    env = {"SOURCE_DATE_EPOCH": str(image.epoch), "TZ": "UTC", "MTOOLSRC": os.devnull}
    run([*tools.argv("mmd"), "-i", esp, *(f"::{folder}" for folder in folders)], env=env)
    for name, source in files.items():
        run([*tools.argv("mcopy"), "-i", esp, source, f"::{name}"], env=env)


def _bios_core(tools: Tools, finder: Path, work: Path) -> bytes:
    core = work / "core.img"
    modules = tools.path("usr/lib/grub/i386-pc")
    words = ("-O", "i386-pc", "-d", modules, "-c", finder, "-p", "/boot/grub", "-o", core)
    run([*tools.argv("grub-mkimage"), *words, *_BIOS_MODULES])
    return core.read_bytes()


def _write_bios(disk: int, tools: Tools, core: bytes, place: Partition) -> None:
    """What grub-install does to a disk with a BIOS boot partition (grub: util/setup.c)."""
    if len(core) > place.size * MIB:
        raise PairkeepError(f"GRUB's core.img has {len(core)} bytes and does not fit into its partition")
    first = place.start * MIB // SECTOR
    boot = bytearray(tools.path("usr/lib/grub/i386-pc/boot.img").read_bytes())
    struct.pack_into("<Q", boot, _KERNEL_SECTOR, first)
    # Trust the drive that the firmware names: the check is for floppy disks.
    boot[_DRIVE_CHECK : _DRIVE_CHECK + 2] = b"\x90\x90"
    patched = bytearray(core)
    struct.pack_into("<Q", patched, _FIRST_BLOCK_LIST, first + 1)
    os.pwrite(disk, boot[:_BOOT_CODE], 0)
    os.pwrite(disk, patched, first * SECTOR)
