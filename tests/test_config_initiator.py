# SPDX-License-Identifier: GPL-2.0-or-later
"""What `[initiator.NAME]` says; how mistakes in it are told stands in tests/config/bad."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.main import main
from appliance.config.initiator import Initiator, InitiatorRole, initiator_name
from appliance.config.iscsi import Portal, portal
from appliance.config.load import load, parse
from appliance.config.model import Filesystem
from appliance.decide.view import Configuration, Record
from appliance.render import render_all
from appliance.upkeep.difference import difference

FILE = Path(__file__).parent / "config/good/shared-disk.toml"
CLUSTER = load(FILE)


def test_every_key_arrives() -> None:
    assert CLUSTER.initiators == (
        Initiator(
            "shopdata",
            "iqn.2026-01.org.example:store.shop",
            Portal(ip_address("10.9.1.50"), 3260),
            lun=1,
            user="shop",
            password_file="/etc/pairkeep/store.password",  # noqa: S106
            target_user="store",
            target_password_file="/etc/pairkeep/store-itself.password",  # noqa: S106
            timeout_s=120,
        ),
        Initiator(
            "archive", "eui.0123456789abcdef", Portal(ip_address("fd00:9::50"), 3261), wwn="6001405aabbccdd1"
        ),
    )
    assert CLUSTER.group("shop").resources[0] == InitiatorRole("shopdata")
    assert (CLUSTER.group("shop").initiators, CLUSTER.group("shop").drbd) == (("shopdata",), ())


def test_a_filesystem_on_it_ends_when_its_writes_are_refused() -> None:
    filesystem = CLUSTER.group("shop").resources[1]
    assert isinstance(filesystem, Filesystem)
    assert CLUSTER.device_of(filesystem) == "/run/pairkeep/initiator/shopdata"
    assert filesystem.mount_options == "noatime,errors=remount-ro"
    assert Filesystem("/srv/a", "initiator:a", options="errors=panic").mount_options == "errors=panic"
    assert Filesystem("/srv/a", "drbd:a", options="ro").mount_options == "ro,errors=remount-ro"
    assert Filesystem("/srv/a", "drbd:a", type="xfs").mount_options == "noatime"


def test_each_worker_has_a_name_of_its_own_for_targets() -> None:
    path = Path("/etc/iscsi/initiatorname.iscsi")
    names = {node: render_all(CLUSTER, node).get(path) for node in ("alpha", "beta", "witness")}
    assert names == {
        "alpha": "InitiatorName=iqn.2026-11.org.pairkeep:shop.alpha\n",
        "beta": "InitiatorName=iqn.2026-11.org.pairkeep:shop.beta\n",
        "witness": None,
    }
    assert initiator_name("My_Shop", "alpha") == "iqn.2026-11.org.pairkeep:my-shop.alpha"


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_portal_is_read_as_it_is_written(address: object, port: int) -> None:
    written = Portal(ip_address(str(address)), port)
    assert portal(str(written)) == written
    assert portal(str(written.address)) == Portal(written.address, 3260)


@pytest.mark.parametrize(
    "text",
    ["", ":3260", "10.9.1.50:", "10.9.1.50:0", "10.9.1.50:65536", "[10.9.1.50]:1", "fd00::1]:1", "a:1", "1:²"],
)
def test_what_is_no_portal_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        portal(text)


def test_a_change_of_a_target_stops_the_group_that_is_logged_in_there() -> None:
    new = parse(FILE.read_text().replace("timeout_s = 120", "timeout_s = 90"))
    found = difference(CLUSTER, new)
    assert found.lines == ("initiator.shopdata.timeout_s: 120 -> 90",)
    assert (found.stops, found.refused) == (("shop",), ())
    assert difference(CLUSTER, CLUSTER).stops == ()


def test_the_list_tells_what_there_is_but_no_account(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_force = Record(config=Configuration(1, FILE.read_text()))
    monkeypatch.setattr("appliance.supervisor.store.load", lambda: in_force)
    assert main(["initiator", "list"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[:2] == [
        "shopdata: lun 1 of iqn.2026-01.org.example:store.shop at 10.9.1.50:3260",
        "  group shop; not logged in on this node",
    ]
    assert main(["initiator", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert [(each["name"], each["session"], each["device"]) for each in json.loads(listed)] == [
        ("shopdata", "", None),
        ("archive", "", None),
    ]
    assert "password" not in told + listed
    assert "user" not in listed
