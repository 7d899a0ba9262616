# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved labs: folders that hold, for each machine, its frozen disks and its memory.

A snapshot is only ever read. Whoever restores it starts a new QEMU with *new* overlays over the frozen
disks and lets it read the memory file; so a restored machine is the same whether its predecessor ran,
was paused, or had lost its power, and any number of labs can run from one snapshot.

    FOLDER/snapshot.json           the topology; written last
    FOLDER/MACHINE/NODE.qcow2      a disk as it was
    FOLDER/MACHINE/NODE.new.qcow2  an empty overlay over it: copying this is all that a restore does
    FOLDER/MACHINE/memory          QEMU's migration stream ("mapped-ram": each page at its own place)
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from appliance.errors import InputError
from appliance.lab.qemu import ROOT_NODE, disk_file, disk_nodes
from appliance.lab.spec import BootImage, MachineSpec, Topology
from appliance.run import run

DESCRIPTION = "snapshot.json"
MEMORY = "memory"
_LATELY_S = 3600.0


def load(folder: Path) -> Topology:
    """The topology of the snapshot in ``folder``; raises InputError when there is no whole one."""
    try:
        return Topology.loads((folder / DESCRIPTION).read_text())
    except FileNotFoundError as error:
        raise InputError(f"there is no snapshot {folder.name!r}") from error


def create_disks(topology: Topology, spec: MachineSpec, folder: Path) -> None:
    """New disks for a machine that boots: an overlay over its image, and blank data disks.

    Disks that are there already stay as they are.
    """
    for node, size_mib in ((ROOT_NODE, None), *((disk.serial, disk.size_mib) for disk in spec.disks)):
        if (folder / disk_file(node)).exists():
            continue
        root = topology.images[spec.image].root
        how = ("-b", str(root), "-F", "raw") if size_mib is None else ()
        size = () if size_mib is None else (f"{size_mib}M",)
        run([*topology.qemu_img, "create", "-q", "-f", "qcow2", *how, folder / disk_file(node), *size])


def freeze_disks(topology: Topology, spec: MachineSpec, folder: Path, target: Path, final: Path) -> None:
    """Move the disks of a machine that is off from ``folder`` to ``target``, and make the empty overlays.

    ``final`` is where ``target`` will be once the snapshot is whole: the overlays refer to that place.
    """
    for node in disk_nodes(spec):
        frozen = target / disk_file(node)
        size = _virtual_size(folder / disk_file(node))
        (folder / disk_file(node)).rename(frozen)
        overlay = target / f"{node}.new.qcow2"
        # -u: the backing file is not where it will be, so nothing may be read from it yet.
        backing = ("-u", "-b", str(final / disk_file(node)), "-F", "qcow2")
        run([*topology.qemu_img, "create", "-q", "-f", "qcow2", *backing, overlay, str(size)])


def lay_out_disks(spec: MachineSpec, source: Path, folder: Path) -> None:
    """Disks for a machine that is restored from ``source`` (the snapshot's folder of this machine)."""
    for node in disk_nodes(spec):
        shutil.copyfile(source / f"{node}.new.qcow2", folder / disk_file(node))


def pin(image: BootImage, folder: Path) -> BootImage:
    """The same image under names in ``folder`` that outlive the next build of it.

    Hard links, so they cost nothing; copies where the file system has none between the two places. An image that
    was damaged and is made again has the same key: what is pinned is replaced by it.
    """
    home = folder / image.key
    home.mkdir(parents=True, exist_ok=True)
    os.utime(home)
    kernel, initrd, root = home / "vmlinuz", home / "initrd", home / "root.raw"
    for source, target in ((image.kernel, kernel), (image.initrd, initrd), (image.root, root)):
        if not target.exists() or _stamp(source) != _stamp(target):
            _link(source, target)
    return BootImage(image.key, kernel, initrd, root)


def last_of(folder: Path, name: str) -> Path | None:
    """The whole snapshot ``name.NUMBER`` in ``folder`` that has the highest number; None when there is none."""
    whole = sorted((path.parent for path in folder.glob(f"{name}.*/{DESCRIPTION}")), key=number_of)
    return whole[-1] if whole else None


def number_of(snapshot: Path) -> int:
    return int(snapshot.suffix[1:])


def prune(folder: Path, keep: Collection[Path], newest: int) -> None:
    """Delete the snapshots in ``folder``, but for those (folders) in ``keep`` and the ``newest`` used last.

    One beside which there is another with a higher number is needed by nobody who comes. But another process may
    have found it just before, and be about to start machines from it.
    """
    whole = [path.parent for path in folder.glob(f"*/{DESCRIPTION}")]
    last = {last_of(folder, path.stem) for path in whole}
    current = sorted((path for path in whole if path in last), key=_used, reverse=True)
    replaced = [path for path in whole if path not in last and time.time() - _used(path) > _LATELY_S]
    for path in (*current[newest:], *replaced):
        if path not in keep:
            shutil.rmtree(path)


def _used(snapshot: Path) -> float:
    return (snapshot / DESCRIPTION).stat().st_mtime


def prune_images(folder: Path, keep: Collection[Path]) -> None:
    """Delete the pinned images in ``folder`` but for those (folders) in ``keep``.

    One that was pinned lately stays too: another process may be about to start machines from it.
    """
    for home in folder.iterdir():
        if home not in keep and time.time() - home.stat().st_mtime > _LATELY_S:
            shutil.rmtree(home)


def _link(source: Path, target: Path) -> None:
    making = target.with_suffix(f".{os.getpid()}")
    try:
        os.link(source.resolve(), making)
    except OSError:
        run(["cp", "--sparse=always", "--reflink=auto", "--preserve=timestamps", source, making])
    making.rename(target)


def _stamp(file: Path) -> tuple[int, int]:
    """What tells a file from one that was made anew, and is the same of a copy."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _virtual_size(disk: Path) -> int:
    """The size in bytes of a qcow2 disk (bytes 24 to 31 of its header, QEMU docs/interop/qcow2.rst)."""
    with disk.open("rb") as file:
        return int.from_bytes(file.read(32)[24:32], "big")
