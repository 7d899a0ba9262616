# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that come out of a cluster.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config.load import load
from appliance.render import render_all, write

FOLDER = Path(__file__).parent
SHOP = load(FOLDER / "config/good/shop.toml")
EVERYTHING = load(FOLDER / "config/good/everything.toml")


@pytest.mark.parametrize("path", sorted((FOLDER / "render").iterdir()), ids=lambda path: path.name)
def test_the_pair_of_the_design_gets_these_files(path: Path) -> None:
    files = {str(p).strip("/").replace("/", "_"): text for p, text in render_all(SHOP, "alpha").items()}
    assert files.keys() == {p.name for p in (FOLDER / "render").iterdir()}
    assert files[path.name] == path.read_text()


def test_a_witness_gets_no_drbd_and_no_services() -> None:
    assert {str(path) for path in render_all(SHOP, "witness")} == {
        "/etc/corosync/corosync.conf",
        "/etc/hosts",
    }


def test_replication_over_ipv6() -> None:
    text = render_all(EVERYTHING, "beta")[Path("/etc/drbd.d/files.res")]
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
