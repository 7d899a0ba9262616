# SPDX-License-Identifier: GPL-2.0-or-later
"""realserver.toml: what is accepted, and with which words the rest is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.config.load import ConfigError
from appliance.config.realserver import RealServer
from appliance.config.realserver_file import parse
from appliance.errors import InputError

GOOD = """\
[realserver.web]
forwarding = "dr"
addresses = ["10.9.1.100", "fd00:9:0::100"]

[realserver.far]
forwarding = "tun"
tunnel = "gue"
tunnel_port = 6081
network = "10.9.1.0/24"
addresses = ["10.9.1.101"]

[realserver.back]
forwarding = "nat"
network = "10.9.2.0/24"
gateway = "10.9.2.1"
"""
FAR = 'forwarding = "tun"\nnetwork = "10.9.1.0/24"\n'


def test_every_key_arrives() -> None:
    assert parse(GOOD) == (
        RealServer("web", "dr", ("10.9.1.100", "fd00:9::100")),
        RealServer("far", "tun", ("10.9.1.101",), "10.9.1.0/24", None, "gue", 6081),
        RealServer("back", "nat", (), "10.9.2.0/24", "10.9.2.1"),
    )


def test_addresses_are_written_as_the_kernel_prints_them() -> None:
    text = '[realserver.back]\nforwarding = "nat"\nnetwork = "FD00:9:0::/64"\ngateway = "FD00:9:0::1"'
    assert parse(text) == (RealServer("back", "nat", (), "fd00:9::/64", "fd00:9::1"),)
    with pytest.raises(ConfigError, match=r'back2.network: found "fd00:9::/64", expected a network that'):
        parse(f"{text}\n{text.replace('back', 'back2').replace('FD00:9:0', 'fd00:9')}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "realserver: missing, expected [realserver.NAME] tables"),
        ("[realserver]", "expected at least one [realserver.NAME] table"),
        ("[realserver.web]", 'realserver.web.forwarding: missing, expected "dr" or "tun" or "nat"'),
        (
            '[realserver.web]\nforwarding = "dsr"\naddresses = ["10.9.1.100"]',
            'realserver.web.forwarding: found "dsr", expected "dr" or "tun" or "nat"',
        ),
        (
            '[realserver.web]\nforwarding = "dr"',
            'realserver.web.addresses: missing, expected it with forwarding = "dr"',
        ),
        (
            '[realserver.web]\nforwarding = "dr"\naddresses = []',
            'realserver.web.addresses: found [], expected an array of the service addresses, like ["10.9.1.100"]',
        ),
        (
            '[realserver.web]\nforwarding = "dr"\naddresses = ["10.9.1.100/24"]',
            'realserver.web.addresses.1: found "10.9.1.100/24", expected an address without a prefix length',
        ),
        (
            '[realserver.web]\nforwarding = "dr"\naddresses = ["10.9.1.100"]\ngateway = "10.9.1.1"',
            'realserver.web.gateway: found, expected none with forwarding = "dr": answers go to the clients '
            "directly",
        ),
        (
            '[realserver.web]\nforwarding = "dr"\naddresses = ["10.9.1.100"]\ntunnel = "gre"',
            'realserver.web.tunnel: found, expected none with forwarding = "dr"',
        ),
        (
            '[realserver.web]\nforwarding = "tun"\naddresses = ["10.9.1.100"]',
            'realserver.web.network: missing, expected it with forwarding = "tun"',
        ),
        (
            '[realserver.web]\nforwarding = "nat"\nnetwork = "10.9.2.0/24"\ngateway = "10.9.3.1"',
            'realserver.web.gateway: found "10.9.3.1", expected an address in 10.9.2.0/24: answers that do not '
            "pass the director carry the wrong sender's address",
        ),
        (
            '[realserver.web]\nforwarding = "nat"\nnetwork = "10.9.2.1/24"\ngateway = "10.9.2.1"',
            'realserver.web.network: found "10.9.2.1/24", expected a network without host bits, like "10.9.1.0/24"',
        ),
        (
            '[realserver.web]\nforwarding = "nat"\nnetwork = "10.9.2.0/24"\ngateway = "10.9.2.1"\n'
            'addresses = ["10.9.1.100"]',
            'realserver.web.addresses: found, expected none with forwarding = "nat": the director writes this '
            "machine's own address into the packets",
        ),
        (
            f'[realserver.web]\n{FAR}addresses = ["10.9.1.100"]\ntunnel = "gre"\ntunnel_port = 6080',
            'realserver.web.tunnel_port: found, expected none without tunnel = "gue": only that has a port',
        ),
        (
            f'[realserver.web]\n{FAR}addresses = ["10.9.1.100"]\ntunnel = "gue"\ntunnel_port = 65536',
            "realserver.web.tunnel_port: found 65536, expected a whole number from 1 to 65535",
        ),
        (
            f'[realserver.a]\n{FAR}addresses = ["10.9.1.100"]\n[realserver.b]\n{FAR}addresses = ["10.9.1.101"]',
            'realserver.b.network: found "10.9.1.0/24", expected a network that realserver.a does not have; one '
            "table can have several addresses",
        ),
        (
            '[realserver.a]\nforwarding = "dr"\naddresses = ["fd00::1"]\n'
            '[realserver.b]\nforwarding = "dr"\naddresses = ["fd00:0::1"]',
            'realserver.b.addresses.1: found "fd00:0::1", expected an address that realserver.a does not have',
        ),
        (
            '[realserver.much-too-long]\nforwarding = "dr"\naddresses = ["10.9.1.100"]',
            'realserver.much-too-long: found the name "much-too-long", expected small letters, digits and -, a '
            "letter first (at most 11)",
        ),
        (
            '[realserver.web]\nforwarding = "dr"\naddress = ["10.9.1.100"]\naddresses = ["10.9.1.100"]',
            "realserver.web.address: unknown key; did you mean 'addresses'?",
        ),
        ('[node.a]\nlinks = ["10.9.1.1"]', "node: unknown key; expected one of realserver"),
    ],
)
def test_what_is_refused_and_how(text: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse(text)
    told = refusal.value.problems if isinstance(refusal.value, ConfigError) else (refusal.value.message,)
    assert said in [line.removeprefix("realserver.toml: ") for line in told]
    assert refusal.value.exit_code == 2


def test_config_check_knows_the_file_by_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "anything.toml"
    file.write_text(GOOD)
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out.endswith("no mistakes. Real server: web (dr), far (tun), back (nat)\n")
    file.write_text(GOOD.replace('"10.9.2.1"', '"10.9.3.1"'))
    assert main(["config", "check", "--json", str(file)]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem.startswith("realserver.back.gateway: ")
