# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers that make a blank machine a real server."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.errors import InputError
from appliance.firstboot.answers import Settings
from appliance.firstboot.network import LinkSettings
from appliance.firstboot.realserver import is_for_realserver, parse_answers

TEXT = """\
name = "web1"
password_hash = "$y$j9T$abcdefghijklmnop$0123456789"

realserver = '''
[realserver.web]
forwarding = "dr"
addresses = ["10.9.1.100"]
'''

[[network]]
interface = "enp0s2"
address = "10.9.1.21/24"
gateway = "10.9.1.1"
"""


def test_all_of_it_arrives() -> None:
    assert is_for_realserver(TEXT)
    found = parse_answers(TEXT)
    assert found.node == "web1"
    card = LinkSettings("enp0s2", (ip_interface("10.9.1.21/24"),), gateways=(ip_address("10.9.1.1"),))
    assert found.networks == (card,)
    assert found.text.startswith("[realserver.web]")
    assert found.settings == Settings(password_hash="$y$j9T$abcdefghijklmnop$0123456789")  # noqa: S106


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"web1"', '"Web_1"', "name: "),
        ('"dr"', '"dsr"', 'pairkeep.toml: realserver: realserver.web.forwarding: found "dsr", expected "dr"'),
        ('interface = "enp0s2"\n', "", "network.1.interface: missing, expected a MAC"),
        ('[[network]]\ninterface = "enp0s2"\naddress = "10.9.1.21/24"\ngateway = "10.9.1.1"\n', "", "network: "),
        ('gateway = "10.9.1.1"', 'gateway = "10.9.1.300"', "network.1.gateway: "),
        ('name = "web1"', 'name = "web1"\ncluster_key = "x"', "cluster_key: unknown key; expected one of name"),
    ],
)
def test_mistakes_are_told(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(InputError) as refusal:
        parse_answers(TEXT.replace(old, new))
    assert said in refusal.value.message


def test_other_answers_are_not_taken_for_these() -> None:
    assert not is_for_realserver('node = "alpha"')
    assert not is_for_realserver("[setup.name]")
    assert not is_for_realserver("no TOML at all [")


def test_the_command_looks_at_it_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairkeep.toml"
    path.write_text(TEXT)
    assert main(["answers", "check", str(path)]) == 0
    assert "It sets up web1 as a real server." in capsys.readouterr().out
    path.write_text(TEXT.replace('"dr"', '"dsr"'))
    assert main(["answers", "check", str(path)]) == 2
    assert 'realserver.web.forwarding: found "dsr"' in capsys.readouterr().err
