# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

from appliance.build import package
from appliance.build.folders import project_folder
from appliance.build.rootfs import Entry

STATUS = """\
Package: dbus
Status: install ok installed
Maintainer: Utopia <utopia@debian.org>
Architecture: amd64
Version: 1.16.2-2
Description: simple
 Version: not this one

Package: gone
Status: deinstall ok config-files
Version: 1
"""


def test_what_only_the_host_needs_stays_out() -> None:
    files = package.sources(project_folder())
    assert "errors.py" in files
    assert not [name for name in files if name.startswith(("build/", "lab/")) or name == "cli/image.py"]
    assert not [name for name in files if name.endswith(".pyc")]


def test_the_digest_follows_names_and_contents() -> None:
    digests = {package.digest(files) for files in ({"a": b"1"}, {"a": b"2"}, {"b": b"1"}, {})}
    assert len(digests) == 4


def test_only_what_is_installed_counts() -> None:
    (dbus,) = package.installed(STATUS)
    assert (dbus.name, dbus.version, dbus.architecture, dbus.source) == ("dbus", "1.16.2-2", "amd64", "dbus")


def test_the_builder_s_umask_does_not_show(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name, mode in (("usr/bin/run", 0o700), ("usr/data", 0o600)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "usr").chmod(0o700)
    package._open(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"usr": 0o755, "bin": 0o755, "run": 0o755, "data": 0o644}


def test_the_package_is_entered_into_dpkg_s_database() -> None:
    entries = (Entry("usr", 0o755), Entry("usr/x", 0o644, content=b"hello"))
    control = package.control_stanza("1.0", package.installed_kib(entries))
    built = package.Package("1.0", entries, control, Path("x.deb"))
    files = {entry.path: (entry.content or b"").decode() for entry in package.database_entries(built, STATUS)}
    status = files["var/lib/dpkg/status"]
    assert status.startswith(STATUS + "\nPackage: pairkeep\nStatus: install ok installed\nVersion: 1.0\n")
    assert {one.name: one.version for one in package.installed(status)} == {"dbus": "1.16.2-2", "pairkeep": "1.0"}
    assert "Installed-Size: 2\n" in status
    assert files["var/lib/dpkg/info/pairkeep.list"] == "/.\n/usr\n/usr/x\n"
    assert files["var/lib/dpkg/info/pairkeep.md5sums"] == "5d41402abc4b2a76b9719d911017c592  usr/x\n"
