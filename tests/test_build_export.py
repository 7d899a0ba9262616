# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.build import export
from appliance.errors import InputError
from appliance.run import RunError, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "b.qcow2").write_bytes(b"disk")
    (folder / "a.packages").write_text("dbus 1 amd64\n")
    export.write_sums(folder)
    return folder


def test_the_sums_are_what_sha256sum_checks(folder: Path) -> None:
    assert [line.split("  ")[1] for line in (folder / export.SUMS).read_text().splitlines()] == [
        "a.packages",
        "b.qcow2",
    ]
    run(["sha256sum", "--check", "--strict", export.SUMS], cwd=folder)
    (folder / "b.qcow2").write_bytes(b"disc")
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
