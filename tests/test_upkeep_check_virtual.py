# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node says beforehand of virtual services that it could not serve."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.drivers import keepalived
from appliance.upkeep import check
from appliance.upkeep.check import problems
from tests.test_config_virtual import PAIR, web


@pytest.fixture(autouse=True)
def _without_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_rules", lambda _text: iter(()))  # nft is asked on machines


def test_programs_and_passwords_have_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keepalived, "complaints", lambda _files: iter(()))
    program, password = tmp_path / "check", tmp_path / "password"
    text = PAIR + web(
        f'check = {{ kind = "script", command = "{program} %a" }}',
        "",
        f'[[virtual.web.real]]\naddress = "10.9.2.22"\n'
        f'check = {{ kind = "ftp", user = "a", password_file = "{password}" }}',
    )
    assert problems(text, "alpha") == (
        f"virtual.web: {program} does not exist",
        f"virtual.web: {password}: No such file or directory",
    )
    monkeypatch.setattr(check, "_not_executable", lambda _program: None)
    program.touch()
    password.touch(mode=0o640)
    assert problems(text, "alpha") == (
        f"virtual.web: {password}: found mode 0640, expected 0600: a password is nobody else's business",
    )
    password.chmod(0o600)
    assert problems(text, "alpha") == ()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A check that anyone may run, in a folder that anyone may enter."""
    monkeypatch.setattr(keepalived, "complaints", lambda _files: iter(()))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        found = Path(folder) / "own/check"
        found.parent.mkdir(mode=0o755)
        found.write_text("#!/bin/sh\n")
        found.chmod(0o755)
        yield found


def scripted(program: Path) -> tuple[str, ...]:
    return problems(PAIR + web(f'check = {{ kind = "script", command = "{program} %a" }}'), "alpha")


def test_a_check_is_run_by_nobody(program: Path) -> None:
    assert scripted(program) == ()
    program.chmod(0o754)
    assert scripted(program) == (
        f"virtual.web: {program} is run by nobody, who may not execute it: found mode 0754, expected 0755",
    )
    program.chmod(0o755)
    program.parent.chmod(0o750)
    assert scripted(program) == (
        f"virtual.web: {program} is run by nobody, who may not enter {program.parent}: found mode 0750",
    )


def test_a_link_to_a_check_is_followed_and_a_folder_is_no_check(program: Path) -> None:
    link = program.parent.parent / "link"
    link.symlink_to(program)
    assert scripted(link) == ()
    program.parent.chmod(0o700)
    assert scripted(link) == (
        f"virtual.web: {link} is run by nobody, who may not enter {program.parent}: found mode 0700",
    )
    program.parent.chmod(0o755)
    assert scripted(program.parent) == (f"virtual.web: {program.parent} is no file, expected a program",)


def test_an_interface_that_is_tracked_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keepalived, "complaints", lambda _files: iter(()))
    monkeypatch.setattr(check, "NET", tmp_path)
    text = PAIR + web(vrrp="track_interfaces = { ens9 = -20 }\n")
    assert problems(text, "alpha") == ("vrrp.web: there is no interface ens9",)
    (tmp_path / "ens9").touch()
    assert problems(text, "alpha") == ()


def test_a_machine_without_keepalived_is_no_director(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalived, "PATH", "/nowhere")
    assert problems(PAIR + web(), "alpha") == ("keepalived is not installed: this machine is no director",)
    assert problems(PAIR, "alpha") == ()
