# SPDX-License-Identifier: GPL-2.0-or-later
"""`[realserver.NAME]`: what a machine behind LVS directors has to be given. Values, their shape, and their rules.

The same tables stand in `cluster.toml`, for groups that take them as a resource, and alone in
`/etc/pairkeep/realserver.toml` on machines that are members of no cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar, Literal

from appliance.config.shape import Path, Problem, array, number, shown, table, tables, text, word
from appliance.config.values import address, network

Raw = Mapping[str, Any]
Forwarding = Literal["nat", "dr", "tun"]
Tunnel = Literal["ipip", "gre", "gue"]
# Tunnels are called pk-NAME and pk6-NAME, and the kernel allows 15 characters (IFNAMSIZ, linux/if.h).
NAME = r"[a-z][a-z0-9-]{0,10}"
# IANA's number for GUE.
GUE_PORT = 6080

# Which keys each way of forwarding needs and takes.
_NEEDED = {"dr": ("addresses",), "tun": ("addresses", "network"), "nat": ("network", "gateway")}
_TAKEN = {"dr": (), "tun": ("tunnel", "tunnel_port"), "nat": ()}
_WHY_NOT = {
    ("dr", "network"): "packets come to this machine's hardware address, whatever its own addresses are",
    ("dr", "gateway"): "answers go to the clients directly",
    ("tun", "gateway"): "answers go to the clients directly",
    ("nat", "addresses"): "the director writes this machine's own address into the packets",
}

TABLES = tables(
    "[realserver.NAME] tables",
    "small letters, digits and -, a letter first (at most 11)",
    NAME,
    table(
        "a table",
        {"forwarding": word("dr", "tun", "nat")},
        {
            "addresses": array(
                'an array of the service addresses, like ["10.9.1.100"]',
                address,
                least=1,
            ),
            "network": network,
            "gateway": address,
            "tunnel": word("ipip", "gre", "gue"),
            "tunnel_port": number(1, 65535, ""),
        },
    ),
)
RESOURCE = table("a table", {"realserver": text("the NAME of a [realserver.NAME] table", NAME)})


@dataclass(frozen=True)
class RealServer:
    """What makes this machine a real server of some services.

    ``addresses``: the service addresses that it takes packets for, without answering ARP for them. ``network``:
    where its own address is that directors send to (tunnels), or answers go back from (NAT). ``gateway``: the
    directors' address in that network, through which NAT's answers go.
    """

    name: str
    forwarding: Forwarding
    addresses: tuple[str, ...] = ()
    network: str | None = None
    gateway: str | None = None
    tunnel: Tunnel = "ipip"
    tunnel_port: int = GUE_PORT


@dataclass(frozen=True)
class RealServerRole:
    """The resource of a group that is *started* while the node is the real server ``realserver``."""

    realserver: str
    # What is left of it harms nobody: at worst the node takes packets that no one sends it.
    on_stop_failure: ClassVar[Literal["block"]] = "block"

    @property
    def id(self) -> str:
        return f"realserver:{self.realserver}"


def build(raw: Raw) -> tuple[RealServer, ...]:
    """The tables of a file that was found good. Addresses are written as the kernel prints them."""
    return tuple(
        RealServer(
            **{
                **entry,
                "name": name,
                "addresses": tuple(str(ip_address(a)) for a in entry.get("addresses", ())),
                "network": str(ip_network(entry["network"])) if "network" in entry else None,
                "gateway": str(ip_address(entry["gateway"])) if "gateway" in entry else None,
            }
        )
        for name, entry in raw.items()
    )


def problems(raw: Raw) -> Iterator[Problem]:
    """What contradicts something else in ``raw``, the tables by name. Paths begin with "realserver"."""
    owners: dict[str, str] = {}
    networks: dict[tuple[object, ...], str] = {}
    for name, entry in raw.items():
        path: Path = ("realserver", name)
        how = entry.get("forwarding")
        if how is None:
            continue
        yield from _keys(path, how, entry)
        for i, listed in enumerate(entry.get("addresses", [])):
            if listed is None or how == "nat":
                continue
            own = str(ip_address(listed))
            if own in owners:
                yield (
                    (*path, "addresses", i),
                    f'found "{listed}", expected an address that realserver.{owners[own]} does not have',
                )
            owners.setdefault(own, name)
        yield from _gateway(path, entry)
        if how != "dr" and "network" in entry:
            # Two tunnels of one kind from the same address are one to the kernel, and so are two ways back. What
            # comes by GUE is IPIP inside.
            kind = (how, ip_network(entry["network"]), how == "tun" and entry.get("tunnel") == "gre")
            if kind in networks:
                yield (
                    (*path, "network"),
                    f"found {shown(entry['network'])}, expected a network that realserver.{networks[kind]} does "
                    "not have; one table can have several addresses",
                )
            networks.setdefault(kind, name)


def _keys(path: Path, how: str, entry: Raw) -> Iterator[Problem]:
    for key in _NEEDED[how]:
        if key not in entry:
            yield (*path, key), f'missing, expected it with forwarding = "{how}"'
    for key in entry:
        if key == "forwarding" or key in _NEEDED[how] or key in _TAKEN[how]:
            continue
        why = _WHY_NOT.get((how, key))
        yield (*path, key), f'found, expected none with forwarding = "{how}"' + (f": {why}" if why else "")
    if how == "tun" and "tunnel_port" in entry and entry.get("tunnel") != "gue":
        yield (*path, "tunnel_port"), 'found, expected none without tunnel = "gue": only that has a port'


def _gateway(path: Path, entry: Raw) -> Iterator[Problem]:
    gateway, inside = entry.get("gateway"), entry.get("network")
    if gateway is not None and inside is not None and ip_address(gateway) not in ip_network(inside):
        yield (
            (*path, "gateway"),
            f'found "{gateway}", expected an address in {inside}: answers that do not pass the director carry the '
            "wrong sender's address",
        )
