# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep backup FILE` and `pairkeep restore FILE`: a node's configuration, keys included."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.confirm import add_yes, confirm
from appliance.cli.parsers import Subparsers, add_json, command, print_json, save
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.upkeep.keep import Backup


def add(subparsers: Subparsers) -> None:
    backup = command(subparsers, "backup", "write this node's configuration, keys included, into a file")
    backup.set_defaults(run=run_backup)
    restore = command(subparsers, "restore", "make this machine the node again that a backup was taken of")
    restore.add_argument(
        "--disk",
        metavar="NAME=/dev/…",
        action="append",
        default=[],
        help="the disk that takes the place of that of DRBD resource NAME, which is not there",
    )
    add_yes(restore)
    restore.set_defaults(run=run_restore)
    for parser in (backup, restore):
        parser.add_argument("file", metavar="FILE", type=Path)
        add_json(parser)


def run_backup(args: argparse.Namespace) -> int:
    from appliance.upkeep.keep import pack

    _only_root()
    node = os.uname().nodename
    save(args.file, pack(node, time.time()))
    if args.json:
        print_json({"file": str(args.file), "node": node})
    else:
        print(f"{args.file}: the configuration of {node}. The cluster's key and all passwords are in it:")
        print("whoever has it can join the cluster. Only root can read it; keep it so. Data are not in it.")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    from appliance.run import run
    from appliance.upkeep.keep import put_back, unpack
    from appliance.upkeep.places import disks_here

    _only_root()
    try:
        backup = unpack(args.file.read_bytes(), str(args.file))
    except OSError as error:
        raise InputError(f"{args.file}: {error.strerror}") from error
    if run(["systemctl", "is-active", "--quiet", "pairkeep.service"], check=False).returncode == 0:
        raise InputError(
            "this machine is a node at work: its supervisor runs",
            hint=f"pairkeep standby {os.uname().nodename}, then systemctl stop pairkeep",
        )
    backup, places = disks_here(backup, dict(_pair(text) for text in args.disk))
    blank = _blank_disks(backup, places)
    disks = f" DRBD's metadata is made anew on {' and '.join(blank)}." if blank else ""
    # Nothing is written to a disk with data: it is the one that the node had, or DRBD refuses it later.
    disks += "".join(
        f" {place} is not blank and stays as it is." for name, place in places.items() if name not in blank
    )
    confirm(args, f"This machine becomes {backup.node} of cluster {backup.cluster.name}.{disks}", backup.node)
    put_back(backup, lambda: _prepare(backup, blank))
    if args.json:
        print_json({"node": backup.node, "files": sorted(backup.files), "metadata": blank})
    else:
        print(f"restored {backup.node}, by version {backup.version} of cluster.toml; now restart the machine:")
        print("systemctl reboot")
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, _, disk = text.partition("=")
    if not name or not disk.startswith("/dev/"):
        raise InputError(f"--disk: found {text!r}, expected NAME=/dev/…")
    return name, disk


def _blank_disks(backup: Backup, places: Mapping[str, str]) -> list[str]:
    """Those on which DRBD has to be set up anew; ``places``: where each is now."""
    from appliance.drivers.drbd import Drbd

    drbds = {name: backup.cluster.drbd_named(name) for name in places}
    return [name for name, place in places.items() if Drbd(replace(drbds[name], disk=place)).is_blank_disk()]


def _prepare(backup: Backup, blank: list[str]) -> None:
    from appliance.drivers import disk_name
    from appliance.drivers.drbd import Drbd
    from appliance.run import run

    if disk_name.RULES.exists():
        disk_name.give()
    if backup.password:
        run(["chpasswd", "--encrypted"], stdin=f"root:{backup.password}\n", timeout_s=30)
    for name in blank:
        Drbd(backup.cluster.drbd_named(name)).create_md()


def _only_root() -> None:
    if os.geteuid() != 0:
        raise InputError("only root can read and write a node's keys", hint="sudo")
