# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine has to be for the services that send to it: the director knows, so nobody need write it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from appliance.config.model import Cluster, IPAddress
from appliance.config.realserver import RealServer
from appliance.config.virtual import Real, Sorry, Virtual
from appliance.errors import InputError


def realservers(cluster: Cluster, address: str) -> tuple[RealServer, ...]:
    """Those that the machine with ``address`` needs. Raises InputError when no service sends to it."""
    try:
        own = ip_address(address)
    except ValueError as error:
        raise InputError(f"found {address!r}, expected the address by which directors know the machine") from error
    pairs = [(v, server) for v in cluster.virtuals for server in v.servers if server.address == own]
    if not pairs:
        raise InputError(f"no virtual service sends to {own}", hint="pairkeep lvs status")
    direct = _addresses(pairs, "dr")
    found = [RealServer("direct", "dr", direct)] if direct else []
    found += _through_tunnels(own, [pair for pair in pairs if pair[1].forward == "tun"])
    if any(server.forward == "nat" for _virtual, server in pairs):
        found.append(_behind_nat(cluster, own))
    return tuple(found)


def _addresses(pairs: list[tuple[Virtual, Real | Sorry]], forward: str) -> tuple[str, ...]:
    """Each once: a service address may have several ports."""
    return tuple(dict.fromkeys(str(v.address) for v, server in pairs if server.forward == forward))


def _through_tunnels(own: IPAddress, pairs: list[tuple[Virtual, Real | Sorry]]) -> Iterator[RealServer]:
    network = f"{own}/{own.max_prefixlen}"
    by_gre = [pair for pair in pairs if pair[0].tunnel == "gre"]
    if by_gre:
        yield RealServer("gre", "tun", _addresses(by_gre, "tun"), network, tunnel="gre")
    rest = [pair for pair in pairs if pair[0].tunnel != "gre"]
    ports = {virtual.tunnel_port for virtual, _server in rest if virtual.tunnel == "gue"}
    if len(ports) > 1:
        raise InputError(f"services send to {own} by GUE to several ports ({', '.join(map(str, sorted(ports)))})")
    if rest:
        # What comes by GUE is IPIP inside, so the one tunnel takes both.
        one = RealServer("tunnel", "tun", _addresses(rest, "tun"), network)
        yield replace(one, tunnel="gue", tunnel_port=ports.pop()) if ports else one


def _behind_nat(cluster: Cluster, own: IPAddress) -> RealServer:
    for vrrp in cluster.vrrps:
        for given in vrrp.addresses:
            if own in given.network:
                return RealServer("behind", "nat", (), str(given.network), str(given.ip))
    raise InputError(
        f"the answers of {own} have to go by the directors, and no [vrrp.NAME] has an address in its network",
        hint="give the directors one there, or set the way back up by hand",
    )
