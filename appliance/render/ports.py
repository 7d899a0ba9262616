# SPDX-License-Identifier: GPL-2.0-or-later
"""Which ports a node answers on, beyond what every machine does (nftables.conf.j2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from appliance.config.model import Address, Cluster, IPAddress, Service

# corosync.conf(5), mcastport: that of the first link; each further one has the next.
COROSYNC = 5405
# What clients of a service connect to. Of one that is not here the ports are to be opened in /etc/nftables.d.
SERVICES: Mapping[str, tuple[int, ...]] = {"mariadb.service": (3306,)}


def corosync_port(link: int) -> int:
    """``link`` counts from 1."""
    return COROSYNC + link - 1


def service_ports(cluster: Cluster) -> Iterator[tuple[IPAddress, int]]:
    """Each service address with each port of the services of its group, and the portals of its targets."""
    for group in cluster.groups:
        for name in group.targets:
            yield from ((portal.address, portal.port) for portal in cluster.target_named(name).portals)
        ports = [p for r in group.resources if isinstance(r, Service) for p in SERVICES.get(r.unit, ())]
        for resource in group.resources:
            if isinstance(resource, Address):
                for port in ports:
                    yield resource.address.ip, port
