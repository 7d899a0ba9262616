# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's table has to look like by `cluster.toml`, while every real server works."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from appliance.config.virtual import Real, Sorry, Virtual
from appliance.lvs.table import Server, Service, ServiceKey, Table

# All ports of a client only make sense together; keepalived.conf(5) and ipvsadm(8) take this when nothing is said.
ALL_PORTS_S = 360


def key_of(virtual: Virtual) -> ServiceKey:
    if virtual.mark is not None:
        return ServiceKey.of_mark(virtual.mark, virtual.address.version)
    return ServiceKey.at(virtual.protocol, virtual.address, virtual.port)


def server_of(virtual: Virtual, server: Real | Sorry) -> Server:
    """``server`` of ``virtual`` as the kernel has it."""
    real = server if isinstance(server, Real) else None
    return Server(
        str(server.address),
        server.port,
        server.forward,
        weight=real.weight if real is not None else 1,
        upper=(real.upper or 0) if real is not None else 0,
        lower=(real.lower or 0) if real is not None else 0,
        tunnel=_tunnel(virtual) if server.forward == "tun" else (),
    )


def service_of(virtual: Virtual) -> Service:
    return Service(
        key_of(virtual),
        scheduler=virtual.scheduler,
        persistent=virtual.persistence_s or (ALL_PORTS_S if key_of(virtual).all_ports else 0),
        netmask=_netmask(virtual),
        flags=tuple(sorted(virtual.flags)),
        one_packet=virtual.one_packet,
        engine=virtual.persistence_engine or "",
        servers=tuple(server_of(virtual, real) for real in virtual.reals),
    )


def table(virtuals: Iterable[Virtual]) -> Table:
    return {key_of(virtual): service_of(virtual) for virtual in virtuals}


def _netmask(virtual: Virtual) -> str:
    """As ipvsadm prints it: nothing where each client counts by itself."""
    prefix = virtual.persistence_prefix
    if prefix is None or not virtual.persistence_s or prefix == virtual.address.max_prefixlen:
        return ""
    return str(prefix) if virtual.address.version == 6 else str(ip_network(f"0.0.0.0/{prefix}").netmask)


def _tunnel(virtual: Virtual) -> tuple[str, ...]:
    if virtual.tunnel == "ipip":
        return ()
    port = ("--tun-port", str(virtual.tunnel_port)) if virtual.tunnel == "gue" else ()
    return ("--tun-type", virtual.tunnel, *port)
