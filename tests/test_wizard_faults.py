# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad answers, each with the place and the exact words of its refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from appliance.firstboot.state import State
from appliance.firstboot.wizard import Wizard
from tests.wizard_machine import BLANK, FACTS, GOOD, KEY, ToyMachine

RSA_1024 = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV"
    "VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVQ== old"
)
IP = "expected an IPv4 address with its prefix length, like 10.9.1.11/24"
IP6 = "expected an IPv6 address with its prefix length, like fd00:9:1::11/64"
PLAIN = "expected an address without a prefix length, like 10.9.1.1"
NAME = "expected small letters, digits and -, no - at either end (at most 63)"
JOIN = {"action": "join", "host": "10.9.1.12", "code": "K7QX-3M9T"}
DEVICE = {"how": "devices", "address": "10.9.3.111", "user": "admin", "password": "secret-of-bmc"}
# Never with what was typed: an answers file's faults are shown on every console.
UNTOLD = "expected the user's password, in at most 128 printable ASCII characters"
NTFS = "/dev/disk/by-id/ata-WDC_WD40_WX12"

BAD: list[tuple[str, dict[str, str], str, str]] = [
    ("keyboard", {"layout": "xx"}, "layout", 'found "xx", expected a layout that Linux knows, like us or de'),
    (
        "keyboard",
        {"layout": "de-latin"},
        "layout",
        'found "de-latin", expected a layout that Linux knows, like us or de; did you mean "de-latin1"?',
    ),
    ("keyboard", {"language": "xx_XX"}, "language", 'found "xx_XX", expected C.UTF-8 or de_DE.UTF-8'),
    ("role", {"role": "director"}, "role", 'found "director", expected database or witness'),
    ("name", {"name": ""}, "name", f'found "", {NAME}'),
    ("name", {"name": "Alpha"}, "name", f'found "Alpha", {NAME}'),
    ("name", {"name": "alpha_1"}, "name", f'found "alpha_1", {NAME}'),
    ("name", {"name": "-alpha"}, "name", f'found "-alpha", {NAME}'),
    ("name", {"name": "a" * 64}, "name", f'found "{"a" * 64}", {NAME}'),
    (
        "name",
        {"name": "12"},
        "name",
        'found "12", expected at least one letter: this reads like a number of an address',
    ),
    ("name", {"name": "localhost"}, "name", 'found "localhost", expected a name that is not every machine\'s own'),
    ("link.enp0s2", {"address4": ""}, "address4", f'found "", {IP}'),
    ("link.enp0s2", {"address4": "10.9.1.11"}, "address4", f'found "10.9.1.11", {IP}'),
    ("link.enp0s2", {"address4": "10.9.1.300/24"}, "address4", f'found "10.9.1.300/24", {IP}'),
    ("link.enp0s2", {"address4": "10.9.1.11/33"}, "address4", f'found "10.9.1.11/33", {IP}'),
    ("link.enp0s2", {"address4": "alpha/24"}, "address4", f'found "alpha/24", {IP}'),
    ("link.enp0s2", {"address4": "fd00::1/64"}, "address4", f'found "fd00::1/64", {IP}'),
    (
        "link.enp0s2",
        {"address4": "10.9.1.0/24"},
        "address4",
        'found "10.9.1.0/24", expected a machine\'s address, not one that means all of 10.9.1.0/24',
    ),
    (
        "link.enp0s2",
        {"address4": "10.9.1.255/24"},
        "address4",
        'found "10.9.1.255/24", expected a machine\'s address, not one that means all of 10.9.1.0/24',
    ),
    (
        "link.enp0s2",
        {"address4": "127.0.0.1/8"},
        "address4",
        'found "127.0.0.1/8", expected a machine\'s address, not one that every machine has for itself',
    ),
    (
        "link.enp0s2",
        {"address4": "224.0.0.9/24"},
        "address4",
        'found "224.0.0.9/24", expected a machine\'s address, not one of a multicast group',
    ),
    (
        "link.enp0s2",
        {"address4": "169.254.1.1/16"},
        "address4",
        'found "169.254.1.1/16", expected a machine\'s address, not a link-local one, which says nothing without '
        "its link",
    ),
    (
        "link.enp0s2",
        {"address4": "0.0.0.0/8"},
        "address4",
        'found "0.0.0.0/8", expected a machine\'s address, not one that means no machine',
    ),
    (
        "link.enp0s2",
        {"address4": "250.1.1.1/24"},
        "address4",
        'found "250.1.1.1/24", expected a machine\'s address, not one that is reserved',
    ),
    (
        "link.enp0s2",
        {"address4": "10.9.1.11/32"},
        "address4",
        'found "10.9.1.11/32", expected a prefix length that leaves room for the other machines',
    ),
    (
        "link.enp0s2",
        {"address4": "10.9.1.11/0"},
        "address4",
        'found "10.9.1.11/0", expected the prefix length of one network, not of the whole world',
    ),
    ("link.enp0s3", {"address6": "10.9.1.1/24"}, "address6", f'found "10.9.1.1/24", {IP6}'),
    (
        "link.enp0s3",
        {"address6": "fe80::1/64"},
        "address6",
        'found "fe80::1/64", expected a machine\'s address, not a link-local one, which says nothing without '
        "its link",
    ),
    (
        "link.enp0s3",
        {"address6": "fd00:9:2::/64"},
        "address6",
        'found "fd00:9:2::/64", expected a machine\'s address, not one that means all of fd00:9:2::/64',
    ),
    ("link.enp0s2", {"gateway": "10.9.1.1/24"}, "gateway", f'found "10.9.1.1/24", {PLAIN}'),
    ("link.enp0s2", {"gateway": "10.8.0.1"}, "gateway", 'found "10.8.0.1", expected an address in 10.9.1.0/24'),
    (
        "link.enp0s2",
        {"gateway": "10.9.1.11"},
        "gateway",
        "found \"10.9.1.11\", expected another machine's address, not this one's",
    ),
    ("link.enp0s2", {"gateway": "10.9.1.1 10.9.1.2"}, "gateway", "found two IPv4 gateways, expected one"),
    ("link.enp0s2", {"gateway": "fd00::1"}, "gateway", 'found "fd00::1", expected an address in 10.9.1.0/24'),
    (
        "link.enp0s3",
        {"ipv4": "static", "address4": "10.9.2.11/24", "gateway": "10.9.2.1"},
        "gateway",
        "found a second IPv4 gateway: enp0s2 has one already",
    ),
    ("link.enp0s2", {"dns": "10.9.1.1 dns.example.org"}, "dns", f'found "dns.example.org", {PLAIN}'),
    (
        "link.enp0s2",
        {"ipv4": "dhcp"},
        "ipv4",
        "found DHCP, expected a fixed address: the other machines find this one by it",
    ),
    (
        "link.enp0s2",
        {"ipv4": "none", "ipv6": "auto"},
        "ipv4",
        "found no fixed address, expected a fixed address: the other machines find this one by it",
    ),
    ("link.enp0s4", {"ipv4": "none"}, "ipv4", 'found no address at all, expected one, or "not used" above'),
    ("link.enp0s4", {"ipv4": "automatic"}, "ipv4", 'found "automatic", expected static or dhcp or none'),
    (
        "link.enp0s3",
        {"ipv4": "static", "ipv6": "none", "address4": "10.9.1.11/24"},
        "address4",
        'found "10.9.1.11/24", which enp0s2 has already',
    ),
    (
        "link.enp0s3",
        {"ipv4": "static", "ipv6": "none", "address4": "10.9.1.99/28"},
        "address4",
        "found the network 10.9.1.96/28, expected one apart from 10.9.1.0/24 of enp0s2",
    ),
    ("trial", {"keep": "maybe"}, "keep", 'found "maybe", expected keep or undo'),
    (
        "disk",
        {"disk": "/dev/disk/by-id/virtio-root"},
        "disk",
        "found a disk that is in use (mounted on /), expected one that is free",
    ),
    (
        "disk",
        {"disk": "/dev/disk/by-id/usb-Stick_0815"},
        "disk",
        "found a disk of 64 MiB, expected one of at least 256 MiB",
    ),
    (
        "disk",
        {"disk": "/dev/sdz"},
        "disk",
        'found "/dev/sdz", which is not a disk of this machine, expected /dev/disk/by-id/virtio-data or '
        "/dev/disk/by-id/ata-WDC_WD40_WX12 or /dev/disk/by-id/usb-Stick_0815",
    ),
    (
        "disk",
        {"disk": NTFS},
        "wipe",
        "the disk is not blank: it holds 2 partitions (ntfs, ext4). To erase it, type ata-WDC_WD40_WX12",
    ),
    (
        "disk",
        {"disk": NTFS, "wipe": "yes"},
        "wipe",
        'found "yes", expected ata-WDC_WD40_WX12, the name of the disk to be erased',
    ),
    (
        "time",
        {"servers": "ntp server!"},
        "servers",
        'found "server!", expected the name or the address of a server',
    ),
    ("time", {"servers": "10.9.1"}, "servers", f'found "10.9.1", {PLAIN}'),
    ("time", {"servers": "", "clock": "set"}, "servers", "found none, expected a server to set the clock from"),
    ("admin", {"password": "short", "again": "short"}, "password", "found 5 characters, expected 8 to 128"),
    (
        "admin",
        {"password": "aaaaaaaabb", "again": "aaaaaaaabb"},
        "password",
        "found 2 different characters, expected at least 4",
    ),
    (
        "admin",
        {"password": "horse\tboat"},
        "password",
        "found a control character, expected what every keyboard can type",
    ),
    ("admin", {"again": "a horse, a goat"}, "again", "the two passwords differ"),
    (
        "admin",
        {"password": "", "again": "", "keys": " \n"},
        "password",
        "found neither a password nor a key, expected one of them: nobody could log in",
    ),
    (
        "admin",
        {"password": "PairKeep", "again": "PairKeep"},
        "password",
        "found a name that others would try first, expected a password",
    ),
    (
        "admin",
        {"keys": "-----BEGIN OPENSSH PRIVATE KEY-----"},
        "keys",
        "found a private key, expected a public one: the file whose name ends in .pub",
    ),
    (
        "admin",
        {"keys": "ssh-dss AAAA"},
        "keys",
        "found a DSA key, which sshd takes no more, expected one like ssh-ed25519",
    ),
    (
        "admin",
        {"keys": "AAAAC3NzaC1lZDI1NTE5"},
        "keys",
        'found a line that begins with "AAAAC3NzaC1lZDI1NTE5", expected a public key, like ssh-ed25519 AAAA… name',
    ),
    ("admin", {"keys": "ssh-ed25519"}, "keys", "found ssh-ed25519 alone, expected the key itself after it"),
    (
        "admin",
        {"keys": KEY.replace("IG9u ", " ")},
        "keys",
        "found a key that is not whole, expected the line as it stands in the .pub file",
    ),
    (
        "admin",
        {"keys": KEY.replace("ssh-ed25519", "ssh-rsa")},
        "keys",
        "found a key of another kind than the ssh-rsa before it",
    ),
    ("admin", {"keys": f"{KEY}\n{RSA_1024}"}, "keys", "found an RSA key of 1024 bits, expected at least 2048"),
    (
        "cluster",
        {"name": "my shop"},
        "name",
        'found "my shop", expected letters, digits, - and _, a letter first (at most 32)',
    ),
    ("cluster", {"action": "leave"}, "action", 'found "leave", expected create or join'),
    ("cluster", {**JOIN, "host": "alpha"}, "host", f'found "alpha", {PLAIN}'),
    (
        "cluster",
        {**JOIN, "host": "10.9.1.11"},
        "host",
        "found \"10.9.1.11\", which is this machine's own, expected the first machine's",
    ),
    ("fencing", {"how": "hope"}, "how", 'found "hope", expected witness or devices or both or manual'),
    (
        "fencing",
        {**DEVICE, "agent": "fence_ipmi"},
        "agent",
        'found "fence_ipmi", expected a fence agent that this image has; did you mean "fence_ipmilan"?',
    ),
    ("fencing", {**DEVICE, "address": "bmc"}, "address", f'found "bmc", {PLAIN}'),
    (
        "fencing",
        {**DEVICE, "address": "10.9.1.11"},
        "address",
        "found \"10.9.1.11\", expected the device's address, not this machine's",
    ),
    ("fencing", {**DEVICE, "user": ""}, "user", "found nothing, expected the user's name"),
    ("fencing", {**DEVICE, "password": ""}, "password", "found nothing, expected the user's password"),
    ("fencing", {**DEVICE, "password": "sécret"}, "password", f"{UNTOLD}; found one that is not ASCII"),
    ("fencing", {**DEVICE, "password": "a\tb"}, "password", f"{UNTOLD}; found a control character"),
    ("fencing", {**DEVICE, "password": "x" * 129}, "password", f"{UNTOLD}; found 129 characters"),
    ("service", {"address": "10.9.1.100"}, "address", f'found "10.9.1.100", {IP}'),
    (
        "service",
        {"address": "10.9.1.11/24"},
        "address",
        'found "10.9.1.11/24", expected an address that is not this machine\'s own',
    ),
    (
        "service",
        {"address": "10.9.1.100/16"},
        "address",
        'found "10.9.1.100/16", expected the prefix length of its network 10.9.1.0/24',
    ),
    (
        "service",
        {"address": "10.8.1.100/24"},
        "address",
        'found "10.8.1.100/24", expected an address in 10.9.1.0/24 or fd00:9:2::/64',
    ),
    (
        "service",
        {"database": "1shop"},
        "database",
        'found "1shop", expected letters, digits and _, no digit first (at most 32)',
    ),
    (
        "service",
        {"database": "mysql"},
        "database",
        'found "mysql", expected a name that is not one of MariaDB\'s own databases',
    ),
    ("service", {"user": "root"}, "user", 'found "root", expected a name that is not MariaDB\'s administrator'),
    (
        "service",
        {"password": "it's mine"},
        "password",
        "expected 8 to 128 printable ASCII characters without ' and \\",
    ),
]


def at(page: str, machine: ToyMachine, values: Mapping[str, Mapping[str, str]] = GOOD) -> Wizard:
    return Wizard(machine, State(values=values, page=page), lambda _: None)


@pytest.mark.parametrize(("page", "wrong", "name", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_answer_is_refused_under_its_field(page: str, wrong: dict[str, str], name: str, message: str) -> None:
    wizard = at(page, ToyMachine())
    if page == "trial":
        wizard.state = replace(wizard.state, page="trial")
    assert wizard.answer({**GOOD[page], **wrong}) == {name: message}
    assert wizard.page.key == page


def test_there_are_at_least_sixty_and_no_two_alike() -> None:
    assert len({(page, message) for page, _, _, message in BAD}) == len(BAD) >= 60


@pytest.mark.parametrize("page", GOOD)
def test_the_good_answer_beside_them_is_taken(page: str) -> None:
    wizard = at(page, ToyMachine())
    wizard.state = replace(wizard.state, page=page)
    assert wizard.answer(GOOD[page]) == {}
    assert wizard.page.key != page


@pytest.mark.parametrize(
    ("page", "machine", "wrong", "name", "message"),
    [
        (
            "link.enp0s2",
            ToyMachine(unplugged=("enp0s2",)),
            {},
            "use",
            "enp0s2 has no carrier: is its cable plugged in, and the switch on?",
        ),
        (
            "link.enp0s2",
            ToyMachine(owners={"10.9.1.11": "52:54:00:aa:bb:cc"}),
            {},
            "address4",
            'found "10.9.1.11/24", which the machine with the card 52:54:00:aa:bb:cc has already',
        ),
        (
            "link.enp0s3",
            ToyMachine(owners={"fd00:9:2::11": "52:54:00:aa:bb:cc"}),
            {},
            "address6",
            'found "fd00:9:2::11/64", which the machine with the card 52:54:00:aa:bb:cc has already',
        ),
        (
            "time",
            ToyMachine(ahead_s={"10.9.1.1": 3600.0}),
            {},
            "clock",
            "this clock is 1 h ahead of 10.9.1.1; choose to set it from the server",
        ),
        (
            "time",
            ToyMachine(ahead_s={"ntp.example.org": -3720.0}),
            {"servers": "10.9.9.9 ntp.example.org"},
            "clock",
            "this clock is 1 h 2 min behind ntp.example.org; choose to set it from the server",
        ),
        (
            "time",
            ToyMachine(ahead_s={}),
            {"servers": "10.9.9.9 ntp.example.org"},
            "servers",
            "no answer from 10.9.9.9 or ntp.example.org, expected a server that can be reached, or none",
        ),
        (
            "service",
            ToyMachine(owners={"10.9.1.100": "52:54:00:aa:bb:cc"}),
            {},
            "address",
            'found "10.9.1.100/24", which the machine with the card 52:54:00:aa:bb:cc has already',
        ),
        (
            "disk",
            ToyMachine(known=replace(FACTS, disks=FACTS.disks[:1])),
            {"disk": ""},
            "disk",
            "this machine has no disk that is free, expected one of at least 256 MiB",
        ),
    ],
)
def test_what_the_machine_and_its_networks_say_is_told(
    page: str, machine: ToyMachine, wrong: dict[str, str], name: str, message: str
) -> None:
    assert at(page, machine).answer({**GOOD[page], **wrong}) == {name: message}


def test_a_machine_whose_cards_are_all_left_unused_is_asked_for_one() -> None:
    unused = {f"link.enp0s{number}": {"use": "unused"} for number in (2, 3, 4)}
    wizard = at("link.enp0s4", ToyMachine(), {**GOOD, **unused})
    assert wizard.answer({"use": "unused"}) == {
        "use": "found no card for the cluster, expected at least one of enp0s2, enp0s3, enp0s4"
    }
    assert wizard.answer({"use": "other", "ipv4": "dhcp"}) == {
        "use": "found no card for the cluster, expected at least one of enp0s2, enp0s3, enp0s4"
    }


def test_a_clock_that_is_wrong_can_be_set() -> None:
    machine = ToyMachine(ahead_s={"10.9.1.1": -3600.0})
    assert at("time", machine).answer({"servers": "10.9.1.1", "clock": "set"}) == {}
    assert ("clock", 3600.0) in machine.done


def test_a_disk_is_erased_only_by_its_name() -> None:
    wizard = at("disk", ToyMachine())
    assert wizard.answer({"disk": NTFS, "wipe": "ata-WDC_WD40_WX12"}) == {}
    assert at("disk", ToyMachine()).values["disk"] == BLANK
