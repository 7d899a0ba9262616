# SPDX-License-Identifier: GPL-2.0-or-later
"""Images as a user meets them: whole disks that boot by themselves, on either firmware."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from appliance.build import compare, disk, folders, image, tools
from appliance.build.progress import Progress
from appliance.lab import disk_boot
from appliance.lab.disk_boot import DiskMachine
from appliance.run import run

SIZE_MIB = 6 * 1024
# Many times what a boot takes here, for machines that are busy.
PATIENCE_S = 300.0
# What stands on every console of a machine that is not set up; its logins come after that.
GREETING = "Press Enter to set up here."


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
    return disk_boot.accelerator_of(image.ensure("witness", progress), tools.tools(), progress)


def usable(machine: DiskMachine, progress: Progress) -> None:
    """Both consoles greet, nothing failed, and the root file system has grown to the disk."""
    took = machine.wait_printed(GREETING, PATIENCE_S)
    progress.note(f"{machine.folder.name}: usable after {took:.1f} s, {machine.busy_s():.1f} s of a processor")
    machine.wait("the greeting on the screen", lambda: GREETING in machine.exec(["cat", "/dev/vcs1"]), PATIENCE_S)
    machine.exec(["systemctl", "is-system-running", "--wait"])
    root = json.loads(machine.exec(["findmnt", "--json", "--bytes", "--output", "SOURCE,SIZE,OPTIONS", "/"]))
    (found,) = root["filesystems"]
    assert found["source"].removesuffix("3") in ("/dev/vda", "/dev/sda")
    assert int(found["size"]) > (SIZE_MIB - 400) * disk.MIB
    assert "rw" in found["options"].split(",")


@pytest.mark.parametrize("name", ["database", "witness"])
def test_an_image_has_nothing_of_its_builder_and_lets_no_one_in(
    name: str, tmp_path: Path, progress: Progress
) -> None:
    root = unpacked(image.ensure(name, progress).root, tmp_path)
    # Nothing that makes one machine differ from another: it comes to be at the first boot.
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not (root / "var/lib/dbus/machine-id").is_file()
    assert not list((root / "etc/ssh").glob("ssh_host_*"))
    assert not list(root.glob("var/lib/systemd/*seed*"))
    assert not files(root / "etc/ssl/private")
    for path in files(root):
        assert b"PRIVATE KEY-----" not in path.read_bytes(), path
    # No password and no key opens it.
    accounts = dict(line.split(":")[:2] for line in (root / "etc/shadow").read_text().splitlines())
    assert {secret for secret in accounts.values() if secret[:1] not in ("!", "*")} == set()
    assert accounts["root"][0] == "!"
    assert not [path for path in files(root) if path.name in ("authorized_keys", ".bash_history", "authkey")]
    # Nothing that the build left: logs, lists and caches of apt, copies of what was changed.
    assert not [path for path in files(root / "var/log") if path.stat().st_size]
    left = [path for folder in ("lib/apt/lists", "cache/apt") for path in files(root / "var" / folder)]
    assert {path.name for path in left} <= {"lock"}
    assert not [path for path in files(root / "etc") if path.name.endswith(("-", ".dpkg-old", ".dpkg-dist"))]
    assert not list((root / "tmp").iterdir())
    assert (root / "etc/hostname").read_text() == "pairkeep\n"
    assert "nameserver" not in (root / "etc/resolv.conf").read_text()
    if name == "database":
        assert not list((root / "var/lib/mysql").iterdir()), "its tables are made where they are needed"


@pytest.mark.long
def test_two_disks_are_the_same_and_a_difference_is_told_by_the_file_s_name(
    place: Path, progress: Progress
) -> None:
    made = image.ensure("witness", progress)
    one, other = place / "one.raw", place / "other.raw"
    for raw in (one, other):
        disk.make(made, tools.tools(), raw)
    assert compare.disks(one, other, tools.tools()) is None
    block = run([*tools.tools().argv("debugfs"), "-R", "blocks /usr/bin/pairkeep", made.root]).stdout.split()[0]
    with other.open("r+b") as file:
        file.seek(disk.layout(0)[-1].start * disk.MIB + int(block) * 4096 + 3)
        file.write(b"?")
    said = compare.disks(one, other, tools.tools())
    assert said == f"partition root, byte {int(block) * 4096 + 3}: the content of /usr/bin/pairkeep"


def unpacked(file_system: Path, folder: Path) -> Path:
    """The part of an ext4 image that is not the packages' own, in ``folder``, without mounting it."""
    debugfs = tools.tools().argv("debugfs")
    run([*debugfs, "-R", f"rdump /etc /var /root /home /srv /tmp {folder}", file_system])
    return folder


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.mark.parametrize(
    ("name", "firmware", "hardware"),
    [
        pytest.param("database", "bios", "virtio", marks=pytest.mark.long),
        ("database", "secure", "virtio"),
        pytest.param("witness", "bios", "virtio", marks=pytest.mark.long),
        pytest.param("witness", "uefi", "virtio", marks=pytest.mark.long),
        # The generic kernel, with hardware that the cloud kernel knows nothing of.
        pytest.param("witness-metal", "bios", "pc", marks=pytest.mark.long),
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
        assert ("cloud" in machine.exec(["uname", "--kernel-release"])) == (name != "witness-metal")
        if hardware == "pc":
            assert "ID_NET_DRIVER=e1000\n" in machine.exec(["udevadm", "info", "--export-db"])
        if firmware == "secure":
            assert "Secure boot enabled" in machine.exec(["journalctl", "-k", "--grep", "Secure boot"])
