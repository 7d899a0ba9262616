# SPDX-License-Identifier: GPL-2.0-or-later
"""Bridges and taps, made in the network namespace of the process that calls."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from pyroute2 import IPRoute

from appliance.lab.qemu import tap_name
from appliance.lab.spec import Network, Topology

TUN_DEVICE = Path("/dev/net/tun")
HOST_NUMBER = 1
# NUD_REACHABLE, STALE, DELAY, PROBE, FAILED (linux/neighbour.h): what answers and their lack have taught.
_LEARNED = 0x02 | 0x04 | 0x08 | 0x10 | 0x20


def openable(device: Path) -> bool:
    """Whether this user may open ``device``. Being root in a user namespace does not help with that."""
    return os.access(device, os.R_OK | os.W_OK)


def mac_address(network: int, number: int) -> str:
    """The address of machine ``number``'s card in ``network``: both can be read off it."""
    return f"52:54:00:09:{network:02x}:{number:02x}"


def bridge_name(network: int) -> str:
    return f"net{network}"


def create(topology: Topology) -> None:
    """Make every network of ``topology`` and a tap for each card in it. Raises OSError, NetlinkError."""
    with IPRoute() as ip:
        _up(ip, "lo")
        for network in topology.networks:
            _bridge(ip, network)
        for machine in topology.machines:
            for nic in machine.nics:
                name = tap_name(machine.name, nic.network)
                ip.link("add", ifname=name, kind="tuntap", mode="tap")
                # Nothing in the lab shall send of its own accord but the machines.
                _disable_ipv6(name)
                _up(ip, name, master=_index(ip, bridge_name(nic.network)))
            if (bmc := machine.bmc) is not None:
                bridge = _index(ip, bridge_name(bmc.network))
                ip.addr("add", index=bridge, address=bmc.address, prefixlen=32)


def isolate(taps: Sequence[str], *, on: bool) -> None:
    """Let the machines behind ``taps`` see each other no more (or again); all others they do see.

    A bridge passes nothing between two ports that are both isolated (ip-link(8), bridge_slave).
    """
    with IPRoute() as ip:
        for tap in taps:
            ip.brport("set", index=_index(ip, tap), isolated=int(on))


def forget_neighbours() -> None:
    """Forget which machine has which address: a restored one may have it no more, and would not say so."""
    with IPRoute() as ip:
        for entry in ip.get_neighbours(family=socket.AF_INET):
            if entry["state"] & _LEARNED:
                ip.neigh("del", dst=entry.get_attr("NDA_DST"), ifindex=entry["ifindex"])


def _bridge(ip: IPRoute, network: Network) -> None:
    name = bridge_name(network.number)
    # Without spanning tree and its delay: a port forwards as soon as a machine is plugged into it. With an
    # address that is the same in every lab: restored machines remember it from the lab they were saved in.
    address = mac_address(network.number, HOST_NUMBER)
    bridge = {"br_stp_state": 0, "br_forward_delay": 0, "br_mcast_snooping": 0}
    ip.link("add", ifname=name, kind="bridge", address=address, **bridge)
    if network.host_address is None:
        _disable_ipv6(name)
    else:
        own, prefix = network.host_address.split("/")
        ip.addr("add", index=_index(ip, name), address=own, prefixlen=int(prefix))
    _up(ip, name)


def _index(ip: IPRoute, name: str) -> int:
    found: Sequence[int] = ip.link_lookup(ifname=name)
    return found[0]


def _up(ip: IPRoute, name: str, **more: int) -> None:
    ip.link("set", index=_index(ip, name), state="up", **more)


def _disable_ipv6(name: str) -> None:
    setting = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if setting.exists():  # a host may run without IPv6 altogether
        setting.write_text("1")
