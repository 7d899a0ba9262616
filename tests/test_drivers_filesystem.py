# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading mounts and mappings, and what makes a disk blank."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.drivers import filesystem
from appliance.drivers.base import DriverError
from appliance.drivers.blank import is_blank
from appliance.drivers.filesystem import (
    FULL_PERCENT,
    FilesystemDriver,
    Mount,
    fullness,
    maps_device,
    mkfs_argv,
    parse_mountinfo,
)
from appliance.drivers.watchdog import Watchdog

MOUNTINFO = """\
24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
81 24 147:0 / /srv/mysql rw,noatime shared:43 - ext4 /dev/drbd0 rw
82 24 147:1 / /srv/with\\040blank ro,noatime shared:44 master:3 - ext4 /dev/drbd1 ro,errors=remount-ro
"""

MAPS = """\
55d0c3c1e000-55d0c3c43000 r--p 00000000 93:00 1571 /srv/mysql/bin/tool
7f1c2c000000-7f1c2c021000 rw-p 00000000 00:00 0
7ffd2a5c1000-7ffd2a5e2000 rw-p 00000000 00:00 0                          [stack]
"""


def test_mounts_are_read_with_the_options_of_the_filesystem() -> None:
    assert parse_mountinfo(MOUNTINFO) == [
        Mount("/dev/vda", "/", "ext4", ("rw",)),
        Mount("/dev/drbd0", "/srv/mysql", "ext4", ("rw",)),
        Mount("/dev/drbd1", "/srv/with blank", "ext4", ("ro", "errors=remount-ro")),
    ]


def test_a_mapped_file_belongs_to_its_device() -> None:
    assert maps_device(MAPS, os.makedev(147, 0))
    assert not maps_device(MAPS, os.makedev(147, 1))
    assert not maps_device("", os.makedev(147, 0))


def test_making_a_filesystem_discards_nothing() -> None:
    argv = mkfs_argv("/dev/drbd0", "ext4")
    assert argv[0] == "mkfs.ext4"
    assert argv[-1] == "/dev/drbd0"
    assert any("nodiscard" in word for word in argv)


@pytest.mark.parametrize("at", [0, 4096, (8 << 20) - 1, 4 << 20])
def test_a_disk_with_a_byte_on_it_is_not_blank(tmp_path: Path, at: int) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as out:
        out.truncate(8 << 20)
    assert is_blank(disk)
    with disk.open("r+b") as out:
        out.seek(at)
        out.write(b"x")
    assert not is_blank(disk)


def test_a_filesystem_is_not_made_over_another(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as out:
        out.truncate(8 << 20)
    driver = FilesystemDriver(str(disk), str(tmp_path / "target"))
    driver.make()
    before = disk.read_bytes()
    with pytest.raises(DriverError, match="is not blank"):
        driver.make()
    assert disk.read_bytes() == before


def test_what_is_not_mounted_is_stopped(tmp_path: Path) -> None:
    driver = FilesystemDriver("/dev/drbd0", str(tmp_path))
    assert driver.state() == "stopped"
    driver.stop()


def test_a_filesystem_that_met_an_error_since_it_was_mounted_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "EXT4", tmp_path)
    monkeypatch.setattr(filesystem, "KNOWN", tmp_path / "known")
    monkeypatch.setattr(FilesystemDriver, "_mount", lambda self: Mount(self.device, self.target, "ext4", ("rw",)))
    (tmp_path / "drbd7").mkdir()
    counted = tmp_path / "drbd7" / "errors_count"
    counted.write_text("2\n")
    driver = FilesystemDriver("/dev/drbd7", "/srv/mysql", options="noatime,errors=remount-ro")
    # Nobody knows how many of them are old.
    assert driver.state() == "started"
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "drbd7").write_text("2")
    assert driver.state() == "started"
    counted.write_text("3\n")
    assert driver.state() == "failed"
    assert FilesystemDriver("/dev/drbd7", "/srv/mysql", options="errors=continue").state() == "started"


def test_a_device_that_is_no_watchdog_is_refused(tmp_path: Path) -> None:
    fake = tmp_path / "watchdog"
    fake.touch()
    watchdog = Watchdog(timeout_s=10, keep=lambda _handle: None, path=fake)
    with pytest.raises(DriverError, match="cannot be armed"):
        watchdog.pet()


def test_a_file_system_warns_when_little_is_left() -> None:
    assert fullness("/srv/mysql", FULL_PERCENT - 1, 101 - FULL_PERCENT) == ""
    assert fullness("/srv/mysql", 97, 3) == "/srv/mysql is 97 % full"
    assert fullness("/srv/mysql", 0, 0) == ""
