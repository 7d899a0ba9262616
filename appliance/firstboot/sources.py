# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a machine finds its answers: a credential of systemd's, or a disk with the label that cloud-init uses."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.errors import InputError
from appliance.run import run

NAME = "pairkeep.toml"
# Upper case on vfat; tools that make an ISO keep what they are given.
_LABELS = ("CIDATA", "cidata")
_BY_LABEL = Path("/dev/disk/by-label")
_MOUNT = Path("/run/pairkeep/cidata")


def find() -> tuple[str, str] | None:
    """What the file is called in messages, and its text; None when nobody gave one."""
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), NAME)
    if credential.exists():
        return NAME, _read(credential)
    return next((found for label in _LABELS if (found := _on_disk(_BY_LABEL / label)) is not None), None)


def _on_disk(device: Path) -> tuple[str, str] | None:
    """vfat or ISO 9660, whatever the kernel makes of it; read only, and not left mounted."""
    if not device.exists():
        return None
    _MOUNT.mkdir(parents=True, exist_ok=True)
    run(["mount", "-o", "ro,nosuid,nodev,noexec", device, _MOUNT], timeout_s=60)
    try:
        path = _MOUNT / NAME
        return (f"{NAME} on the disk {device.name}", _read(path)) if path.exists() else None
    finally:
        run(["umount", _MOUNT], timeout_s=60)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: found bytes that are not UTF-8 at offset {error.start}") from error
