# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from appliance.build import inventory, package
from appliance.build.image import Image

STATUS = """\
Package: zlib1g
Status: install ok installed
Installed-Size: 170
Maintainer: Mark Brown <broonie@debian.org>
Architecture: amd64
Multi-Arch: same
Source: zlib (1:1.3.dfsg)
Version: 1:1.3.dfsg+really1.3.1-1+b1
Description: compression library
 Version: not this one

Package: gone
Status: deinstall ok config-files
Maintainer: Nobody
Architecture: all
Version: 1

Package: adduser
Status: install ok installed
Maintainer: Debian Adduser Developers <adduser@packages.debian.org>
Architecture: all
Version: 3.152
"""
IMAGE = Image("witness", "ab" * 10, Path(), Path(), Path(), Path(), 1700000000, {})


def test_only_what_is_installed_is_listed() -> None:
    packages = package.installed(STATUS)
    assert inventory.listing(packages) == "adduser 3.152 all\nzlib1g 1:1.3.dfsg+really1.3.1-1+b1 amd64\n"
    assert [one.source for one in packages] == ["adduser", "zlib"]


def test_the_sbom_is_valid_and_the_same_each_time() -> None:
    packages = package.installed(STATUS)
    text = inventory.sbom(IMAGE, packages)
    assert text == inventory.sbom(IMAGE, packages)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert {one["purl"] for one in document["components"]} == {
        "pkg:deb/debian/adduser@3.152?arch=all",
        "pkg:deb/debian/zlib1g@1:1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64&upstream=zlib",
    }
