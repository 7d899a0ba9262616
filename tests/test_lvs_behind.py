# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine has to be, by the cluster's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.config.load import parse
from appliance.config.realserver import RealServer
from appliance.errors import InputError
from appliance.lvs.behind import realservers

CLUSTER = """\
[cluster]
name = "balance"
networks = ["10.9.1.0/24", "10.9.2.0/24"]

[node.alpha]
links = ["10.9.1.11", "10.9.2.11"]

[node.beta]
links = ["10.9.1.12", "10.9.2.12"]

[vrrp.web]
id = 51
addresses = ["10.9.1.100/24", "10.9.2.1/24"]
"""


def service(name: str, port: int, forward: str, real: str, more: str = "") -> str:
    return (
        f'[virtual.{name}]\naddress = "10.9.1.100"\nport = {port}\nforward = "{forward}"\n{more}'
        f'[[virtual.{name}.real]]\naddress = "{real}"\n'
    )


ALL = (
    CLUSTER
    + service("one", 80, "dr", "10.9.1.21")
    + service("two", 81, "dr", "10.9.1.21")
    + service("three", 82, "tun", "10.9.1.22")
    + service("four", 83, "tun", "10.9.1.22", 'tunnel = "gue"\ntunnel_port = 6081\n')
    + service("five", 84, "tun", "10.9.1.22", 'tunnel = "gre"\n')
    + service("six", 85, "nat", "10.9.2.23")
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.9.1.21", (RealServer("direct", "dr", ("10.9.1.100",)),)),
        (
            "10.9.1.22",
            (
                RealServer("gre", "tun", ("10.9.1.100",), "10.9.1.22/32", None, "gre"),
                RealServer("tunnel", "tun", ("10.9.1.100",), "10.9.1.22/32", None, "gue", 6081),
            ),
        ),
        ("10.9.2.23", (RealServer("behind", "nat", (), "10.9.2.0/24", "10.9.2.1"),)),
    ],
)
def test_what_a_machine_needs(address: str, expected: tuple[RealServer, ...]) -> None:
    assert realservers(parse(ALL), address) == expected


@pytest.mark.parametrize(
    ("text", "address", "said"),
    [
        (ALL, "10.9.1.99", "no virtual service sends to 10.9.1.99"),
        (ALL, "web1", "found 'web1', expected the address by which directors know the machine"),
        (
            ALL + service("seven", 86, "tun", "10.9.1.22", 'tunnel = "gue"\n'),
            "10.9.1.22",
            "services send to 10.9.1.22 by GUE to several ports (6080, 6081)",
        ),
        (
            ALL.replace(', "10.9.2.1/24"', ""),
            "10.9.2.23",
            "the answers of 10.9.2.23 have to go by the directors, and no [vrrp.NAME] has an address in its "
            "network",
        ),
    ],
)
def test_what_nobody_can_know_is_said(text: str, address: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        realservers(parse(text), address)
    assert refusal.value.message == said


def test_the_command_prints_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(ALL)
    assert main(["realserver", "script", str(file), "--for", "10.9.1.21"]) == 0
    assert "address add 10.9.1.100/32 dev lo" in capsys.readouterr().out
