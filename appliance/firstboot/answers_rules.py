# SPDX-License-Identifier: GPL-2.0-or-later
"""What the values of an answers file have to do with each other, and with the cluster.toml in it.

As in `config.rules`, what was refused by itself is absent here (None in arrays), and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from appliance.config.load import ConfigError, parse, readable
from appliance.config.model import IPInterface
from appliance.config.shape import Problem, shown
from appliance.firstboot.facts import ALIAS

Raw = Mapping[str, Any]


def card_name(written: str) -> str:
    """MAC addresses as the kernel writes them; names as they are."""
    return written.lower() if ":" in written else written


def problems(raw: Raw) -> Iterator[Problem]:
    """Everything that contradicts something else, the mistakes of the cluster.toml among it."""
    cluster: Raw = {}
    if "cluster" in raw:
        cluster = readable(raw["cluster"])
        try:
            parse(raw["cluster"])
        except ConfigError as error:
            yield from ((("cluster",), problem) for problem in error.problems)
    nodes, own = cluster.get("node", {}), cluster.get("node", {}).get(raw.get("node"))
    if "node" in raw and nodes and own is None:
        yield ("node",), f"found {shown(raw['node'])}, expected one of {', '.join(nodes)}"
    yield from _interfaces(raw, cluster)
    if own is not None:
        yield from _disk(raw, cluster, votes_only=own.get("votes_only") is True)
    yield from cards(raw, tuple(_heartbeats(raw, cluster, own or {})))


def _interfaces(raw: Raw, cluster: Raw) -> Iterator[Problem]:
    found, nets = raw.get("interfaces"), cluster.get("cluster", {}).get("networks")
    if found is None:
        return
    if nets is not None and len(found) != len(nets):
        yield ("interfaces",), f"found {len(found)}, expected {len(nets)}, one for each of cluster.networks"
    names = [None if one is None else card_name(one) for one in found]
    for i, name in enumerate(names):
        if name is not None and name in names[:i]:
            yield ("interfaces", i), f"found {shown(found[i])} again, expected a card of its own for each network"


def _disk(raw: Raw, cluster: Raw, *, votes_only: bool) -> Iterator[Problem]:
    """``disk`` is erased as ``wipe`` says, so it has to be what the cluster uses on this very node."""
    if any("disk" not in drbd for drbd in cluster.get("drbd", {}).values()):
        return
    aliased = [f"drbd.{name}" for name, drbd in cluster.get("drbd", {}).items() if drbd["disk"] == ALIAS]
    if aliased and not votes_only:
        if "disk" not in raw:
            yield ("disk",), f"missing, expected this machine's disk, which {aliased[0]} calls {ALIAS}"
        return
    why = f"{raw['node']} only votes" if votes_only else f'no drbd of the cluster has disk = "{ALIAS}"'
    for key in ("disk", "wipe"):
        if raw.get(key):
            yield (key,), f"found {shown(raw[key])}, expected none: {why}"


def _heartbeats(raw: Raw, cluster: Raw, own: Raw) -> Iterator[tuple[str, IPInterface]]:
    """The cards of the heartbeat's links with the addresses that they get by cluster.toml, as far as these fit."""
    nets = cluster.get("cluster", {}).get("networks", ())
    for name, link, net in zip(raw.get("interfaces", ()), own.get("links", ()), nets, strict=False):
        if None not in (name, link, net):
            yield card_name(name), ip_interface(f"{link}/{net.partition('/')[2]}")


def cards(raw: Raw, heartbeats: Iterable[tuple[str, IPInterface]] = ()) -> Iterator[Problem]:
    """Of [[network]] tables. ``heartbeats``: cards with addresses that they have besides."""
    tables = [(i, one) for i, one in enumerate(raw.get("network", ())) if one is not None and "interface" in one]
    addresses = [
        *heartbeats,
        *((card_name(one["interface"]), ip_interface(one["address"])) for _, one in tables if "address" in one),
    ]
    # The networks of addresses that others give are not known.
    given = {
        (card_name(one["interface"]), version)
        for _, one in tables
        for key, version in (("dhcp", 4), ("router_advertisements", 6))
        if one.get(key)
    }
    seen: dict[int, int] = {}
    for i, one in tables:
        if "gateway" not in one:
            continue
        card, gateway = card_name(one["interface"]), ip_address(one["gateway"])
        own = [a for name, a in addresses if name == card and a.version == gateway.version]
        where, found = ("network", i, "gateway"), f"found {shown(one['gateway'])}"
        if any(gateway == address.ip for address in own):
            yield where, f"{found}, expected another machine's address, not this one's"
        elif (card, gateway.version) not in given and not any(gateway in address.network for address in own):
            networks = " or ".join(str(address.network) for address in own) or "a network that the card is in"
            yield where, f"{found}, expected an address in {networks}"
        if gateway.version in seen:
            text = f"expected none: network.{seen[gateway.version] + 1} has an IPv{gateway.version} gateway already"
            yield where, f"{found}, {text}"
        seen.setdefault(gateway.version, i)
