# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from appliance.build import spec
from appliance.build.folders import project_folder

BASE = """
suite = "trixie"
mirror = "http://deb.debian.org/debian"
kernel = "cloud"
size_mib = 1024
packages = ["udev", "dbus"]
"""


def project(tmp_path: Path, **images: str) -> Path:
    (tmp_path / "images").mkdir()
    for name, text in images.items():
        (tmp_path / "images" / f"{name}.toml").write_text(text)
    return tmp_path


def problems(folder: Path, name: str) -> list[str]:
    with pytest.raises(spec.SpecError) as error:
        spec.load(name, folder)
    assert error.value.exit_code == 2
    return list(error.value.problems)


@pytest.mark.parametrize("name", spec.names(project_folder()))
def test_the_images_of_this_project_are_valid(name: str) -> None:
    assert spec.load(name, project_folder()).name == name


def test_extends_adds_lists_and_replaces_values(tmp_path: Path) -> None:
    folder = project(tmp_path, base=BASE, small='extends = "base"\nsize_mib = 512\npackages = ["less", "udev"]')
    loaded = spec.load("small", folder)
    assert loaded.packages == ("dbus", "less", "linux-image-cloud-amd64", "udev")
    assert loaded.size_mib == 512
    assert loaded.suite == "trixie"


def test_the_kernel_is_a_word(tmp_path: Path) -> None:
    folder = project(tmp_path, base=BASE, metal='extends = "base"\nkernel = "generic"')
    assert "linux-image-amd64" in spec.load("metal", folder).packages
    assert "linux-image-cloud-amd64" not in spec.load("metal", folder).packages


def test_a_snapshot_pins_what_is_built_and_not_where_updates_come_from(tmp_path: Path) -> None:
    pinned = 'snapshot = "20261101T000000Z"\nsecurity_mirror = "http://security.debian.org/debian-security"\n'
    loaded = spec.load("image", project(tmp_path, image=pinned + BASE))
    archive = "deb [check-valid-until=no] http://snapshot.debian.org/archive"
    assert loaded.sources_of_build == (
        f"{archive}/debian/20261101T000000Z trixie main",
        f"{archive}/debian/20261101T000000Z trixie-updates main",
        f"{archive}/debian-security/20261101T000000Z trixie-security main",
    )
    assert loaded.sources == (
        "deb http://deb.debian.org/debian trixie main",
        "deb http://deb.debian.org/debian trixie-updates main",
        "deb http://security.debian.org/debian-security trixie-security main",
    )


def test_scripts_are_read_as_text(tmp_path: Path) -> None:
    folder = project(tmp_path, base=BASE + 'before_packages = ["hook"]')
    (folder / "images/hook").write_text("#!/bin/sh\n")
    assert spec.load("base", folder).before_packages == ("#!/bin/sh\n",)


def test_every_mistake_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    child = 'extends = "base"\npackges = []\nsize_mib = true\noverlays = ["absent", "Z!"]\nmask = ["x"]'
    folder = project(tmp_path, base=BASE.replace("http:", "ftp:"), child=child)
    assert problems(folder, "child") == [
        "images/child.toml: packges: unknown key, did you mean packages?",
        "images/child.toml: size_mib: found True, expected a whole number from 256 to 1048576 (MiB)",
        "images/child.toml: overlays[1]: found 'Z!', expected the name of a folder in overlays/",
        "images/child.toml: mask[0]: found 'x', expected the name of a systemd unit or generator",
        "images/base.toml: mirror: found 'ftp://deb.debian.org/debian', expected an http:// or https:// address",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size_mib = ", "images/image.toml: not TOML: Invalid value (at end of document)"),
        pytest.param(
            f"a = {'[' * 5000}", "images/image.toml: not TOML: arrays or tables are nested too deeply", id="deep"
        ),
        ('packages = "udev"', "images/image.toml: packages: found 'udev', expected a list"),
        ('extends = "image"', "images/image.toml: extends: found 'image', which extends this image itself"),
        ('extends = "bse"', "images/image.toml: extends: found 'bse', expected the name of an image: image"),
        ('overlays = ["no"]', "images/image.toml: overlays: found 'no', but overlays/no does not exist"),
        ('kernel = "big"', "images/image.toml: kernel: found 'big', expected 'cloud' or 'generic'"),
        ("kernel = []", "images/image.toml: kernel: found [], expected 'cloud' or 'generic'"),
        (
            'snapshot = "2026-11-01"',
            "images/image.toml: snapshot: found '2026-11-01', expected a moment as in 20261101T000000Z",
        ),
        ('packages = ["-y"]', "images/image.toml: packages[0]: found '-y', expected the name of a Debian package"),
        (
            'before_packages = ["../x"]',
            "images/image.toml: before_packages[0]: found '../x', expected the path of a script inside images/",
        ),
    ],
)
def test_a_mistake_names_file_key_found_and_expected(tmp_path: Path, text: str, message: str) -> None:
    assert problems(project(tmp_path, image=text), "image") == [message]


def test_missing_keys_are_named(tmp_path: Path) -> None:
    folder = project(tmp_path, image='suite = "trixie"\npackages = []')
    assert problems(folder, "image") == [
        "images/image.toml: mirror: missing",
        "images/image.toml: kernel: missing",
        "images/image.toml: size_mib: missing",
    ]


def test_an_unknown_image_lists_the_known_ones(tmp_path: Path) -> None:
    folder = project(tmp_path, base=BASE, other=BASE)
    assert problems(folder, "bose") == ["found 'bose', expected the name of an image: base, other"]


def test_name_overlays_and_size_do_not_touch_the_packages_layer(tmp_path: Path) -> None:
    folder = project(
        tmp_path, base=BASE, big='extends = "base"\nsize_mib = 4096', more=BASE + 'mask = ["a.service"]'
    )
    wanted = [spec.layer_inputs(spec.load(name, folder)) for name in ("base", "big", "more")]
    assert wanted[0] == wanted[1] == wanted[2]
