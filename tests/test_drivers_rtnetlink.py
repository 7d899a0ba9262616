# SPDX-License-Identifier: GPL-2.0-or-later
"""The slim way into pyroute2 leaves the package as others expect it."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address

from appliance.drivers import rtnetlink

SLIM_THEN_ALL = """
import sys
from appliance.drivers import rtnetlink
rtnetlink.load()
assert "pyroute2" not in sys.modules and "pyroute2.ndb" not in sys.modules
from pyroute2 import IPRoute, NetNS, netlink
assert IPRoute and NetNS and netlink.nlmsg
"""


def test_only_what_is_needed_is_loaded_and_the_rest_still_can_be() -> None:
    subprocess.run([sys.executable, "-c", SLIM_THEN_ALL], check=True, timeout=60)


def test_the_loopback_address_is_found() -> None:
    found = [entry for entry in rtnetlink.addresses(4) if entry[1] == ip_address("127.0.0.1")]
    assert [(prefix) for _index, _address, prefix in found] == [8]
