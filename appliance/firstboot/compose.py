# SPDX-License-Identifier: GPL-2.0-or-later
"""From what was answered on several machines to one cluster: who may take part, cluster.toml, their answers."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_interface
from typing import Literal

from appliance import __version__
from appliance.config.load import parse
from appliance.config.model import IPInterface
from appliance.firstboot.answers import Answers, Database, Settings
from appliance.firstboot.facts import ALIAS, LEAST_DISK_BYTES, size_in_words
from appliance.firstboot.given import Given
from appliance.firstboot.network import LinkSettings
from appliance.firstboot.password import for_mariadb, hashed
from appliance.joining import Bundle, Candidate

# What corosync-keygen(8) writes.
KEY_BYTES = 256
WORKERS = 2
FOLDER = "/etc/pairkeep"


def candidate(given: Given) -> Candidate:
    """What this machine says of itself to the others."""
    disk = given.facts.disk(given.disk)
    return Candidate(
        name=given.name,
        role="witness" if given.votes_only else "worker",
        version=__version__,
        clock_s=time.time(),
        links=tuple(str(address) for address in given.heartbeats),
        disk=None if disk is None else disk.path,
        disk_bytes=None if disk is None else disk.size_bytes,
        fence=given.fence,
    )


def admit(given: Given, own: Candidate, joined: Sequence[Candidate], other: Candidate) -> str | None:
    """Why ``other`` cannot be one of the cluster that ``own`` creates; None when it can."""
    members = (own, *joined)
    taken = next((one for one in members if one.name == other.name), None)
    if taken is not None:
        return f'found the host name "{other.name}", which another machine of this cluster has; choose another one'
    return (
        _role_fault(given, members, other)
        or _links_fault(given, members, other)
        or _means_fault(given, members, other)
    )


def _role_fault(given: Given, members: Sequence[Candidate], other: Candidate) -> str | None:
    same = [one.name for one in members if one.role == other.role]
    if other.role == "witness" and not given.wants_witness:
        return f"{members[0].name} was told to do without a witness; choose one there on the page Fencing"
    most: dict[Literal["worker", "witness"], int] = {"worker": WORKERS, "witness": 1}
    if len(same) >= most[other.role]:
        what = "both of its database machines" if other.role == "worker" else "its witness"
        return f"the cluster has {what} already: {' and '.join(same)}"
    return None


def _links_fault(given: Given, members: Sequence[Candidate], other: Candidate) -> str | None:
    own = [ip_interface(link) for link in members[0].links]
    theirs = [ip_interface(link) for link in other.links]
    if len(theirs) != len(own):
        return (
            f"found {_cards(len(theirs))} for the cluster on {other.name}, expected {len(own)} as on "
            f"{members[0].name}: {', '.join(str(one.network) for one in own)}"
        )
    for number, (address, expected) in enumerate(zip(theirs, own, strict=True), start=1):
        if address.network != expected.network:
            return f"found {address} as address {number} of {other.name}, expected one in {expected.network}"
    for address in theirs:
        for one in members:
            if any(ip_interface(link).ip == address.ip for link in one.links):
                return f"found the address {address.ip} on {other.name}, which {one.name} has already"
        if str(address.ip) == given.get("service", "address").partition("/")[0]:
            return f"found the address {address.ip} on {other.name}, which is to be the service address"
    return None


def _cards(count: int) -> str:
    return f"{count} card" if count == 1 else f"{count} cards"


def _means_fault(given: Given, members: Sequence[Candidate], other: Candidate) -> str | None:
    """A data disk, and a fence device where they are to be used."""
    if other.role == "witness":
        return None
    if other.disk is None or other.disk_bytes is None:
        return f"{other.name} names no data disk, and a database machine needs one"
    if other.disk_bytes < LEAST_DISK_BYTES:
        least = size_in_words(LEAST_DISK_BYTES)
        return (
            f"found a disk of {size_in_words(other.disk_bytes)} on {other.name}, expected one of at least {least}"
        )
    if not given.has_device:
        return None
    if not other.fence:
        return f"{other.name} names no fence device, and {members[0].name} was told to use them; choose one there"
    if _place(other) == _place(members[0]):
        return f"found the fence device of {members[0].name} on {other.name}, expected one of its own"
    owners = {str(ip_interface(link).ip): one.name for one in (*members, other) for link in one.links}
    if (owner := owners.get(str(other.fence.get("ip")))) is not None:
        return f"found {other.fence['ip']} as fence device of {other.name}, which is an address of {owner} itself"
    return None


def _place(one: Candidate) -> tuple[object, object]:
    return one.fence.get("ip"), one.fence.get("plug")


def missing(given: Given, joined: Sequence[Candidate]) -> tuple[str, ...]:
    """Who has to join yet, in words."""
    roles = [one.role for one in joined]
    found = [] if "worker" in roles else ["the second database machine"]
    if given.wants_witness and "witness" not in roles:
        found.append("the witness")
    return tuple(found)


def bundle(given: Given, own: Candidate, joined: Sequence[Candidate]) -> Bundle:
    """What every node gets. Raises ConfigError when the answers do not make a cluster: then a check is missing."""
    text = cluster_toml(given, own, joined)
    parse(text)
    password = for_mariadb(given.get("service", "password"))
    return Bundle(
        cluster_toml=text,
        cluster_key=secrets.token_bytes(KEY_BYTES),
        secrets={_secret(one): str(one.fence["password"]) for one in (own, *joined) if _uses_device(given, one)},
        database={
            "name": given.get("service", "database"),
            "user": given.get("service", "user"),
            "password_hash": password,
        },
    )


def cluster_toml(given: Given, own: Candidate, joined: Sequence[Candidate]) -> str:
    """The file that a person goes on with, so it is written as one would."""
    name = given.get("cluster", "name")
    nodes = sorted((own, *joined), key=lambda one: one.role == "witness")
    lines = [
        f"# Made by the first boot of {own.name}. To change it: edit it, then pairkeep apply.",
        "[cluster]",
        f"name = {_toml(name)}",
        f"networks = {_toml([str(ip_interface(link).network) for link in own.links])}",
        *(['fencing = "manual"'] if given.fencing == "manual" else []),
    ]
    for node in nodes:
        lines += [
            "",
            f"[node.{node.name}]",
            f"links = {_toml([str(ip_interface(link).ip) for link in node.links])}",
        ]
        if node.role == "witness":
            lines.append("votes_only = true")
        if _uses_device(given, node):
            options = {key: value for key, value in node.fence.items() if key != "password"}
            options["password_file"] = f"{FOLDER}/{_secret(node)}"
            lines.append(f"fence = {{ {', '.join(f'{key} = {_toml(value)}' for key, value in options.items())} }}")
    lines += [
        "",
        "[drbd.data]",
        f"disk = {_toml(ALIAS)}",
        "",
        "[[group]]",
        f"name = {_toml(name)}",
        f"prefer = {_toml(own.name)}",
        "resources = [",
        '  { drbd = "data" },',
        '  { filesystem = "/srv/mysql", device = "drbd:data" },',
        '  { service = "mariadb.service", probe = "mysql" },',
        f"  {{ address = {_toml(given.get('service', 'address'))} }},",
        "]",
    ]
    return "\n".join(lines) + "\n"


def _uses_device(given: Given, node: Candidate) -> bool:
    return given.has_device and node.role == "worker" and bool(node.fence)


def _secret(node: Candidate) -> str:
    return f"fence-{node.name}.password"


def _toml(value: object) -> str:
    """JSON's strings, numbers, booleans and arrays of them are TOML's as well."""
    return json.dumps(value, ensure_ascii=False)


def answers(given: Given, made: Bundle) -> Answers:
    """All that this machine is set up with."""
    return Answers(
        node=given.name,
        cluster_key=made.cluster_key,
        interfaces=tuple(link.mac for link in given.cluster_links),
        cluster_toml=made.cluster_toml,
        cluster=parse(made.cluster_toml),
        database=None if made.database is None else Database(**made.database),
        networks=tuple(_beside_heartbeats(given)),
        secrets=made.secrets,
        settings=settings(given),
    )


def settings(given: Given) -> Settings:
    """What concerns this machine alone."""
    password = given.get("admin", "password")
    return Settings(
        keyboard=given.get("keyboard", "layout"),
        language=given.get("keyboard", "language"),
        time_servers=tuple(given.get("time", "servers").split()),
        password_hash=hashed(password) if password else "",
        ssh_keys=tuple(line.strip() for line in given.get("admin", "keys").splitlines() if line.strip()),
        disk=given.disk,
        # Whoever typed the disk's name has seen what is on it.
        wipe="drbd" if given.wipes else False,
    )


def _beside_heartbeats(given: Given) -> Iterator[LinkSettings]:
    """The heartbeat's own address comes from cluster.toml."""
    heartbeats: tuple[IPInterface, ...] = given.heartbeats
    for one in given.networks:
        others = tuple(address for address in one.addresses if address not in heartbeats)
        yield LinkSettings(one.interface, others, one.dhcp, one.ra, one.gateways, one.dns)
