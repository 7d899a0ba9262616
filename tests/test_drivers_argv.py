# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines that drivers build, and which driver a resource gets."""

from __future__ import annotations

from ipaddress import ip_interface

from appliance.drivers.address import announce_argv


def test_neighbours_are_told_by_unsolicited_arp() -> None:
    assert announce_argv(ip_interface("10.9.1.100/24"), "enp0s2") == (
        *("arping", "-q", "-U", "-c", "3"),
        *("-I", "enp0s2", "10.9.1.100"),
    )
