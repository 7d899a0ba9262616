# SPDX-License-Identifier: GPL-2.0-or-later
"""A service address on an interface, and the word to the neighbours that it has moved."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config.model import IPInterface, IPNetwork
from appliance.decide.view import State
from appliance.drivers.base import DriverError
from appliance.run import RunError, run

if TYPE_CHECKING:
    from pyroute2 import IPRoute

IFA_F_NODAD = 0x02  # include/uapi/linux/if_addr.h
ANNOUNCEMENTS = 3


def announce_argv(address: IPInterface, interface: str) -> tuple[str, ...]:
    """Unsolicited ARP to everyone who may remember the old place (arping(8), -U)."""
    return ("arping", "-q", "-U", "-c", str(ANNOUNCEMENTS), "-I", interface, str(address.ip))


class AddressDriver:
    """``network``: the heartbeat network whose interface takes the address, where none is named."""

    def __init__(self, address: IPInterface, interface: str | None, network: IPNetwork | None) -> None:
        self._address = address
        self._interface = interface
        self._network = network

    def state(self) -> State:
        """Asks the kernel by trying to bind to the address, which takes no netlink and is as good."""
        family = socket.AF_INET if self._address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(self._address.ip), 0))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    return "stopped"
                raise DriverError(f"{self._address}: {error.strerror}") from error
        return "started"

    def start(self) -> None:
        """The address works when this returns; the neighbours are told meanwhile."""
        # Slow to load and large, so the supervisor does that in the background, after its own start.
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        with IPRoute() as netlink:
            index, name = self._find(netlink)
            more = {}
            if self._address.version == 6:
                # With this the kernel sends the unsolicited advertisement itself (ip-sysctl.rst, ndisc_notify);
                # detecting a duplicate takes a second, and the cluster has made sure that there is none.
                Path(f"/proc/sys/net/ipv6/conf/{name}/ndisc_notify").write_text("1")
                more["flags"] = IFA_F_NODAD
            try:
                netlink.addr(
                    "add",
                    index=index,
                    address=str(self._address.ip),
                    prefixlen=self._address.network.prefixlen,
                    **more,
                )
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise DriverError(f"{self._address} on {name}: {error}") from error
        if self._address.version == 4:
            threading.Thread(target=_announce, args=(self._address, name), daemon=True).start()

    def stop(self) -> None:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        if self.state() == "stopped":
            return
        with IPRoute() as netlink:
            for found in netlink.get_addr(address=str(self._address.ip)):
                try:
                    netlink.addr(
                        "del",
                        index=found["index"],
                        address=str(self._address.ip),
                        prefixlen=found["prefixlen"],
                    )
                except NetlinkError as error:
                    if error.code != errno.EADDRNOTAVAIL:
                        raise DriverError(f"{self._address}: {error}") from error

    def _find(self, netlink: IPRoute) -> tuple[int, str]:
        """Index and name of the interface that is to have the address."""
        if self._interface is not None:
            found = netlink.link_lookup(ifname=self._interface)
            if not found:
                raise DriverError(f"there is no interface {self._interface}")
            return found[0], self._interface
        for entry in netlink.get_addr(family=2 if self._address.version == 4 else 10):
            own = entry.get_attr("IFA_ADDRESS")
            if own and self._network is not None and ip_address(own) in self._network:
                link = netlink.get_links(entry["index"])[0]
                return entry["index"], link.get_attr("IFLA_IFNAME")
        raise DriverError(f"no interface of this node is in {self._network}, so {self._address} has no place")


def _announce(address: IPInterface, interface: str) -> None:
    # The neighbours' caches expire by themselves; without this they only take longer.
    with contextlib.suppress(RunError):
        run(announce_argv(address, interface), timeout_s=ANNOUNCEMENTS + 5)
