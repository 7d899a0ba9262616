# SPDX-License-Identifier: GPL-2.0-or-later
"""What the values of `cluster.toml` have to do with each other.

Every rule takes what the schema left over: values that are there have the right shape, values that had
not are absent (None in arrays), and a rule that would need one of those says nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import PurePosixPath
from typing import Any

from appliance.config import constraints, initiator, realserver, target_rules, virtual_rules, vrrp_rules
from appliance.config.model import Cluster, Fencing, IPAddress, IPInterface, IPNetwork
from appliance.config.schema import DISK_RESOURCES
from appliance.config.shape import Path, Problem, shown
from appliance.config.values import means_all

Raw = Mapping[str, Any]
# What fence agents call the address of their device (FenceAgentAPI.md of fence-agents, and their manuals).
FENCE_ADDRESSES = ("ip", "ipaddr")
WORKERS = 2


def problems(raw: Raw) -> Iterator[Problem]:
    """Everything that contradicts something else."""
    yield from _networks(raw)
    yield from _times(raw)
    yield from _nodes(raw)
    yield from _fence(raw)
    yield from _links(raw)
    yield from _ping(raw)
    yield from _drbd(raw)
    yield from constraints.problems(raw)
    yield from initiator.problems(raw)
    for kind in ("drbd", "initiator", "realserver"):
        yield from _roles(raw, kind)
    yield from _filesystems(raw)
    yield from _services(raw)
    yield from realserver.problems(raw.get("realserver", {}))
    taken = _owners(raw)
    yield from _addresses(raw, taken)
    here = [*networks(raw), *vrrp_rules.further_networks(raw)]
    yield from vrrp_rules.problems(raw, here, taken)
    yield from virtual_rules.problems(raw, here)
    yield from target_rules.problems(raw)


def networks(raw: Raw) -> list[IPNetwork | None]:
    """cluster.networks; None for those that cannot be read."""
    return [None if n is None else ip_network(n) for n in raw.get("cluster", {}).get("networks", [])]


def link_of(address: IPInterface, nets: list[IPNetwork | None]) -> int | None:
    """The number (from 1) of the link whose network, prefix length included, ``address`` is in."""
    return next((i for i, net in enumerate(nets, start=1) if net == address.network), None)


def _networks(raw: Raw) -> Iterator[Problem]:
    nets = networks(raw)
    for i, net in enumerate(nets):
        for j, earlier in enumerate(nets[:i]):
            if net is not None and earlier is not None and net.overlaps(earlier):
                text = f'found "{net}", expected a network apart from "{earlier}" (link {j + 1})'
                yield ("cluster", "networks", i), text


def _times(raw: Raw) -> Iterator[Problem]:
    """A ring that forms anew carries no word to the watchdogs for a token, a consensus and a beat."""
    cluster = raw.get("cluster", {})
    token_ms, watchdog_s = cluster.get("token_ms", Cluster.token_ms), cluster.get("watchdog_s", Cluster.watchdog_s)
    least = math.ceil(2.2 * token_ms / 1000 + 2)
    if watchdog_s <= least:
        yield (
            ("cluster", "watchdog_s"),
            f"found {watchdog_s}, expected more than {least} with a token of {token_ms} ms: otherwise the watchdog "
            "resets healthy nodes whenever the membership changes",
        )


def _nodes(raw: Raw) -> Iterator[Problem]:
    nodes = raw.get("node")
    if nodes is None:
        return
    workers = [name for name, node in nodes.items() if node.get("votes_only") is not True]
    if len(workers) != WORKERS:
        found = f"{len(workers)} ({', '.join(workers)})" if workers else "none"
        yield (
            ("node",),
            f"nodes that can run groups: found {found}, expected {WORKERS} (others say votes_only = true)",
        )
    if len(workers) == len(nodes) and fencing(raw) == "watchdog" and (raw.get("group") or raw.get("drbd")):
        yield (
            ("node",),
            "found no node with votes_only = true, expected at least one, or fence = { … } for both nodes: with "
            "neither a witness nor fence devices a node cannot tell a dead peer from a cut cable; who wants to say "
            'so in person each time sets cluster.fencing = "manual"',
        )


def fencing(raw: Raw) -> Fencing:
    """What `cluster.fencing` says; unsaid, the devices where there are any.

    Without groups and disks nothing ever waits for a node to be down: two directors that agree by VRRP need neither
    witness nor device.
    """
    said: Fencing | None = raw.get("cluster", {}).get("fencing")
    found = any("fence" in node for node in raw.get("node", {}).values())
    return said or ("devices" if found else "watchdog")


def devices(node: Raw) -> list[Raw]:
    """The readable fence devices of a node, in the order in which they are tried."""
    found = node.get("fence", [])
    return [device for device in (found if isinstance(found, list) else [found]) if device]


def _fence(raw: Raw) -> Iterator[Problem]:
    own = {ip_address(a): name for name, n in raw.get("node", {}).items() for a in n.get("links", []) if a}
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    mode = fencing(raw)
    for name, node in raw.get("node", {}).items():
        path: Path = ("node", name, "fence")
        if node.get("votes_only") is True:
            if "fence" in node:
                yield path, "found on a node that only votes, expected none: it runs nothing that could go on"
            continue
        if mode == "devices" and "fence" not in node:
            yield path, f"missing, expected a fence device: the other node has to be able to switch {name} off"
        if mode != "devices" and "fence" in node:
            yield path, f'found, expected none with cluster.fencing = "{mode}", which never uses it'
        for i, device in enumerate(devices(node)):
            where = (*path, i) if isinstance(node["fence"], list) else path
            yield from _fence_device(name, device, where, own, seen)


def _fence_device(
    name: str, device: Raw, where: Path, own: Mapping[IPAddress, str], seen: dict[tuple[tuple[str, str], ...], str]
) -> Iterator[Problem]:
    for key in FENCE_ADDRESSES:
        with contextlib.suppress(ValueError):
            owner = own.get(ip_address(str(device.get(key))))
            if owner is not None:
                whose = "the node itself" if owner == name else f"node {owner}"
                yield (
                    (*where, key),
                    f"found {shown(device[key])}, expected the fence device's address, not that of {whose}: "
                    "a machine that hangs does not switch itself off",
                )
    told = tuple(sorted((key, str(value)) for key, value in device.items() if key != "timeout_s"))
    if seen.setdefault(told, name) != name:
        yield where, f"found the device of node {seen[told]}, expected one, or an outlet, of its own"


def _links(raw: Raw) -> Iterator[Problem]:
    nets = networks(raw)
    seen: dict[IPAddress, str] = {}
    for name, node in raw.get("node", {}).items():
        links = node.get("links")
        if links is None:
            continue
        if nets and len(links) != len(nets):
            yield (
                ("node", name, "links"),
                f"found {len(links)} address{'es' if len(links) != 1 else ''}, "
                f"expected {len(nets)}, one for each of cluster.networks",
            )
        for i, text in enumerate(links):
            if text is None:
                continue
            path: Path = ("node", name, "links", i)
            address = ip_address(text)
            net = nets[i] if i < len(nets) else None
            if net is not None and address not in net:
                yield path, f'found "{text}", expected an address in {net}, the network of link {i + 1}'
            elif net is not None and means_all(address, net):
                yield path, f'found "{text}", expected a host\'s address, not one that means all of {net}'
            if address in seen:
                yield path, f'found "{text}", expected an address that is not {seen[address]}'
            seen.setdefault(address, f"link {i + 1} of node {name}")


def _ping(raw: Raw) -> Iterator[Problem]:
    owners = {ip_address(a): name for name, n in raw.get("node", {}).items() for a in n.get("links", []) if a}
    for i, text in enumerate(raw.get("cluster", {}).get("ping", [])):
        if text is not None and ip_address(text) in owners:
            owner = owners[ip_address(text)]
            yield (
                ("cluster", "ping", i),
                f'found "{text}", expected an address outside the cluster, not one of node {owner}: it would '
                "seem unreachable to the others whenever that node is down",
            )


def _drbd(raw: Raw) -> Iterator[Problem]:
    links = len(networks(raw))
    seen: dict[str, str] = {}
    for name, drbd in raw.get("drbd", {}).items():
        link, disk = drbd.get("link"), drbd.get("disk")
        if link is not None and links and link > links:
            yield (
                ("drbd", name, "link"),
                f"found {link}, expected a link from 1 to {links}: cluster.networks has no more",
            )
        if disk in seen:
            yield (
                ("drbd", name, "disk"),
                f"found {shown(disk)}, expected a disk that drbd.{seen[disk]} does not use",
            )
        if disk is not None:
            seen.setdefault(disk, name)


def _resources(raw: Raw, kind: str) -> Iterator[tuple[Path, list[Raw | None], Raw]]:
    """(path, what stands before it in its group, resource) of every readable resource of this kind."""
    for i, group in enumerate(raw.get("group", [])):
        resources = (group or {}).get("resources", [])
        for j, resource in enumerate(resources):
            if resource is not None and kind in resource:
                yield ("group", i, "resources", j), resources[:j], resource


def _roles(raw: Raw, kind: str) -> Iterator[Problem]:
    """Of what has a table of its own, and is a resource by its name."""
    defined = raw.get(kind, {})
    used: set[str] = set()
    for path, _before, resource in _resources(raw, kind):
        name = resource[kind]
        if name not in defined:
            there = " or ".join(defined) or f"a table [{kind}.{name}]"
            yield (*path, kind), f"found {shown(name)}, expected {there}"
        if name in used:
            yield (*path, kind), f"found {shown(name)} again, expected it in one group only, once"
        used.add(name)
    unread = any(g is None or None in g.get("resources", [None]) for g in raw.get("group", []))
    for name in defined:
        if name not in used and not unread:
            yield (kind, name), "found in no group's resources, expected it in exactly one"


def _filesystems(raw: Raw) -> Iterator[Problem]:
    disks = {drbd.get("disk"): name for name, drbd in raw.get("drbd", {}).items()}
    targets: dict[str, str | int] = {}
    devices: set[str] = set()
    for path, before, resource in _resources(raw, "filesystem"):
        target, device = resource["filesystem"], resource.get("device")
        for other, group in targets.items():
            if (what := _collision(target, other, same_group=group == path[1])) is not None:
                yield (*path, "filesystem"), f"found {shown(target)}, expected {what}"
        targets.setdefault(target, path[1])
        if device is None:
            continue
        if device in devices:
            yield (*path, "device"), f"found {shown(device)}, expected a device that no other filesystem has"
        devices.add(device)
        if device in disks:
            text = f'expected "drbd:{disks[device]}": that disk belongs to drbd.{disks[device]}'
            yield (*path, "device"), f"found {shown(device)}, {text}"
        kind, _, name = device.partition(":")
        if device.startswith(DISK_RESOURCES) and None not in before and {kind: name} not in before:
            text = f'expected {{ {kind} = "{name}" }} to stand before it in the same group'
            yield (*path, "device"), f"found {shown(device)}, {text}"


def _collision(target: str, other: str, *, same_group: bool) -> str | None:
    """What a mount point has to be that would lie over, in or below ``other``, which stands before it."""
    above = PurePosixPath(target) in PurePosixPath(other).parents
    below = PurePosixPath(other) in PurePosixPath(target).parents
    if target == other:
        return "a mount point that no other filesystem has"
    if above and same_group:
        return f"it to stand before {shown(other)}, which it would hide"
    if (above or below) and not same_group:
        where = "below" if below else "above"
        return (
            f"a mount point that is not {where} {shown(other)} of another group: one would hide or hold the other"
        )
    return None


def _services(raw: Raw) -> Iterator[Problem]:
    units: set[str] = set()
    for path, _before, resource in _resources(raw, "service"):
        unit = resource["service"]
        if unit in units:
            yield (*path, "service"), f"found {shown(unit)} again, expected it in one group only, once"
        units.add(unit)


def _owners(raw: Raw) -> dict[IPAddress, str]:
    """Whose each address is."""
    return {
        ip_address(text): f"link {i} of node {name}"
        for name, node in raw.get("node", {}).items()
        for i, text in enumerate(node.get("links", []), start=1)
        if text is not None
    }


def _addresses(raw: Raw, owners: dict[IPAddress, str]) -> Iterator[Problem]:
    nets = networks(raw)
    for path, _before, resource in _resources(raw, "address"):
        text = resource["address"]
        address = ip_interface(text)
        where = (*path, "address")
        if address.ip in owners:
            yield where, f'found "{text}", expected an address that is not {owners[address.ip]}'
        owners.setdefault(address.ip, "another service address")
        if means_all(address.ip, address.network):
            yield where, f'found "{text}", expected a host\'s address, not one that means all of its network'
        if "interface" in resource or None in nets or not nets or link_of(address, nets):
            continue
        within = next((net for net in nets if net is not None and address.ip in net), None)
        if within is not None:
            yield where, f'found "{text}", expected the prefix length of its network {within}'
        else:
            listed = " or ".join(str(net) for net in nets)
            yield where, f'found "{text}", expected an address in {listed}, or the key interface beside it'
