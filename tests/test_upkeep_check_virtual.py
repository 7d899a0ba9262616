# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node says beforehand of virtual services that it could not serve."""

from __future__ import annotations

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
        f"virtual.web: {password} does not exist",
    )
    program.touch()
    password.touch()
    assert problems(text, "alpha") == ()


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
