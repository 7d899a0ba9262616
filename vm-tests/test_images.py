# SPDX-License-Identifier: GPL-2.0-or-later
"""Images as a user meets them: whole disks that boot by themselves, on either firmware."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from appliance.build import disk, folders, image, tools
from appliance.build.progress import Progress
from appliance.lab import accelerator, disk_boot
from appliance.lab.disk_boot import DiskMachine
from appliance.lab.spec import BootImage

SIZE_MIB = 6 * 1024
# Five times what a boot takes here, for machines that are busy.
PATIENCE_S = 150.0


@pytest.fixture(scope="module")
def place() -> Path:
    """A folder whose name is short enough for sockets, and that is kept for a look at what failed."""
    folder = folders.build_folder() / "lab" / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def chosen(progress: Progress) -> str:
    """The accelerator that works here."""
    made = image.ensure("witness", progress)
    boot = BootImage(made.key, made.kernel, made.initrd, made.root)
    return accelerator.choose(tools.tools().qemu_argv(), boot, folders.cache_folder(), progress).accelerator


def usable(machine: DiskMachine, progress: Progress) -> None:
    """Both consoles ask for a name, nothing failed, and the root file system has grown to the disk."""
    took = machine.wait_printed("login:", PATIENCE_S)
    progress.note(f"{machine.folder.name}: login after {took:.1f} s, {machine.busy_s():.1f} s of a processor")
    machine.wait("a login on the screen", lambda: "login:" in machine.exec(["cat", "/dev/vcs1"]), PATIENCE_S)
    machine.exec(["systemctl", "is-system-running", "--wait"])
    root = json.loads(machine.exec(["findmnt", "--json", "--bytes", "--output", "SOURCE,SIZE,OPTIONS", "/"]))
    (found,) = root["filesystems"]
    assert found["source"].removesuffix("3") in ("/dev/vda", "/dev/sda")
    assert int(found["size"]) > (SIZE_MIB - 400) * disk.MIB
    assert "rw" in found["options"].split(",")


@pytest.mark.parametrize(
    ("name", "firmware", "hardware"),
    [
        ("database", "bios", "virtio"),
        ("database", "uefi", "virtio"),
        ("witness", "bios", "pc"),
        ("witness", "secure", "virtio"),
    ],
)
def test_an_image_boots_by_itself(
    name: str, firmware: str, hardware: str, place: Path, chosen: str, progress: Progress
) -> None:
    made = image.ensure(name, progress)
    raw = place / f"{name}.raw"
    if not raw.exists():
        disk.make(made, tools.tools(), raw)
    folder = place / f"{name}-{firmware}"
    with disk_boot.started(
        raw, folder, tools.tools(), chosen, firmware=firmware, hardware=hardware, size_mib=SIZE_MIB
    ) as machine:
        usable(machine, progress)
        if firmware == "secure":
            assert "Secure boot enabled" in machine.exec(["journalctl", "-k", "--grep", "Secure boot"])
