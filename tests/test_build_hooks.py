# SPDX-License-Identifier: GPL-2.0-or-later
"""What the hooks make of a root in which packages are installed."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.run import run

HOOK = Path(__file__).parent.parent / "images/hooks/after-packages"
# Runs nothing in the root. The initrd it makes is what open-iscsi's hook puts into one.
CHROOT = """#!/bin/sh
root=$1
case "$2" in
linux-version) echo 6.12 ;;
update-initramfs) cat "$root/etc/iscsi/initiatorname.iscsi" "$root/etc/resolv.conf" >"$root/initrd" ;;
esac
"""


def installed(root: Path, builder: str, mode: int) -> dict[str, tuple[bytes, int]]:
    """The files of a root after the hook, when the machine ``builder`` has installed its packages."""
    for folder in ("etc/iscsi", "usr/lib", "var", "programs"):
        (root / folder).mkdir(parents=True)
    (root / "programs/chroot").write_text(CHROOT)
    (root / "programs/chroot").chmod(0o755)
    for file, text in (
        ("debian_version", "13.1"),
        ("shadow", "root:*:20000:0:99999:7:::\n"),
        ("iscsi/initiatorname.iscsi", f"InitiatorName=iqn.1993-08.org.debian:01:{builder}\n"),
        ("hostname", f"{builder}\n"),
        ("resolv.conf", f"nameserver 192.0.2.1 # of {builder}\n"),
    ):
        (root / "etc" / file).write_text(text)
        (root / "etc" / file).chmod(0o644)
        os.utime(root / "etc" / file, (10**9, 10**9))
    (root / "etc/resolv.conf").chmod(mode)
    run(["sh", HOOK, root], env={"PATH": f"{root / 'programs'}:{os.environ['PATH']}"})
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode) for path in files}


def test_two_machines_make_the_same_of_the_same_packages(tmp_path: Path) -> None:
    one = installed(tmp_path / "one", "north", 0o644)
    assert one == installed(tmp_path / "other", "south", 0o600)
    assert one["initrd"][0] == b"GenerateName=yes\n"
