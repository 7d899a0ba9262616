# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of cluster that are simulated. A life's script names its shape."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from appliance.config.model import (
    Address,
    Cluster,
    Drbd,
    DrbdRole,
    FenceDevice,
    Fencing,
    Filesystem,
    Group,
    Node,
    Service,
)

NETWORKS = (IPv4Network("10.9.1.0/24"), IPv4Network("10.9.2.0/24"))
SHAPES = ("lab", "two-groups", "devices", "two-nodes", "by-hand", "company")
# In which of them one fault needs a person: two nodes with neither a witness nor a device.
BY_HAND = ("by-hand",)


@cache
def cluster_of(shape: str) -> Cluster:
    """The configuration of a shape; the same object every time, as it never changes."""
    groups, drbd = [_group("shop", "mysql", "alpha", 100)], [_drbd("shopdata", 0)]
    if shape in ("two-groups", "two-nodes"):
        groups.append(_group("wiki", "wiki", "beta", 101))
        drbd.append(_drbd("wikidata", 1))
    if shape == "company":
        groups = [replace(groups[0], failback=True, failback_delay_s=4.0), *_COMPANY]
    devices = shape in ("devices", "two-nodes")
    names = ("alpha", "beta") if shape in ("two-nodes", "by-hand") else ("alpha", "beta", "witness")
    fencing: Fencing = "devices" if devices else "manual" if shape in BY_HAND else "watchdog"
    nodes = tuple(_node(name, i, fenced=devices) for i, name in enumerate(names, start=1))
    return Cluster("shop", nodes, NETWORKS, tuple(drbd), tuple(groups), fencing=fencing)


# One that goes where the database goes, and behind it; and one that keeps out of its way.
_COMPANY = (
    Group(
        "web",
        (Service("web.service"), Address(IPv4Interface("10.9.1.102/24"), link=1)),
        leader="shop",
        after=("shop",),
    ),
    Group("batch", (Service("batch.service"),), apart_from=("shop",)),
)


def _node(name: str, number: int, *, fenced: bool) -> Node:
    links = tuple(IPv4Address(int(n[10 + number])) for n in NETWORKS)
    only = name == "witness"
    fence = (FenceDevice("fence_ipmilan"),) if fenced and not only else ()
    return Node(name, number, links, votes_only=only, fence=fence)


def _group(name: str, what: str, prefer: str, host: int) -> Group:
    return Group(
        name,
        (
            DrbdRole(f"{name}data"),
            Filesystem(f"/srv/{what}", f"drbd:{name}data"),
            Service("mariadb.service" if what == "mysql" else f"{what}.service", probe="mysql"),
            Address(IPv4Interface(f"10.9.1.{host}/24"), link=1),
        ),
        prefer=prefer,
    )


def _drbd(name: str, minor: int) -> Drbd:
    return Drbd(name, f"/dev/disk/by-id/virtio-{name}", link=2, minor=minor, port=7788 + minor)
