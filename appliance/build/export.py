# SPDX-License-Identifier: GPL-2.0-or-later
"""An image made ready to be given away: disks in the formats that were asked for, what is in them, and sums."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from appliance.build import disk, folders, formats, inventory, layers, spec
from appliance.build.image import Image
from appliance.build.progress import Progress
from appliance.build.requirements import require_programs, require_space
from appliance.build.tools import Tools
from appliance.errors import InputError
from appliance.run import run

FORMATS = ("qcow2", "raw", "vmdk", "ova", "libvirt")
SUMS = "SHA256SUMS"
# What `ssh-keygen -Y verify` is to be told as well: signatures of one purpose serve no other.
NAMESPACE = "file"
_SPACE_MIB = 3000
_STEM = "pairkeep-"


def check(name: str, wanted: Sequence[str], key: Path | None, target: Path | None = None) -> None:
    """Raise InputError when the image ``name`` cannot be exported like this; nothing is changed.

    ``target`` is the folder that a person named: it may hold an export, which is replaced, and nothing else.
    """
    described = spec.load(name, folders.project_folder())
    for one in wanted:
        if one not in FORMATS:
            raise InputError(f"format {one!r}: expected one of: {', '.join(FORMATS)}")
    if "ova" in wanted and described.kernel != "generic":
        raise InputError(
            f"the image {name} has the kernel {described.kernel!r}, which lacks drivers of VirtualBox's machines",
            hint='an OVA needs an image with kernel = "generic", as database-metal and witness-metal have',
        )
    if key is not None:
        require_programs(("ssh-keygen",))
        if not key.is_file():
            raise InputError(f"there is no key {key}", hint="to make one: ssh-keygen -t ed25519 -f KEY")
    if target is not None and (alien := _alien(target)) is not None:
        raise InputError(
            f"the folder {target} is replaced as a whole, and {alien}",
            hint="name a folder that is not there yet, is empty, or has an export and nothing else in it",
        )


def folder_of(image: Image) -> Path:
    """Where an export goes that was not told otherwise."""
    return folders.build_folder() / "export" / f"{image.name}-{image.key[:8]}"


def export(
    image: Image, target: Path, wanted: Sequence[str], key: Path | None, tools: Tools, progress: Progress
) -> list[Path]:
    """Write ``image`` in the formats ``wanted`` into the folder ``target``, and return all files there.

    What stood in ``target`` is replaced, in one step, at the end. ``key`` is an SSH key that signs the sums.
    """
    require_space(target.parent, _SPACE_MIB, f"exporting {image.name}")
    with contextlib.ExitStack() as stack:
        if target == folder_of(image):
            # A folder that a person named may hold anything, so what is left beside it of a killed export stays.
            stack.enter_context(layers.locked(target.with_name(f".{image.name}.lock"), progress))
            layers.sweep(target.parent, f"{image.name}-{'[0-9a-f]' * 8}")
        making = stack.enter_context(layers.atomic_folder(target))
        stem = f"{_STEM}{image.name}-{image.key[:8]}"
        raw = making / f"{stem}.raw"
        with progress.phase(f"disk of {image.name}"):
            disk.make(image, tools, raw)
        _convert(formats.Disk(image, raw, stem), set(wanted), tools, progress)
        packages = inventory.of_image(image, tools)
        (making / f"{stem}.packages").write_text(inventory.listing(packages))
        (making / f"{stem}.cdx.json").write_text(inventory.sbom(image, packages))
        write_sums(making)
        if key is not None:
            sign(making, key)
    return sorted(target.iterdir())


def write_sums(folder: Path) -> None:
    """Write the sums of all files in ``folder``, for ``sha256sum --check``."""
    lines = [f"{layers.sha256_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines))


def sign(folder: Path, key: Path) -> None:
    """Sign the sums in ``folder`` with the SSH key in the file ``key``.

    With ssh-keygen: whoever runs servers has such a key and the program, no key ring is needed, and a
    signature by an Ed25519 key is the same each time.
    """
    run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, folder / SUMS])


def _alien(target: Path) -> str | None:
    """What at ``target`` is not of an earlier export, in words; None where all of it is, or nothing is there."""
    if not target.exists():
        return None
    if not target.is_dir():
        return "it is a file"
    sums = target / SUMS
    lines = sums.read_text(errors="replace").splitlines() if sums.is_file() else []
    listed = {name for line in lines if (name := line.partition("  ")[2]).startswith(_STEM)}
    for path in sorted(target.iterdir()):
        if not path.is_file() or path.name not in {*listed, SUMS, f"{SUMS}.sig"}:
            return f"{path.name} in it is not of an export"
    return None


def _convert(made: formats.Disk, wanted: set[str], tools: Tools, progress: Progress) -> None:
    """Leave the formats ``wanted`` beside the raw disk, and that one only if it is among them."""
    files = {kind: made.raw.with_suffix(f".{kind}") for kind in ("qcow2", "vmdk", "ova")}
    if wanted & {"qcow2", "libvirt"}:
        with progress.phase("qcow2"):
            formats.qcow2(made, files["qcow2"], tools)
    if wanted & {"vmdk", "ova"}:
        with progress.phase("vmdk"):
            formats.vmdk(made, files["vmdk"], tools)
    if "ova" in wanted:
        formats.ova(made, files["ova"], files["vmdk"])
    if "libvirt" in wanted:
        formats.libvirt(made, made.raw.with_suffix(".xml"))
    if "vmdk" not in wanted:
        files["vmdk"].unlink(missing_ok=True)
    if "raw" not in wanted:
        made.raw.unlink()
