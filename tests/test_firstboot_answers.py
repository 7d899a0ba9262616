# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers for a first boot: the good ones are taken whole, the bad ones are refused with their reason."""

from __future__ import annotations

import pytest

from appliance.config.load import ConfigError
from appliance.errors import InputError
from appliance.firstboot.answers import parse_answers
from appliance.firstboot.facts import ALIAS
from appliance.lab.pair import CLUSTER_TOML, ROLES, answers

GOOD = answers(ROLES[0])
BY_ALIAS = CLUSTER_TOML.replace("/dev/disk/by-id/virtio-data", ALIAS)


def test_the_labs_own_answers_are_good() -> None:
    found = parse_answers(GOOD)
    assert found.node == "alpha"
    assert found.interfaces == ("52:54:00:09:01:0b", "52:54:00:09:02:0b")
    assert found.cluster.name == "shop"
    assert found.database is not None
    assert found.database.user == "shop"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('node = "alpha"', 'node = "gamma"', 'node: found "gamma", expected one of alpha, beta, witness'),
        ('node = "alpha"', "", "node: missing, expected the name of one of the cluster's nodes"),
        (
            'node = "alpha"',
            'node = "alpha"\nwipe = "yes"',
            'wipe: found "yes", expected true, false, or "drbd" for',
        ),
        (
            'cluster_key = "',
            'cluster_key = 1111 # "',
            "cluster_key: found a value that is not shown, expected text",
        ),
        ('cluster_key = "', 'cluster_key = "!', "cluster_key: expected the cluster's key in base64"),
        ('user = "shop"', 'user = "x\'; DROP"', 'database.user: found "x\'; DROP", expected letters, digits and _'),
        ('password = "pairkeep-lab"', 'password = "short"', "database.password: expected 8 to 128"),
        (', "52:54:00:09:02:0b"]', "]", "interfaces: found 1, expected 2, one for each of cluster.networks"),
        ("52:54:00:09:01:0b", "52:54:00:09:01:0b:99", "expected a MAC address or an interface's name"),
        ("[node.beta]", "[node.BETA!]", "cluster"),
        ('name = "shop"\nuser', "name = 5\nuser", "database.name: found 5, expected text"),
    ],
)
def test_a_wrong_answer_is_refused(before: str, after: str, message: str) -> None:
    assert before in GOOD
    with pytest.raises(InputError) as refused:
        parse_answers(GOOD.replace(before, after, 1))
    assert message in str(refused.value)


ITS_LINE = 'password = "pairkeep-lab"'
UNSHOWN = "; the line is not shown, for it may hold a secret"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (ITS_LINE, "password = hunter2", f"line 37, column 12: not valid TOML: Invalid value{UNSHOWN}"),
        (ITS_LINE, 'password "hunter2"', f"not valid TOML: Expected '=' after a key in a key/value pair{UNSHOWN}"),
        (ITS_LINE, 'password = "hunter2', f"line 37, column 20: not valid TOML{UNSHOWN}"),
        (ITS_LINE, "password = 41234", "database.password: found a value that is not shown, expected text"),
        (ITS_LINE, 'password = ["hunter2"]', "database.password: found a value that is not shown, exp"),
        (
            "[database]",
            'secrets = "hunter2"\n[database]',
            "secrets: found a value that is not shown, expected a table",
        ),
        (ITS_LINE, 'hunter2 = "x"\nhunter2 = "y"', f"Cannot overwrite a value{UNSHOWN}"),
        ('cluster_key = "', 'cluster_key = "hunter2\\', "not valid TOML"),
        ("[node.beta]", 'fence = { agent = "fence_x", password = hunter2 }', "pairkeep.toml: cluster: line"),
    ],
)
def test_no_secret_is_told_whatever_is_wrong_with_it(before: str, after: str, message: str) -> None:
    """The message is shown on every console, and stays in the journal."""
    assert before in GOOD
    with pytest.raises(InputError) as refused:
        parse_answers(GOOD.replace(before, after, 1))
    told = str(refused.value)
    assert message in told
    assert "hunter2" not in told
    assert "41234" not in told


def test_all_wrong_answers_are_told_at_once() -> None:
    """In the file's order, also those of the cluster.toml in it and of what the one has to do with the other."""
    text = GOOD
    for before, after in (
        ('node = "alpha"', 'node = "gamma"\nwip = true'),
        (', "52:54:00:09:02:0b"]', ', "52:54:00:09:01:0B", "ens5"]'),
        ("link = 2", 'link = "x"'),
        ('user = "shop"', 'user = "-"'),
        ('password = "pairkeep-lab"', 'password = "x"\n[[network]]\ninterface = "ens5"\ndhcp = 1'),
    ):
        text = text.replace(before, after, 1)
    with pytest.raises(ConfigError) as refused:
        parse_answers(text)
    assert [problem.partition(", expected")[0] for problem in refused.value.problems] == [
        'node: found "gamma"',
        "wip: unknown key; did you mean 'wipe'?",
        "interfaces: found 3",
        'interfaces.2: found "52:54:00:09:01:0B" again',
        'cluster: drbd.shopdata.link: found "x"',
        'database.user: found "-"',
        "database.password: expected 8 to 128 printable ASCII characters without ' and \\",
        "network.1.dhcp: found 1",
    ]


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (
            'interface = "ens5"\naddress = "10.9.5.2/24"\ngateway = "10.9.6.1"',
            'network.1.gateway: found "10.9.6.1", expected an address in 10.9.5.0/24',
        ),
        (
            'interface = "ens5"\naddress = "10.9.5.2/24"\ngateway = "10.9.5.2"',
            "network.1.gateway: found \"10.9.5.2\", expected another machine's address, not this one's",
        ),
        (
            'interface = "ens5"\ngateway = "10.9.5.1"',
            'network.1.gateway: found "10.9.5.1", expected an address in a network that the card is in',
        ),
        (
            'interface = "ens5"\naddress = "10.9.5.2/24"\ngateway = "10.9.5.1"\n'
            '[[network]]\ninterface = "ens5"\ngateway = "10.9.5.3"',
            'network.2.gateway: found "10.9.5.3", expected none: network.1 has an IPv4 gateway already',
        ),
        (
            'interface = "52:54:00:09:01:0B"\ngateway = "10.9.2.1"',
            'network.1.gateway: found "10.9.2.1", expected an address in 10.9.1.0/24',
        ),
    ],
)
def test_a_gateway_is_the_only_one_and_in_a_network_of_its_card(networks: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_answers(f"{GOOD}\n[[network]]\n{networks}\n")
    assert refused.value.problems == (message,)


def test_a_heartbeats_card_and_one_that_asks_dhcp_may_have_a_gateway() -> None:
    v4 = '[[network]]\ninterface = "52:54:00:09:01:0B"\ngateway = "10.9.1.1"\n'
    v6 = '[[network]]\ninterface = "ens5"\nrouter_advertisements = true\ngateway = "fd00:5::1"\n'
    assert [str(one.gateways[0]) for one in parse_answers(f"{GOOD}\n{v4}{v6}").networks] == [
        "10.9.1.1",
        "fd00:5::1",
    ]


MORE = """
keyboard = "de"
language = "C.UTF-8"
time_servers = ["10.9.1.1", "ntp.example.org", "fd00:9::1"]
password_hash = "$y$j9T$d3fpjs4NUVlPddNO9sJnb1$9Fgoh6NtjI2sGroaMCHrjt6Wzm/9Vq5lJl6dI5IY6D2"
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFBhaXJrZWVwIHRlc3Qga2V5LCBub3QgYSByZWFsIG9u alice"]
disk = "/dev/disk/by-id/virtio-data"
wipe = true
[[network]]
interface = "enp0s4"
dhcp = true
dns = ["10.9.3.1"]
"""


def test_what_concerns_the_machine_alone_can_be_said_too() -> None:
    head, tables = answers(ROLES[0], BY_ALIAS).split("[database]")
    settings, network = MORE.split("[[network]]")
    found = parse_answers(f"{head}{settings}\n[database]{tables}\n[[network]]{network}")
    assert (found.settings.keyboard, found.settings.wipe) == ("de", True)
    assert found.settings.time_servers == ("10.9.1.1", "ntp.example.org", "fd00:9::1")
    assert found.networks[0].dhcp
    assert str(found.networks[0].dns[0]) == "10.9.3.1"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('keyboard = "de"', 'keyboard = "de; rm"', 'keyboard: found "de; rm", expected a keyboard layout\'s name'),
        ('"ntp.example.org"', '"ntp!"', 'found "ntp!", expected the name or the address of a server'),
        ('"fd00:9::1"', '"fd00:9:1"', 'found "fd00:9:1", expected an address without a prefix length'),
        ('"$y$j9T', '"secret', "password_hash: expected a password's hash as in /etc/shadow"),
        ("ssh-ed25519 AAAA", "ssh-dss AAAA", "found a DSA key, which sshd takes no more"),
        (
            '"/dev/disk/by-id/virtio-data"',
            '"virtio-data"',
            'found "virtio-data", expected the path of a disk',
        ),
        ('dns = ["10.9.3.1"]', 'dns = ["here"]', 'found "here", expected an address without a prefix length'),
        ('dns = ["10.9.3.1"]', 'dns = ["fd00::1%x"]', 'found "fd00::1%x", expected an address without a prefix'),
        (
            "dhcp = true",
            'address = "fd00::5%x/64"',
            'found "fd00::5%x/64", expected an IPv6 address with its prefix',
        ),
    ],
)
def test_a_wrong_setting_is_refused_in_the_wizards_words(before: str, after: str, message: str) -> None:
    head, tables = GOOD.split("[database]")
    settings, network = MORE.replace(before, after).split("[[network]]")
    with pytest.raises(InputError) as refused:
        parse_answers(f"{head}{settings}\n[database]{tables}\n[[network]]{network}")
    assert message in str(refused.value)


DISK = 'disk = "/dev/disk/by-id/virtio-data"\n'


@pytest.mark.parametrize(
    ("role", "cluster", "settings", "message"),
    [
        (
            2,
            BY_ALIAS,
            f"{DISK}wipe = true\n",
            'disk: found "/dev/disk/by-id/virtio-data", expected none: witness only',
        ),
        (0, CLUSTER_TOML, f"{DISK}wipe = true\n", f'expected none: no drbd of the cluster has disk = "{ALIAS}"'),
        (0, BY_ALIAS, "", f"disk: missing, expected this machine's disk, which drbd.shopdata calls {ALIAS}"),
        (
            0,
            CLUSTER_TOML,
            "wipe = true\n",
            f'wipe: found true, expected none: no drbd of the cluster has disk = "{ALIAS}"',
        ),
        (0, BY_ALIAS, f'disk = "{ALIAS}"\n', f'disk: found "{ALIAS}", expected'),
    ],
)
def test_only_a_disk_that_the_cluster_uses_here_is_named_or_erased(
    role: int, cluster: str, settings: str, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        parse_answers(settings + answers(ROLES[role], cluster))
    assert message in str(refused.value)


@pytest.mark.parametrize(("role", "settings"), [(0, f"{DISK}wipe = true\n"), (1, DISK), (2, "")])
def test_each_machine_names_the_disk_that_it_has(role: int, settings: str) -> None:
    assert parse_answers(settings + answers(ROLES[role], BY_ALIAS)).settings.wipe == ("wipe" in settings)
