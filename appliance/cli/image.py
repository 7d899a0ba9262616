# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep image`: build images, and say which there are."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from appliance.cli.parsers import add_json, command, print_json

if TYPE_CHECKING:
    from appliance.build.image import Image
    from appliance.cli.parsers import Subparsers


def add(subparsers: Subparsers) -> None:
    """Add ``image build``, ``image list``, and what makes images ready for others."""
    image = command(subparsers, "image", "Build appliance images")
    actions = image.add_subparsers(metavar="ACTION", required=True)

    build = command(actions, "build", "Build an image, or do nothing when it is up to date")
    build.add_argument("name", metavar="NAME", help="an image that images/NAME.toml describes")
    build.add_argument("--refresh", action="store_true", help="fetch the packages anew, to get updates")
    add_json(build)
    build.set_defaults(run=run_build)

    export = command(
        actions, "export", "Make disks that boot by themselves, with sums and a list of what is in them"
    )
    export.add_argument("name", metavar="NAME", help="an image; it is built first where it is not up to date")
    export.add_argument(
        "--format",
        action="append",
        metavar="FORMAT",
        help="qcow2 (default), raw, vmdk, ova, or libvirt (a domain for virsh, and qcow2); may be given again",
    )
    export.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="an earlier export there is replaced, and anything else refused; default: below build/export",
    )
    export.add_argument("--sign", type=Path, metavar="KEY", help="an SSH key by which SHA256SUMS is signed")
    add_json(export)
    export.set_defaults(run=run_export)

    boot = command(actions, "boot", "Boot an image's disk as a user's machine would, with its serial line here")
    boot.add_argument("name", metavar="NAME", help="an image; it is built first where it is not up to date")
    boot.add_argument("--firmware", choices=("bios", "uefi", "secure"), default="bios", help="bios")
    boot.add_argument("--hardware", choices=("virtio", "pc"), default="virtio", help="virtio; pc: IDE and e1000")
    boot.add_argument("--size", type=int, default=8192, metavar="MIB", help="of the disk, to which it grows (8192)")
    boot.set_defaults(run=run_boot)

    reproduce = command(actions, "reproduce", "Build an image twice from nothing, and compare bit for bit")
    reproduce.add_argument("name", metavar="NAME", help="an image that images/NAME.toml describes")
    add_json(reproduce)
    reproduce.set_defaults(run=run_reproduce)

    contents = command(actions, "contents", "Show what fills an image")
    contents.add_argument("name", metavar="NAME", help="an image; it is built first where it is not up to date")
    add_json(contents)
    contents.set_defaults(run=run_contents)

    listing = command(actions, "list", "List the images and whether they are up to date")
    add_json(listing)
    listing.set_defaults(run=run_list)


def run_build(args: argparse.Namespace) -> int:
    """Build one image; standard output gets its folder, or JSON."""
    from appliance.build.image import build
    from appliance.build.progress import Progress

    progress = Progress()
    image, made = build(args.name, progress, refresh=args.refresh)
    if args.json:
        print_json({**_values(image), "made": made, "seconds": progress.seconds})
    else:
        print(f"{image.folder}" + ("" if made else " (up to date)"))
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Export one image; standard output gets the names of the files, or JSON."""
    from appliance.build import export, image, tools
    from appliance.build.progress import Progress

    formats = args.format or ["qcow2"]
    named = args.to and args.to.resolve()
    export.check(args.name, formats, args.sign, named)
    progress = Progress()
    made = image.ensure(args.name, progress)
    target = named or export.folder_of(made)
    files = export.export(made, target, formats, args.sign, tools.ensure(progress), progress)
    if args.json:
        print_json({"name": made.name, "key": made.key, "files": [str(path) for path in files]})
    else:
        print("\n".join(map(str, files)))
    return 0


def run_boot(args: argparse.Namespace) -> int:
    """Boot a copy of an image's disk, joined with this terminal until it is off; nothing of it stays."""
    from appliance.build import disk, folders, image, tools
    from appliance.build.progress import Progress
    from appliance.lab import console, disk_boot
    from appliance.lab.qemu import SERIAL_SOCKET

    progress = Progress()
    programs = tools.ensure(progress)
    made = image.ensure(args.name, progress)
    accelerated_by = disk_boot.accelerator_of(made, programs, progress)
    folder = folders.build_folder() / "lab"
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="boot-", dir=folder) as work:
        raw = Path(work) / "disk.raw"
        disk.make(made, programs, raw)
        with disk_boot.started(
            raw,
            Path(work) / made.name,
            programs,
            accelerated_by,
            firmware=args.firmware,
            hardware=args.hardware,
            size_mib=args.size,
        ) as machine:
            progress.note("to leave, and switch it off: Ctrl and ]")
            machine.wait("its serial line", (machine.folder / SERIAL_SOCKET).exists, 10.0)
            console.attach(machine.folder)
    return 0


def run_reproduce(args: argparse.Namespace) -> int:
    """Build one image twice; says that both are the same, or where they differ first, and then ends with 1."""
    from appliance.build import reproduce, tools
    from appliance.build.progress import Progress

    progress = Progress()
    verdict = reproduce.reproduce(args.name, tools.ensure(progress), progress)
    if args.json:
        print_json({"name": args.name, "sums": verdict.sums, "difference": verdict.difference})
    elif verdict.difference is None:
        print(f"{args.name}: the same, to the last bit: {verdict.sums[0]}")
    else:
        print(f"{args.name}: not the same: {verdict.difference}")
    return 0 if verdict.difference is None else 1


def run_contents(args: argparse.Namespace) -> int:
    """Print packages and their bytes in an image, the largest first, or as JSON."""
    from appliance.build import image
    from appliance.build.contents import contents
    from appliance.build.progress import Progress

    filled = contents(image.packages_of(image.ensure(args.name, Progress())))
    if args.json:
        print_json([{"name": name, "bytes": size} for name, size in filled])
        return 0
    for name, size in filled:
        if size >= 100_000:
            print(f"{size / 1_000_000:8.1f} MB  {name}")
    print(f"{sum(size for _, size in filled) / 1_000_000:8.1f} MB  in all")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """List the images, one a line, or as JSON."""
    from appliance.build.image import list_images

    images = list_images()
    if args.json:
        print_json(
            [
                {"name": name, "built": image is not None, "up_to_date": fresh}
                | ({} if image is None else _values(image))
                for name, image, fresh in images
            ]
        )
        return 0
    for name, image, fresh in images:
        state = "not built" if image is None else "up to date" if fresh else "sources have changed"
        print(f"{name:<12} {state:<22} {'' if image is None else image.key}".rstrip())
    return 0


def _values(image: Image) -> dict[str, object]:
    return {
        "name": image.name,
        "key": image.key,
        "folder": str(image.folder),
        "kernel": str(image.kernel),
        "initrd": str(image.initrd),
        "root": str(image.root),
        "versions": dict(image.versions),
    }
