# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep lvs status`: what it says of services and servers, on a screen of 80 columns; and drained servers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.load import load
from appliance.config.virtual import Check, Real, Sorry, Virtual
from appliance.drivers.ipvs import Counts
from appliance.errors import InputError
from appliance.lvs.checkers import parse_dump
from appliance.lvs.drain import chosen, with_drained
from appliance.lvs.report import WIDTH, healthy, render, report
from appliance.lvs.table import ServiceKey, parse_saved

FOLDER = Path(__file__).parent / "ipvs"
HEALTH = parse_dump((FOLDER / "keepalived_check.data").read_text().splitlines())
TABLE = parse_saved((FOLDER / "with-keepalived.txt").read_text().splitlines(), [])
KEY = ServiceKey("tcp", "10.9.1.100", 80)


def real(name: str, address: str, forward: str, weight: int) -> Real:
    return Real(name, ip_address(address), 80, forward, Check(), weight)  # type: ignore[arg-type]


WEB = Virtual(
    "web",
    ip_address("10.9.1.100"),
    80,
    tuple(real(f"web{n}", f"10.9.1.2{n}", "dr", 4 - n) for n in (1, 2, 3)),
    forward="dr",
)
SHOP = Virtual(
    "shop",
    ip_address("10.9.1.101"),
    80,
    (real("web3", "10.9.1.23", "nat", 5), real("web2", "10.9.1.22", "nat", 5)),
    scheduler="rr",
    sorry=Sorry(ip_address("10.9.1.24"), 80, "nat"),
    on_failure="quiesce",
)
COUNTS = {
    (KEY, ""): Counts(connections=9000, connections_s=35, bytes_in_s=12_400, bytes_out_s=3_100_000),
    (KEY, "10.9.1.21:80"): Counts(active=120, inactive=14, connections=7000, connections_s=21),
    (KEY, "10.9.1.22:80"): Counts(active=80, inactive=3, connections=2000, connections_s=14),
}
REASONS = {"10.9.1.23:80": "TCP check failed"}
SCREEN = """\
director alpha

web   tcp 10.9.1.100:80   wlc   active here   1 of 3 up
  server        address                  state   weight active  idle  conn/s
  web1          10.9.1.21:80             up           3    120    14      21
  web2          10.9.1.22:80             drained      2     80     3      14
  web3          10.9.1.23:80             down         -      0     0       0
    why: TCP check failed
  200 connections, 35 new each second, 12 kB/s in, 3 MB/s out

shop   tcp 10.9.1.101:80   rr   not active here   0 of 2 up
  server        address                  state   weight active  idle  conn/s
  web3          10.9.1.23:80             down         0      0     0       0
    why: TCP check failed
  web2          10.9.1.22:80             down         0      0     0       0
  sorry         10.9.1.24:80             in use       1      0     0       0
  0 connections, 0 new each second, 0 B/s in, 0 B/s out
"""


def test_the_screen() -> None:
    found = report((WEB, SHOP), TABLE, COUNTS, HEALTH, REASONS, {"web/web2"}, {"10.9.1.100", "10.9.1.11"})
    assert "\n".join(render({"node": "alpha", **found})) + "\n" == SCREEN
    web, shop = found["services"]
    assert not healthy([web, shop])
    assert healthy([web])
    assert (web["servers"][2]["why"], web["active_connections"]) == ("TCP check failed", 200)


def test_drift_and_strangers_are_on_it() -> None:
    changed = {key: replace(service, scheduler="rr") if key == KEY else service for key, service in TABLE.items()}
    changed |= parse_saved(["-A -u 10.9.1.7:53 -s rr"], [])
    found = report((WEB, SHOP), changed, {}, HEALTH, {}, (), ())
    lines = list(render({"node": "alpha", **found}))
    assert "  ! the service was changed: scheduler rr instead of wlc" in lines
    assert lines[-1] == "! udp 10.9.1.7:53: nobody configured this service"
    assert not healthy(found["services"][:1])


def test_a_service_that_a_group_moves_is_missing_only_where_its_address_is() -> None:
    moved = replace(WEB, failover="cluster")
    for virtual, here, well in ((moved, (), True), (moved, ("10.9.1.100",), False), (WEB, (), False)):
        assert healthy(report((virtual,), {}, {}, {}, {}, (), here)["services"]) is well
    other = replace(TABLE[KEY], scheduler="rr")
    assert not healthy(report((moved,), {KEY: other}, {}, HEALTH, {}, (), ())["services"])


def test_a_service_that_is_not_here() -> None:
    found = report((WEB,), {}, {}, {}, {}, (), ())
    assert list(render({"node": "alpha", **found}))[-1] == "  the kernel does not have it here"
    assert {server["state"] for server in found["services"][0]["servers"]} == {"unknown"}


@given(
    st.text("abcdefghij-", min_size=1, max_size=32),
    st.ip_addresses(),
    st.integers(1, 65535),
    st.text(max_size=200),
    st.integers(0, 10**12),
)
def test_no_line_is_too_long(name: str, address: object, port: int, why: str, number: int) -> None:
    server = {
        **{"name": name, "address": str(address), "port": port, "state": "drained", "why": why},
        **{"weight": 65535, "active_connections": 999999, "inactive_connections": 99999, "connections_s": 99999},
    }
    service = {
        **{"name": name, "service": f"tcp [{address}]:{port}", "scheduler": "lblcr", "active": False, "up": 1},
        **{"present": True, "servers": [server], "drift": [why], "connections_s": number, "bytes_in_s": number},
        **{"bytes_out_s": number, "active_connections": number},
    }
    for line in render({"node": "alpha", "services": [service], "others": [why]}):
        assert len(line) <= WIDTH


def cluster() -> object:
    return replace(load(FOLDER.parent / "config/good/shop.toml"), virtuals=(WEB, SHOP))


def test_drained_servers_have_no_weight_and_nothing_else_changes() -> None:
    before = cluster()
    after = with_drained(before, ("web/web2", "gone/web9"))  # type: ignore[arg-type]
    assert [(r.weight, r.stays) for r in after.virtuals[0].reals] == [(3, False), (0, True), (1, False)]
    assert after.virtuals[1] == SHOP
    assert with_drained(before, ()) is before  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("virtual", "server", "expected"),
    [
        ("", "web2", ["web/web2", "shop/web2"]),
        ("shop", "web2", ["shop/web2"]),
        ("", "10.9.1.21", ["web/web1"]),
    ],
)
def test_whom_a_name_or_an_address_means(virtual: str, server: str, expected: list[str]) -> None:
    assert chosen(cluster(), virtual, server) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("virtual", "server", "said"),
    [
        ("wep", "web2", "there is no virtual service 'wep'; there is web, shop"),
        ("shop", "web1", "there is no real server 'web1' of shop"),
        ("", "web9", "there is no real server 'web9' of any virtual service"),
    ],
)
def test_who_is_not_there_is_refused(virtual: str, server: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        chosen(cluster(), virtual, server)  # type: ignore[arg-type]
    assert refusal.value.message == said
