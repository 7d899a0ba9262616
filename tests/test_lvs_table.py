# SPDX-License-Identifier: GPL-2.0-or-later
"""What ipvsadm and keepalived of Debian 13 printed on a director, read; and what is wanted, in ipvsadm's words."""

from __future__ import annotations

import string
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.virtual import Check, Real, Sorry, Virtual
from appliance.lvs.checkers import Checked, parse_dump
from appliance.lvs.table import Server, Service, ServiceKey, TableError, parse_listed, parse_saved, split_endpoint
from appliance.lvs.wanted import server_of, service_of

FOLDER = Path(__file__).parent / "ipvs"
WEB = ServiceKey("tcp", "10.9.1.100", 80)


def lines(name: str) -> list[str]:
    return (FOLDER / name).read_text().splitlines()


def test_a_table_with_all_that_there_is() -> None:
    table = parse_saved(lines("saved.txt"), lines("thresholds.txt"))
    assert len(table) == 9
    assert table[WEB] == Service(
        WEB,
        "wlc",
        servers=(
            Server("10.9.1.21", 80, "dr", 3),
            # ipvsadm -S says nothing of its limits.
            Server("10.9.1.22", 80, "dr", 0, upper=200, lower=150),
        ),
    )
    tls = table[ServiceKey("tcp", "10.9.1.100", 443)]
    assert (tls.persistent, tls.netmask, tls.flags) == (300, "255.255.255.0", ("sh-fallback", "sh-port"))
    assert tls.servers == (Server("10.9.2.21", 8443, "nat"),)
    dns = table[ServiceKey("udp", "10.9.1.100", 53)]
    assert (dns.scheduler, dns.flags, dns.one_packet) == ("mh", ("mh-port",), True)
    assert [server.tunnel for server in dns.servers] == [
        (),
        ("--tun-type", "gue", "--tun-port", "6080"),
        ("--tun-type", "gue", "--tun-port", "6080"),
        ("--tun-type", "gre"),
    ]
    assert table[ServiceKey("udp", "10.9.1.100", 5060)].engine == "sip"
    assert table[ServiceKey("sctp", "10.9.1.100", 9)].servers == ()
    assert table[ServiceKey("tcp", "fd00:9::100", 80, 6)].servers == (Server("fd00:9::21", 80, "dr", 2),)
    assert table[ServiceKey.of_mark(7)].servers == (Server("10.9.1.21", 0, "dr"),)
    assert table[ServiceKey.of_mark(8, 6)].netmask == "64"


def test_what_is_read_is_written_the_same() -> None:
    """But for what ipvsadm says in any case, and the order of its options."""
    table = parse_saved(lines("saved.txt"), [])
    written = []
    for service in table.values():
        written.append(("-A", *service.words))
        written += [("-a", *service.key.words, *server.words) for server in service.servers]
    as_read = [line.replace(" --tun-nocsum", "").replace(" --tun-type ipip", "") for line in lines("saved.txt")]
    assert [sorted(words) for words in written] == [sorted(line.split()) for line in as_read]


@pytest.mark.parametrize("name", ["listed.txt", "stats.txt", "rate.txt", "thresholds.txt"])
def test_every_listing_has_each_service_and_server(name: str) -> None:
    table = parse_saved(lines("saved.txt"), [])
    expected = {(s.key, at) for s in table.values() for at in ("", *(server.endpoint for server in s.servers))}
    assert {(row.key, row.server) for row in parse_listed(lines(name))} == expected


def test_the_columns_of_a_server() -> None:
    found = {(row.key, row.server): row.numbers for row in parse_listed(lines("thresholds.txt"))}
    assert found[WEB, "10.9.1.22:80"] == (200, 150, 0, 0)
    found = {(row.key, row.server): row.numbers for row in parse_listed(lines("listed.txt"))}
    assert found[WEB, "10.9.1.21:80"] == (3, 0, 0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-A -t 10.9.1.100:80 -s wlc --new 7", "'--new 7' is not understood"),
        ("-a -t 10.9.1.100:80 -r 10.9.1.21:80 -g -w 1", "not understood"),
        ("-A -t nonsense -s wlc", "where ipvsadm prints an address and a port"),
        ("-A -s wlc", "no service is found"),
    ],
)
def test_what_is_not_understood_is_not_guessed(line: str, said: str) -> None:
    with pytest.raises(TableError, match=said):
        parse_saved([line], [])


@given(st.text(string.printable, max_size=40))
def test_no_line_makes_reading_fail_otherwise(line: str) -> None:
    for read in (lambda: parse_saved([f"-A -t {line}"], []), lambda: list(parse_listed([f"TCP  {line}"]))):
        try:
            read()
        except TableError:
            continue


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_endpoint_and_back(address: object, port: int) -> None:
    assert split_endpoint(Server(str(address), port).endpoint) == (str(address), port)


def virtual(**more: object) -> Virtual:
    values = {"name": "web", "address": ip_address("10.9.1.100"), "port": 80, "reals": (), **more}
    return Virtual(**values)  # type: ignore[arg-type]


def real(address: str, port: int = 80, **more: object) -> Real:
    values = {"name": address, "address": ip_address(address), "port": port, "forward": "dr", **more}
    return Real(**{"check": Check(), **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        (
            virtual(reals=(real("10.9.1.21", weight=3), real("10.9.1.22", weight=0, upper=200, lower=150))),
            WEB,
        ),
        (
            virtual(
                port=443,
                scheduler="sh",
                flags=("sh-port", "sh-fallback"),
                persistence_s=300,
                persistence_prefix=24,
                reals=(real("10.9.2.21", 8443, forward="nat"),),
            ),
            ServiceKey("tcp", "10.9.1.100", 443),
        ),
        (
            virtual(port=0, scheduler="rr", persistence_s=360, reals=(real("10.9.1.21", 0),)),
            ServiceKey("tcp", "10.9.1.100"),
        ),
        (
            virtual(port=0, mark=7, scheduler="rr", persistence_s=600, reals=(real("10.9.1.21", 0),)),
            ServiceKey.of_mark(7),
        ),
        (
            virtual(
                address=ip_address("fd00:9::200"),
                port=0,
                mark=8,
                scheduler="wrr",
                persistence_s=600,
                persistence_prefix=64,
                reals=(real("fd00:9::21", 0),),
            ),
            ServiceKey.of_mark(8, 6),
        ),
        (
            virtual(
                protocol="udp",
                port=5060,
                scheduler="rr",
                one_packet=True,
                persistence_s=60,
                persistence_engine="sip",
            ),
            ServiceKey("udp", "10.9.1.100", 5060),
        ),
    ],
    ids=["plain", "persistent", "all-ports", "mark", "mark6", "sip"],
)
def test_what_is_wanted_is_what_the_kernel_has_when_it_was_told(wanted: Virtual, key: ServiceKey) -> None:
    assert service_of(wanted) == parse_saved(lines("saved.txt"), lines("thresholds.txt"))[key]


def test_what_keepalived_means_to_have() -> None:
    other = ServiceKey("tcp", "10.9.1.101", 80)
    assert parse_dump(lines("keepalived_check.data")) == {
        (WEB, "10.9.1.21:80"): Checked(up=True, present=True, weight=3),
        (WEB, "10.9.1.22:80"): Checked(up=True, present=True, weight=2),
        (WEB, "10.9.1.23:80"): Checked(up=False, present=False, weight=1),
        (other, "10.9.1.24:80"): Checked(up=True, present=True, weight=1),
        # Quiesced: still there, and gets nothing new.
        (other, "10.9.1.23:80"): Checked(up=False, present=True, weight=0),
        (other, "10.9.1.22:80"): Checked(up=False, present=True, weight=0),
    }


def test_every_kind_of_service_is_known_again() -> None:
    found = parse_dump(lines("keepalived_check-kinds.data"))
    assert [(str(key), server, checked.weight) for (key, server), checked in found.items()] == [
        ("mark 7", "127.0.0.1:0", 3),
        ("mark 8 (IPv6)", "[fd00:9::21]:0", 3),
        ("tcp [fd00:9::100]:80", "[fd00:9::21]:80", 3),
        ("udp 10.9.1.100:0", "10.9.1.21:0", 1),
        ("sctp 10.9.1.100:9", "10.9.1.21:10", 1),
    ]


def test_all_ports_of_a_client_are_together_as_keepalived_makes_it() -> None:
    assert service_of(virtual(port=0)).persistent == 360


def test_a_sorry_server_is_one_of_the_service() -> None:
    sorry = Sorry(ip_address("10.9.1.24"), 80, "nat")
    assert server_of(virtual(sorry=sorry), sorry) == Server("10.9.1.24", 80, "nat")
