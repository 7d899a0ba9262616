# SPDX-License-Identifier: GPL-2.0-or-later
"""Which ports a node answers on, beyond what every machine does (nftables.conf.j2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from appliance.config.model import Address, Cluster, IPAddress, Service
from appliance.config.realserver import RealServerRole

# corosync.conf(5), mcastport: that of the first link; each further one has the next.
COROSYNC = 5405
# What clients of a service connect to. Of one that is not here the ports are to be opened in /etc/nftables.d.
SERVICES: Mapping[str, tuple[int, ...]] = {"mariadb.service": (3306,)}


def corosync_port(link: int) -> int:
    """``link`` counts from 1."""
    return COROSYNC + link - 1


def service_ports(cluster: Cluster) -> Iterator[tuple[IPAddress, int]]:
    """Each service address with each port of its group, also where directors send to; portals of targets."""
    for group in cluster.groups:
        for name in group.targets:
            yield from ((portal.address, portal.port) for portal in cluster.target_named(name).portals)
        ports = [p for r in group.resources if isinstance(r, Service) for p in SERVICES.get(r.unit, ())]
        for resource in group.resources:
            if isinstance(resource, Address):
                for port in ports:
                    yield resource.address.ip, port
            elif isinstance(resource, RealServerRole):
                for address in cluster.realserver(resource.realserver).addresses:
                    for port in ports:
                        yield ip_address(address), port


def tunnels(cluster: Cluster) -> tuple[str, ...]:
    """What lets directors' tunnels in, in nftables' words. What comes out of them passes all rules once more."""
    through = [server for server in cluster.realservers if server.forwarding == "tun"]
    kinds = {"ipip": "meta l4proto { ipencap, ipv6 }", "gre": "meta l4proto gre"}
    words = {kinds.get(server.tunnel, f"udp dport {server.tunnel_port}") for server in through}
    return tuple(sorted(words))
