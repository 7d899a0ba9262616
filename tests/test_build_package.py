# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

from appliance.build import package
from appliance.build.folders import project_folder
from appliance.build.rootfs import Entry

STATUS = """\
Package: dbus
Status: install ok installed
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


def test_versions_come_from_installed_packages_only() -> None:
    assert package.installed_versions(STATUS) == {"dbus": "1.16.2-2"}


def test_the_package_is_entered_into_dpkg_s_database() -> None:
    entries = (Entry("usr", 0o755), Entry("usr/x", 0o644, content=b"hello"))
    control = package.control_stanza("1.0", package.installed_kib(entries))
    built = package.Package("1.0", entries, control, Path("x.deb"))
    files = {entry.path: (entry.content or b"").decode() for entry in package.database_entries(built, STATUS)}
    status = files["var/lib/dpkg/status"]
    assert status.startswith(STATUS + "\nPackage: pairkeep\nStatus: install ok installed\nVersion: 1.0\n")
    assert package.installed_versions(status) == {"dbus": "1.16.2-2", "pairkeep": "1.0"}
    assert "Installed-Size: 2\n" in status
    assert files["var/lib/dpkg/info/pairkeep.list"] == "/.\n/usr\n/usr/x\n"
    assert files["var/lib/dpkg/info/pairkeep.md5sums"] == "5d41402abc4b2a76b9719d911017c592  usr/x\n"
