# SPDX-License-Identifier: GPL-2.0-or-later
"""A service address on an interface, and the word to the neighbours that it has moved."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from ipaddress import ip_interface
from pathlib import Path

from appliance.config.model import IPInterface, IPNetwork
from appliance.decide.view import State
from appliance.drivers import rtnetlink
from appliance.drivers.base import DriverError
from appliance.run import RunError, run

ANNOUNCEMENTS = 3
NONLOCAL = "/proc/sys/net/ipv{}/ip_nonlocal_bind"


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
        """Asks the kernel by trying to bind to the address, which takes no netlink and is as good.

        Unless it is told to bind to any address, as keepalived's users often do (ip-sysctl.rst, ip_nonlocal_bind).
        """
        if _binds_to_any(self._address.version):
            return "started" if self._is_assigned() else "stopped"
        family = socket.AF_INET if self._address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(self._address.ip), 0))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    return "stopped"
                raise DriverError(f"{self._address}: {error.strerror}") from error
        return "started"

    def _is_assigned(self) -> bool:
        try:
            return any(found == self._address.ip for _, found, _ in rtnetlink.addresses(self._address.version))
        except OSError as error:
            raise DriverError(f"{self._address}: {error.strerror}") from error

    def start(self) -> None:
        """The address works when this returns; the neighbours are told meanwhile."""
        index = self._index()
        name = socket.if_indextoname(index)
        if self._address.version == 6:
            # With this the kernel sends the unsolicited advertisement itself (ip-sysctl.rst, ndisc_notify).
            Path(f"/proc/sys/net/ipv6/conf/{name}/ndisc_notify").write_text("1")
        try:
            rtnetlink.add(index, self._address)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise DriverError(f"{self._address} on {name}: {error.strerror}") from error
        if self._address.version == 4:
            threading.Thread(target=_announce, args=(self._address, name), daemon=True).start()

    def stop(self) -> None:
        if self.state() == "stopped":
            return
        for index, address, prefix in rtnetlink.addresses(self._address.version):
            if address != self._address.ip:
                continue
            try:
                rtnetlink.remove(index, ip_interface(f"{address}/{prefix}"))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise DriverError(f"{self._address}: {error.strerror}") from error

    def has_carrier(self) -> bool:
        """The interface that has or would have the address is connected to something, or is a virtual one."""
        try:
            name = self._interface or socket.if_indextoname(self._index())
            return Path(f"/sys/class/net/{name}/carrier").read_text().strip() == "1"
        except (OSError, DriverError):
            # Not even there, or switched off: reading the carrier of such a one is an error (sysfs-class-net).
            return False

    def _index(self) -> int:
        """The interface that is to have the address."""
        if self._interface is not None:
            try:
                return socket.if_nametoindex(self._interface)
            except OSError as error:
                raise DriverError(f"there is no interface {self._interface}") from error
        if self._network is not None:
            for index, address, _prefix in rtnetlink.addresses(self._address.version):
                if address in self._network and address != self._address.ip:
                    return index
        raise DriverError(f"no interface of this node is in {self._network}, so {self._address} has no place")


def _binds_to_any(version: int) -> bool:
    try:
        return Path(NONLOCAL.format(version)).read_text().strip() != "0"
    except FileNotFoundError:  # a kernel without this version of IP
        return False


def _announce(address: IPInterface, interface: str) -> None:
    # The neighbours' caches expire by themselves; without this they only take longer.
    with contextlib.suppress(RunError):
        run(announce_argv(address, interface), timeout_s=ANNOUNCEMENTS + 5)
