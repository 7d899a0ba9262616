# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep image`: build images, and say which there are."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from appliance.cli.parsers import add_json, command, print_json

if TYPE_CHECKING:
    from appliance.build.image import Image
    from appliance.cli.parsers import Subparsers


def add(subparsers: Subparsers) -> None:
    """Add ``image build`` and ``image list``."""
    image = command(subparsers, "image", "Build appliance images")
    actions = image.add_subparsers(metavar="ACTION", required=True)

    build = command(actions, "build", "Build an image, or do nothing when it is up to date")
    build.add_argument("name", metavar="NAME", help="an image that images/NAME.toml describes")
    build.add_argument("--compress", action="store_true", help="add a compressed root.qcow2, for shipping")
    build.add_argument("--refresh", action="store_true", help="fetch the packages anew, to get updates")
    add_json(build)
    build.set_defaults(run=run_build)

    listing = command(actions, "list", "List the images and whether they are up to date")
    add_json(listing)
    listing.set_defaults(run=run_list)


def run_build(args: argparse.Namespace) -> int:
    """Build one image; standard output gets its folder, or JSON."""
    from appliance.build.image import build
    from appliance.build.progress import Progress

    progress = Progress()
    image, made = build(args.name, progress, compress=args.compress, refresh=args.refresh)
    if args.json:
        print_json({**_values(image), "made": made, "seconds": progress.seconds})
    else:
        print(f"{image.folder}" + ("" if made else " (up to date)"))
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
        "compressed": None if image.compressed is None else str(image.compressed),
        "versions": dict(image.versions),
    }
