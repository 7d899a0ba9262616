# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a machine a real server, as steps: the driver carries them out, and the script for others prints them.

A step is a command of iproute2's that makes something so, one that undoes it, and one that prints something when
it is so. So both do the very same. (pyroute2 has nothing for FOU, and what it has for links takes a machine
seconds to import.)
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from appliance.config.realserver import RealServer

# What comes out of the tunnel was sent by a client, to whom the way leads elsewhere: any way will do.
LOOSE = "2"
# How the names of tunnels begin.
TUNNEL, TUNNEL6 = "pk-", "pk6-"
# Above the kernel's own rules (0, 32766), and away from what people number.
FIRST_TABLE, TABLES = 20_000, 10_000


@dataclass(frozen=True)
class Step:
    """``holds`` prints a line with ``sign`` in it exactly when the step is done. Without ``undo`` it stays."""

    what: str
    do: tuple[str, ...]
    undo: tuple[str, ...]
    holds: tuple[str, ...]
    sign: str = ""

    def done(self, printed: str) -> bool:
        return any(line and self.sign in line for line in printed.splitlines())


@dataclass(frozen=True)
class Sysctl:
    """``path`` below /proc/sys. ``also``: values that an administrator may have chosen, and that are as good."""

    path: str
    value: str
    also: tuple[str, ...] = ()

    def holds(self, found: str) -> bool:
        return found in (self.value, *self.also)


# Answer only for addresses of the interface that is asked, and never ask in the name of another interface's
# (ip-sysctl.rst). The kernel takes the higher one of "all" and the interface's own.
ARP = (
    Sysctl("net/ipv4/conf/all/arp_ignore", "1", also=("2", "8")),
    Sysctl("net/ipv4/conf/all/arp_announce", "2"),
)


def sysctls(server: RealServer) -> tuple[Sysctl, ...]:
    """What has to be set before any address comes: from then on the machine must be silent about it."""
    if server.forwarding == "nat" or not any(ip_address(a).version == 4 for a in server.addresses):
        return ()
    return ARP


def steps(server: RealServer, own: str) -> tuple[Step, ...]:
    """In this order; undone in the reverse. ``own``: this machine's address in the server's network."""
    if server.forwarding == "nat":
        return tuple(_ways_back(server, own))
    places = {version: device for device, _kind, versions in _devices(server) for version in versions}
    return (
        *_tunnels(server, own),
        *(_address(address, places.get(ip_address(address).version, "lo")) for address in server.addresses),
    )


def loosened(server: RealServer) -> tuple[Sysctl, ...]:
    """What has to be set on the tunnels; it goes with them."""
    return tuple(
        Sysctl(f"net/ipv4/conf/{device}/rp_filter", LOOSE)
        for device, _kind, versions in _devices(server)
        if 4 in versions
    )


def _address(address: str, device: str) -> Step:
    """On lo, where no neighbour asks for it: IPv6 answers only for addresses of the interface that is asked.

    Or on the tunnel: what comes in by an interface without any address passes no check of its sender, however
    loose (fib_frontend.c, __fib_validate_source).
    """
    bits = 32 if ip_address(address).version == 4 else 128
    # Detecting duplicates is for addresses that one machine has; this one is meant to have several.
    nodad = ("nodad",) if bits == 128 else ()
    family = "-4" if bits == 32 else "-6"
    place = (f"{address}/{bits}", "dev", device)
    return Step(
        f"{address} on {device}",
        ("ip", family, "address", "add", *place, *nodad),
        ("ip", family, "address", "delete", *place),
        ("ip", family, "-o", "address", "show", "dev", device, "to", f"{address}/{bits}"),
    )


def _devices(server: RealServer) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(name, kind, IP versions of what comes out) of each tunnel device that the addresses need."""
    if server.forwarding != "tun" or server.network is None:
        return
    outer = ip_network(server.network).version
    inner = tuple(sorted({ip_address(address).version for address in server.addresses}))
    if server.tunnel == "gre":
        yield f"{TUNNEL}{server.name}", "gre" if outer == 4 else "ip6gre", inner
    elif outer == 6:
        yield f"{TUNNEL}{server.name}", "ip6tnl", inner
    else:
        for version in inner:
            prefix, kind = (TUNNEL, "ipip") if version == 4 else (TUNNEL6, "sit")
            yield f"{prefix}{server.name}", kind, (version,)


def _tunnels(server: RealServer, own: str) -> Iterator[Step]:
    for device, kind, _versions in _devices(server):
        # A director may well send from the service address, which is this machine's as well.
        mode = ("mode", "any", "allow-localremote") if kind == "ip6tnl" else ()
        # Packets come from whichever director is active, so the far end stays open.
        yield Step(
            f"tunnel {device} ({kind})",
            ("ip", "link", "add", device, "type", kind, *mode, "local", own),
            ("ip", "link", "delete", device),
            ("ip", "-o", "link", "show", "dev", device),
        )
        yield Step(
            f"tunnel {device} is up",
            ("ip", "link", "set", device, "up"),
            ("ip", "link", "set", device, "down"),
            ("ip", "-o", "link", "show", "dev", device, "up"),
        )
    if server.forwarding == "tun" and server.tunnel == "gue":
        six = ip_network(server.network or "").version == 6
        family, module = (("-6",), "fou6") if six else ((), "fou")
        port = str(server.tunnel_port)
        # Unlike tunnels, this module is not loaded by asking for what it does. It may stay.
        yield Step(f"module {module}", ("modprobe", module), (), ("cat", "/proc/modules"), f"{module} ")
        # GUE says itself what is in it, and hands it to the tunnel above.
        yield Step(
            f"port {port} of GUE",
            ("ip", *family, "fou", "add", "port", port, "gue"),
            ("ip", *family, "fou", "del", "port", port),
            ("ip", *family, "fou", "show"),
            f"port {port} gue",
        )


def _ways_back(server: RealServer, own: str) -> Iterator[Step]:
    """What this machine sends from its address in that network goes by the director, but for its neighbours."""
    if server.network is None or server.gateway is None:
        return
    version = ip_network(server.network).version
    ip = ("ip", f"-{version}")
    number = str(FIRST_TABLE + zlib.crc32(server.name.encode()) % TABLES)
    throw = ("throw", server.network, "table", number)
    way = ("default", "via", server.gateway, "table", number)
    yield Step(
        f"neighbours in {server.network} directly",
        (*ip, "route", "add", *throw),
        (*ip, "route", "delete", *throw),
        (*ip, "route", "show", "table", number, "type", "throw"),
    )
    yield Step(
        f"answers by way of {server.gateway}",
        (*ip, "route", "add", *way),
        (*ip, "route", "delete", *way),
        (*ip, "route", "show", "table", number),
        f"default via {server.gateway} ",
    )
    prefix = f"{own}/{32 if version == 4 else 128}"
    rule = ("from", prefix, "lookup", number, "priority", number)
    yield Step(
        f"what {own} sends goes that way",
        (*ip, "rule", "add", *rule),
        (*ip, "rule", "delete", "priority", number),
        (*ip, "rule", "show", "priority", number),
        f"lookup {number}",
    )


def own_address_argv(server: RealServer) -> tuple[str, ...]:
    network = ip_network(server.network or "")
    return ("ip", "-o", f"-{network.version}", "address", "show", "to", str(network), "scope", "global")


def own_address(server: RealServer, printed: Sequence[str]) -> str | None:
    """From what `own_address_argv` prints: the first that is neither on lo nor a service address."""
    for line in printed:
        found = re.match(r"\d+: +(\S+) +inet6? +([0-9a-fA-F.:]+)", line)
        if found and found[1] != "lo" and found[2] not in server.addresses:
            return found[2]
    return None


def elsewhere(server: RealServer, printed: Iterable[str]) -> list[tuple[str, str]]:
    """From ``ip -o address show``: (service address, interface) of those that are on a card as well."""
    found = (re.match(r"\d+: +(\S+) +inet6? +([0-9a-fA-F.:]+)", line) for line in printed)
    cards = [(m[2], m[1]) for m in found if m and m[1] != "lo" and not m[1].startswith((TUNNEL, TUNNEL6))]
    return [(address, card) for address, card in cards if address in server.addresses]
