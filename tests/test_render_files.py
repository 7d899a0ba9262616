# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that come out of a cluster.toml."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config.load import load
from appliance.config.realserver import RealServer, RealServerRole
from appliance.files import replace_file
from appliance.render import SECRET, closed_rules, render_all, replication, write
from appliance.render.peers import hkdf, shared_secret

FOLDER = Path(__file__).parent
SHOP = load(FOLDER / "config/good/shop.toml")
EVERYTHING = load(FOLDER / "config/good/everything.toml")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The root of a machine that has a cluster's key."""
    replace_file(tmp_path / "etc/corosync/authkey", bytes(range(256)), 0o400)
    return tmp_path


@pytest.mark.parametrize("path", sorted((FOLDER / "render").iterdir()), ids=lambda path: path.name)
def test_the_pair_of_the_design_gets_these_files(path: Path, key: Path) -> None:
    made = render_all(SHOP, "alpha") | replication(SHOP, "alpha", key)
    files = {str(p).strip("/").replace("/", "_"): text for p, text in made.items()}
    assert files.keys() == {p.name for p in (FOLDER / "render").iterdir()}
    assert files[path.name] == path.read_text()


def test_a_witness_gets_no_drbd_and_no_services() -> None:
    assert replication(SHOP, "witness", Path("/nowhere")) == {}
    assert {str(path) for path in render_all(SHOP, "witness")} == {
        "/etc/corosync/corosync.conf",
        "/etc/hosts",
        "/etc/nftables.conf",
    }


def test_a_witness_answers_on_heartbeat_ports_and_ssh_only() -> None:
    text = render_all(SHOP, "witness")[Path("/etc/nftables.conf")]
    lines = [line.strip() for line in text.splitlines() if line.endswith("accept")]
    assert [line for line in lines if "dport" in line] == [
        "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
        "tcp dport @joining accept",
        "tcp dport 22 accept",
        "ip saddr @nodes1 ip daddr @nodes1 udp dport 5405 accept",
        "ip saddr @nodes2 ip daddr @nodes2 udp dport 5406 accept",
    ]


def test_the_image_is_closed_before_first_boot_by_the_rules_of_the_template() -> None:
    overlay = FOLDER.parent / "overlays/base/usr/lib/pairkeep/closed.nft"
    assert overlay.read_text() == closed_rules()
    assert " 22 " not in closed_rules()


def test_ports_over_ipv6() -> None:
    text = render_all(EVERYTHING, "beta")[Path("/etc/nftables.conf")]
    assert "ip6 saddr @nodes2 ip6 daddr @nodes2 udp dport 5406 accept" in text
    assert "ip6 daddr fd00:9::100 tcp dport 3306 accept" in text
    # Of a service that Pairkeep does not know, nothing is opened.
    assert "192.0.2.1" not in text


def test_a_real_server_lets_tunnels_in_and_clients_to_what_its_group_serves() -> None:
    servers = (
        RealServer("web", "tun", ("10.9.1.200",), "10.9.1.0/24", None, "gue", 6081),
        RealServer("far", "tun", ("10.9.1.201",), "10.9.1.0/24", None, "gre"),
        RealServer("near", "dr", ("10.9.1.202",)),
    )
    (group,) = SHOP.groups
    roles = tuple(RealServerRole(server.name) for server in servers)
    cluster = replace(SHOP, realservers=servers, groups=(replace(group, resources=(*group.resources, *roles)),))
    text = render_all(cluster, "alpha")[Path("/etc/nftables.conf")]
    lines = [line.strip() for line in text.splitlines()]
    assert "udp dport 6081 accept" in lines
    assert "meta l4proto gre accept" in lines
    assert "meta l4proto { ipencap, ipv6 } accept" not in lines
    assert "ip daddr 10.9.1.200 tcp dport 3306 accept" in lines
    assert "ip daddr 10.9.1.202 tcp dport 3306 accept" in lines
    assert "6081" not in render_all(cluster, "witness")[Path("/etc/nftables.conf")]


def test_replication_over_ipv6(key: Path) -> None:
    text = replication(EVERYTHING, "beta", key)[Path("/etc/drbd.d/files.res")]
    assert "address ipv6 [fd00:9::12]:7789;" in text
    assert "witness" not in text


def test_every_brace_of_corosync_conf_ends_its_line() -> None:
    text = render_all(EVERYTHING, "alpha")[Path("/etc/corosync/corosync.conf")]
    assert all(line.endswith("{") for line in text.splitlines() if "{" in line)


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    files = render_all(SHOP, "alpha")
    assert set(write(files, tmp_path)) == set(files)
    assert write(files, tmp_path) == ()
    hosts = tmp_path / "etc/hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    assert write(files, tmp_path) == (Path("/etc/hosts"),)
    assert hosts.read_text() == files[Path("/etc/hosts")]
    assert not list(tmp_path.rglob(".*.new"))


def test_key_derivation_is_that_of_rfc_5869() -> None:
    """Its test cases 1 and 3."""
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    assert hkdf(b"\x0b" * 22, salt, info, 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf(b"\x0b" * 22, b"", b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_each_resource_of_each_cluster_has_a_secret_of_its_own_that_drbd_takes() -> None:
    secrets = {shared_secret(key, name) for key in (b"one" * 50, b"two" * 50) for name in ("db", "files")}
    assert len(secrets) == 4
    assert all(len(secret) <= 63 and secret.isalnum() for secret in secrets)


def test_a_secret_is_for_root_only_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            opened.append(mode)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", watched)
    write({Path("/a.res"): "x"}, tmp_path, SECRET)
    assert opened == [0o600]
