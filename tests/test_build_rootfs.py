# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from appliance.build.rootfs import Entry, Index, compose, date, index_tar, merge, tree_entries
from appliance.build.units import unit_entries, wanted_by
from appliance.errors import InputError, PairkeepError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A small root file system as mmdebstrap packs it: names begin with ./, one of them very long."""
    path = tmp_path / "base.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("./", "./etc/", "./root/", "./usr/", "./usr/bin/", "./usr/lib/"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            folder.mode = 0o700 if name == "./root/" else 0o755
            archive.addfile(folder)
        link = tarfile.TarInfo("./lib")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/lib"
        archive.addfile(link)
        files = {"./etc/motd": b"hello", f"./usr/lib/{'x' * 150}": b"long", "./usr/bin/true": b"#!" * 400}
        for name, content in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mtime = len(content), 1700000000 if "bin" in name else 1800000000
            archive.addfile(file, io.BytesIO(content))
        hard = tarfile.TarInfo("./usr/bin/also-true")
        hard.type, hard.linkname = tarfile.LNKTYPE, "./usr/bin/true"
        archive.addfile(hard)
    return path


def composed(base: Path, index: Index, entries: list[Entry]) -> dict[str, tarfile.TarInfo]:
    target = base.with_name("out.tar")
    compose(base, index, entries, target)
    with tarfile.open(target) as archive:
        members = archive.getmembers()
    names = [member.name.removeprefix("./") for member in members]
    assert len(names) == len(set(names)), "no member may occur twice"
    return dict(zip(names, members, strict=True))


def content_of(base: Path, name: str) -> bytes:
    with tarfile.open(base.with_name("out.tar")) as archive:
        file = archive.extractfile(f"./{name}")
        assert file is not None
        return file.read()


def test_the_index_survives_json_and_dates_by_programs_only(base: Path) -> None:
    index = index_tar(base, {})
    assert Index.from_json(index.to_json()) == index
    assert index.epoch == 1700000000, "of usr/bin, and not of what a script may have written"
    assert index.kinds["lib"] == "2"
    assert index.linked == {"usr/bin/true"}


def test_what_is_newer_than_the_programs_gets_their_time(base: Path) -> None:
    with tarfile.open(base) as archive:
        before = {member.name: member for member in archive}
    date(base, 1700000000)
    with tarfile.open(base) as archive:
        after = {member.name: member for member in archive}
    assert {member.mtime for member in before.values()} == {0, 1700000000, 1800000000}
    assert {member.mtime for member in after.values()} == {0, 1700000000}
    for name, member in after.items():
        for key in ("mode", "size", "type", "linkname"):
            assert getattr(member, key) == getattr(before[name], key)


def test_extended_headers_tell_nothing_of_when_tar_ran(tmp_path: Path) -> None:
    path = tmp_path / "base.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a" * 150, "b"):
            file = tarfile.TarInfo(name)
            file.size, file.mtime = 3, 1600000000
            file.pax_headers = {"SCHILY.xattr.security.capability": "x"}
            archive.addfile(file, io.BytesIO(b"abc"))
    content = bytearray(path.read_bytes())
    assert content[156:157] == b"x"
    before = bytes(content[136:148])
    date(path, 1700000000)
    after = path.read_bytes()
    assert after[136:148] == b"%011o\0" % 1700000000 != before
    with tarfile.open(path) as archive:
        assert [
            (member.name, member.mtime, member.pax_headers.get("SCHILY.xattr.security.capability"))
            for member in archive
        ] == [("a" * 150, 1600000000, "x"), ("b", 1600000000, "x")]
    date(path, 1700000000)
    assert path.read_bytes() == after


def test_members_are_extracted_by_prefix(base: Path, tmp_path: Path) -> None:
    index_tar(base, {"etc/mo": tmp_path / "motd"})
    assert (tmp_path / "motd").read_bytes() == b"hello"
    with pytest.raises(PairkeepError, match="brought no /boot/vmlinuz-"):
        index_tar(base, {"boot/vmlinuz-": tmp_path / "kernel"})
    with pytest.raises(PairkeepError, match=r"brought both .*true"):
        index_tar(base, {"usr/": tmp_path / "any"})


def test_composing_without_entries_keeps_everything(base: Path) -> None:
    members = composed(base, index_tar(base, {}), [])
    assert members["root"].mode == 0o700
    assert content_of(base, f"usr/lib/{'x' * 150}") == b"long"


def test_entries_replace_and_add(base: Path) -> None:
    index = index_tar(base, {})
    layers = [[Entry("etc/motd", 0o644, b"first"), Entry("etc", 0o755)], [Entry("etc/motd", 0o600, b"second")]]
    more = [Entry(f"usr/lib/{'x' * 150}", 0o644, b"changed"), Entry("srv/a/b", 0o777, link="/dev/null")]
    members = composed(base, index, merge([*layers, more], index))
    assert content_of(base, "etc/motd") == b"second"
    assert content_of(base, f"usr/lib/{'x' * 150}") == b"changed"
    assert members["etc/motd"].mode == 0o600
    assert members["etc/motd"].uname == "root"
    assert members["etc/motd"].mtime == index.epoch
    assert members["srv/a"].isdir()
    assert members["srv/a/b"].linkname == "/dev/null"
    assert members["usr/bin/also-true"].linkname == "./usr/bin/true"


def test_folders_of_the_packages_keep_their_modes(base: Path) -> None:
    index = index_tar(base, {})
    members = composed(base, index, merge([[Entry("root", 0o755), Entry("root/x", 0o644, b"")]], index))
    assert members["root"].mode == 0o700


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("lib/x", 0o644, b""), "has a folder /lib, which is no folder"),
        (Entry("etc/motd/x", 0o644, b""), "has a folder /etc/motd, which is no folder"),
        (Entry("etc", 0o644, b""), "has a file /etc, which is a folder"),
        (Entry("etc/motd", 0o755), "has a folder /etc/motd, which is no folder"),
        (Entry("usr/bin/true", 0o755, b""), "replaces /usr/bin/true, which has hard links"),
    ],
)
def test_what_would_break_the_image_is_refused(base: Path, entry: Entry, message: str) -> None:
    with pytest.raises(InputError, match=message):
        merge([[entry]], index_tar(base, {}))


def test_a_file_below_a_file_is_refused(base: Path) -> None:
    entries = [Entry("srv/a/b", 0o644, b""), Entry("srv/a", 0o644, b"")]
    with pytest.raises(InputError, match="has a file /srv/a, which is a folder"):
        merge([entries], index_tar(base, {}))


def test_a_tree_becomes_entries_with_plain_modes(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir(mode=0o700)
    (tmp_path / "etc/.gitkeep").touch()
    (tmp_path / "etc/run").write_bytes(b"x")
    (tmp_path / "etc/run").chmod(0o700)
    (tmp_path / "etc/secret").write_bytes(b"y")
    (tmp_path / "etc/secret").chmod(0o600)
    (tmp_path / "etc/link").symlink_to("/dev/null")
    assert tree_entries(tmp_path) == [
        Entry("etc", 0o755),
        Entry("etc/link", 0o777, link="/dev/null"),
        Entry("etc/run", 0o755, content=b"x"),
        Entry("etc/secret", 0o644, content=b"y"),
    ]


UNIT = Entry("usr/lib/systemd/system/a.service", 0o644, content=b"[Install]\nWantedBy=multi-user.target x.target\n")


def test_enabled_and_masked_units_are_links() -> None:
    links = {entry.path: entry.link for entry in unit_entries(["a.service"], ["b.timer", "c-generator"], [UNIT])}
    assert links == {
        "etc/systemd/system/multi-user.target.wants/a.service": "/usr/lib/systemd/system/a.service",
        "etc/systemd/system/x.target.wants/a.service": "/usr/lib/systemd/system/a.service",
        "etc/systemd/system/b.timer": "/dev/null",
        "etc/systemd/system-generators/c-generator": "/dev/null",
    }


def test_units_that_cannot_be_enabled_are_refused() -> None:
    with pytest.raises(InputError, match="no overlay has usr/lib/systemd/system/c.service"):
        unit_entries(["c.service"], [], [UNIT])
    with pytest.raises(InputError, match="masked as well"):
        unit_entries(["a.service"], ["a.service"], [UNIT])
    with pytest.raises(InputError, match="no WantedBy"):
        unit_entries(["a.service"], [], [Entry(UNIT.path, 0o644, content=b"[Service]\nWantedBy=x.target\n")])


def test_wanted_by_counts_only_in_install() -> None:
    assert wanted_by("[Unit]\nWantedBy=no.target\n[Install]\n WantedBy = a.target\nWantedBy=b.target c.target") == [
        "a.target",
        "b.target",
        "c.target",
    ]
