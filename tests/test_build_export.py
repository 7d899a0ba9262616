# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from appliance.build import disk, export, image
from appliance.build.progress import SILENT
from appliance.build.tools import Tools
from appliance.cli.main import main
from appliance.errors import InputError
from appliance.run import RunError, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "pairkeep-b.qcow2").write_bytes(b"disk")
    (folder / "pairkeep-a.packages").write_text("dbus 1 amd64\n")
    export.write_sums(folder)
    return folder


def test_the_sums_are_what_sha256sum_checks(folder: Path) -> None:
    assert [line.split("  ")[1] for line in (folder / export.SUMS).read_text().splitlines()] == [
        "pairkeep-a.packages",
        "pairkeep-b.qcow2",
    ]
    run(["sha256sum", "--check", "--strict", export.SUMS], cwd=folder)
    (folder / "pairkeep-b.qcow2").write_bytes(b"disc")
    with pytest.raises(RunError):
        run(["sha256sum", "--check", "--strict", export.SUMS], cwd=folder)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signing is for those who have it")
def test_a_signature_holds_for_these_sums_and_no_others(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "release", "-f", key])
    export.sign(folder, key)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"release {key.with_suffix('.pub').read_text()}")
    sums = folder / export.SUMS
    signature = sums.with_suffix(".sig")
    verify: list[str | Path] = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "release"]
    verify += ["-n", export.NAMESPACE, "-s", signature]
    run(verify, stdin=sums.read_text())
    with pytest.raises(RunError, match="Signature verification failed|incorrect signature"):
        run(verify, stdin=sums.read_text() + "x")
    first = signature.read_bytes()
    signature.unlink()
    export.sign(folder, key)
    assert signature.read_bytes() == first


def test_what_cannot_be_exported_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"format 'iso': expected one of: qcow2, raw, vmdk, ova, libvirt"):
        export.check("witness", ["iso"], None)
    with pytest.raises(
        InputError, match=r"has the kernel 'cloud', which lacks drivers of VirtualBox's machines"
    ) as error:
        export.check("witness", ["ova"], None)
    assert "database-metal" in (error.value.hint or "")
    export.check("witness-metal", ["ova"], None)
    with pytest.raises(InputError, match=r"there is no key .*/key"):
        export.check("witness", ["qcow2"], tmp_path / "key")


def test_a_folder_that_holds_anything_but_an_export_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    """What a person names by mistake, such as a home folder, must not go."""

    def check(target: Path) -> None:
        export.check("witness", ["qcow2"], None, target)

    check(tmp_path / "not-there-yet")
    (tmp_path / "empty").mkdir()
    check(tmp_path / "empty")
    (folder / f"{export.SUMS}.sig").touch()
    check(folder)
    (folder / "notes").write_text("mine")
    with pytest.raises(InputError, match=r"out is replaced as a whole, and notes in it is not of an export"):
        check(folder)
    (folder / "notes").unlink()
    (folder / "pairkeep-more").mkdir()
    with pytest.raises(InputError, match="pairkeep-more in it is not of an export"):
        check(folder)
    with pytest.raises(InputError, match="and it is a file"):
        check(folder / "pairkeep-b.qcow2")
    # A folder of somebody else's images has sums as well.
    other = tmp_path / "downloads"
    other.mkdir()
    (other / "debian.iso").touch()
    export.write_sums(other)
    with pytest.raises(InputError, match=r"debian.iso in it is not of an export"):
        check(other)


def test_what_a_killed_export_left_is_swept_where_nobody_else_has_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRKEEP_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(export, "require_space", lambda *_: None)
    monkeypatch.setattr(disk, "make", Mock(side_effect=InputError("the disk is full")))
    files = (tmp_path / "vmlinuz", tmp_path / "initrd", tmp_path / "root.raw")
    made = image.Image("witness", "0" * 20, tmp_path, *files, epoch=1, versions={})
    own, named = export.folder_of(made).parent, tmp_path / "named"
    others = (f".witness-metal-{'1' * 8}.abcd1234", ".witness.lock")
    for folder in (own / f".witness-{'1' * 8}.abcd1234", own / others[0], named / f".witness-{'1' * 8}.abcd1234"):
        folder.mkdir(parents=True)
    for target in (export.folder_of(made), named / f"witness-{'1' * 8}"):
        with pytest.raises(InputError, match="the disk is full"):
            export.export(made, target, ["raw"], None, Tools(None), SILENT)
    assert sorted(path.name for path in own.iterdir()) == sorted(others)
    assert [path.name for path in named.iterdir()] == [f".witness-{'1' * 8}.abcd1234"]


def test_the_command_refuses_before_it_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "ensure", lambda *_: pytest.fail("it builds"))
    (tmp_path / "diary").touch()
    assert main(["image", "export", "witness", "--to", str(tmp_path)]) == 2
    assert "diary in it is not of an export" in capsys.readouterr().err
    assert (tmp_path / "diary").exists()
