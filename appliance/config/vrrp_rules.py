# SPDX-License-Identifier: GPL-2.0-or-later
"""What the values of `[vrrp.…]` and `[director]` have to do with each other and with the rest of `cluster.toml`.

As in `rules`, what the schema refused is absent here (None in arrays), and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

from appliance.config.model import IPAddress, IPNetwork
from appliance.config.shape import Path, Problem, shown
from appliance.config.values import means_all
from appliance.config.virtual import Vrrp

Raw = Mapping[str, Any]
# RFC 5798, 5.2.7: twelve bits of hundredths of a second; RFC 3768: eight bits of seconds.
V3_MOST_MS, V3_STEP_MS = 40950, 10
V2_STEP_MS = 1000


def problems(raw: Raw, networks: list[IPNetwork | None], taken: dict[IPAddress, str]) -> Iterator[Problem]:
    """``networks``: those in which directors have addresses. ``taken``: whose each address is already."""
    ids: dict[tuple[IPNetwork, int], str] = {}
    for name, table in raw.get("vrrp", {}).items():
        path: Path = ("vrrp", name)
        yield from _addresses(path, table, networks, taken)
        yield from _version(path, table)
        yield from _unicast(path, table, raw)
        yield from _tracking(path, table, networks)
        if table.get("preempt_delay_s") and table.get("preempt") is False:
            text = "expected preempt = true beside it: without that nothing is taken back"
            yield (*path, "preempt_delay_s"), f"found {table['preempt_delay_s']}, {text}"
        workers = [n for n, node in raw.get("node", {}).items() if node.get("votes_only") is not True]
        if "prefer" in table and "node" in raw and table["prefer"] not in workers:
            yield (*path, "prefer"), f"found {shown(table['prefer'])}, expected {' or '.join(workers) or 'a node'}"
        network = _network(table)
        if network is not None and "id" in table:
            if (network, table["id"]) in ids:
                text = f"expected an id that vrrp.{ids[network, table['id']]} does not have in {network}"
                yield (*path, "id"), f"found {table['id']}, {text}"
            ids.setdefault((network, table["id"]), name)
    yield from _together(raw.get("vrrp", {}))
    yield from _director(raw)


def further_networks(raw: Raw) -> list[IPNetwork | None]:
    """director.networks; None for those that cannot be read."""
    return [None if n is None else ip_network(n) for n in raw.get("director", {}).get("networks", ())]


def _network(table: Raw) -> IPNetwork | None:
    """Where an instance advertises."""
    addresses = table.get("addresses", [None])
    if "network" in table:
        return ip_network(table["network"])
    return ip_interface(addresses[0]).network if addresses[0] is not None else None


def _known(network: IPNetwork, networks: list[IPNetwork | None]) -> bool:
    return network in networks or None in networks or not networks


def _addresses(
    path: Path, table: Raw, networks: list[IPNetwork | None], taken: dict[IPAddress, str]
) -> Iterator[Problem]:
    listed = " or ".join(map(str, networks))
    for i, text in enumerate(table.get("addresses", ())):
        if text is None:
            continue
        address = ip_interface(text)
        where = (*path, "addresses", i)
        if address.ip in taken:
            yield where, f'found "{text}", expected an address that is not {taken[address.ip]}'
        taken.setdefault(address.ip, f"one of vrrp.{path[1]}")
        if means_all(address.ip, address.network):
            yield where, f'found "{text}", expected a host\'s address, not one that means all of its network'
        if not _known(address.network, networks):
            yield where, f'found "{text}", expected an address in {listed}: directors have no other network'
    network = ip_network(table["network"]) if "network" in table else None
    if network is not None and not _known(network, networks):
        yield (*path, "network"), f'found "{network}", expected {listed}: directors have no other network'
    first = table.get("addresses", [None])[0]
    if network is not None and first is not None and ip_interface(first).version != network.version:
        text = f"expected an IPv{network.version} address first, for it is advertised in {network}"
        yield (*path, "addresses", 0), f'found "{first}", {text}'


def _version(path: Path, table: Raw) -> Iterator[Problem]:
    advert_ms, version = table.get("advert_ms", Vrrp.advert_ms), table.get("version", Vrrp.version)
    if version == 2 and any(a is not None and ":" in a for a in table.get("addresses", ())):
        yield (*path, "version"), "found 2, expected 3: version 2 of VRRP knows no IPv6"
    if version == 2 and advert_ms % V2_STEP_MS:
        text = f"expected a multiple of {V2_STEP_MS}: version 2 of VRRP counts whole seconds"
        yield (*path, "advert_ms"), f"found {advert_ms}, {text}"
    if version == 3 and (advert_ms % V3_STEP_MS or advert_ms > V3_MOST_MS):
        text = f"expected a multiple of {V3_STEP_MS}, at most {V3_MOST_MS}: VRRP counts hundredths of a second"
        yield (*path, "advert_ms"), f"found {advert_ms}, {text}"


def _unicast(path: Path, table: Raw, raw: Raw) -> Iterator[Problem]:
    heartbeats = [ip_network(n) for n in raw.get("cluster", {}).get("networks", []) if n is not None]
    network = _network(table)
    if table.get("unicast") is True and network is not None and heartbeats and network not in heartbeats:
        text = "one of cluster.networks: in others the nodes' addresses are not known"
        yield (
            (*path, "unicast"),
            f"found true, expected it with network = {' or '.join(map(str, heartbeats))}, {text}",
        )


def _tracking(path: Path, table: Raw, networks: list[IPNetwork | None]) -> Iterator[Problem]:
    for i, text in enumerate(table.get("track_networks", ())):
        if text is not None and not _known(ip_network(text), networks):
            listed = " or ".join(map(str, networks))
            yield (
                (*path, "track_networks", i),
                f'found "{text}", expected {listed}: directors have no other network',
            )
    if "together" in table:
        weights: list[tuple[Path, int]] = [
            ((*path, "track_interfaces", name), weight)
            for name, weight in table.get("track_interfaces", {}).items()
        ]
        weights += [
            ((*path, "track_scripts", i, "weight"), script.get("weight", 0))
            for i, script in enumerate(table.get("track_scripts", ()))
            if script is not None
        ]
        for where, weight in weights:
            if weight:
                text = "expected 0: instances that stay together have one priority"
                yield where, f"found {weight}, {text}"


def _together(tables: Raw) -> Iterator[Problem]:
    prefers: dict[str, tuple[str, object]] = {}
    for name, table in tables.items():
        if "together" not in table:
            continue
        first, prefer = prefers.setdefault(table["together"], (name, table.get("prefer")))
        if table.get("prefer") != prefer:
            text = f"expected {shown(prefer)} as in vrrp.{first}" if prefer else f"expected none as in vrrp.{first}"
            found = f"found {shown(table['prefer'])}" if "prefer" in table else "missing"
            yield ("vrrp", name, "prefer"), f"{found}, {text}: they are to be masters together"


def _director(raw: Raw) -> Iterator[Problem]:
    table = raw.get("director", {})
    heartbeats = [ip_network(n) for n in raw.get("cluster", {}).get("networks", []) if n is not None]
    own = further_networks(raw)
    for i, net in enumerate(own):
        for earlier in (*heartbeats, *own[:i]):
            if net is not None and earlier is not None and net.overlaps(earlier):
                yield ("director", "networks", i), f'found "{net}", expected a network apart from "{earlier}"'
    if "sync_network" in table:
        network = ip_network(table["sync_network"])
        if heartbeats and network not in heartbeats:
            listed = " or ".join(map(str, heartbeats))
            text = f"expected {listed}, one of cluster.networks: in others the nodes' addresses are not known"
            yield ("director", "sync_network"), f'found "{network}", {text}'
        if table.get("sync") is False:
            yield ("director", "sync_network"), f'found "{network}", expected sync = true beside it'
