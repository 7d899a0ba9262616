# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a machine has a service address, however its kernel binds."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from appliance.drivers import address, rtnetlink
from appliance.drivers.address import AddressDriver


@pytest.mark.parametrize(("assigned", "state"), [("127.0.0.1", "started"), ("127.0.0.2", "stopped")])
def test_an_address_that_the_kernel_would_bind_to_anyway_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assigned: str, state: str
) -> None:
    (tmp_path / "ipv4").write_text("1\n")
    monkeypatch.setattr(address, "NONLOCAL", str(tmp_path / "ipv{}"))
    monkeypatch.setattr(rtnetlink, "addresses", lambda _version: [(1, ip_address(assigned), 8)])
    # To this one every kernel binds.
    assert AddressDriver(ip_interface("127.0.0.1/8"), None, None).state() == state


def test_otherwise_the_kernel_says_so_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ipv4").write_text("0\n")
    monkeypatch.setattr(address, "NONLOCAL", str(tmp_path / "ipv{}"))
    monkeypatch.setattr(rtnetlink, "addresses", lambda _version: pytest.fail("it takes netlink"))
    assert AddressDriver(ip_interface("127.0.0.1/8"), None, None).state() == "started"
    assert AddressDriver(ip_interface("203.0.113.7/24"), None, None).state() == "stopped"
