# SPDX-License-Identifier: GPL-2.0-or-later
"""What the values of `[virtual.…]` have to do with each other and with the rest of `cluster.toml`.

As in `rules`, what the schema refused is absent here (None in arrays), and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from appliance.config.model import IPAddress, IPNetwork
from appliance.config.shape import Path, Problem, shown
from appliance.config.virtual import Virtual
from appliance.config.virtual_load import PORTLESS, check_of
from appliance.config.virtual_schema import FLAGS, port_range

Raw = Mapping[str, Any]
# What the real server gets as it came, so that it needs the same port.
UNCHANGED = ("dr", "tun")
BITS = {4: 32, 6: 128}


def problems(raw: Raw, networks: list[IPNetwork | None]) -> Iterator[Problem]:
    """``networks``: those in which directors have addresses."""
    tables = raw.get("virtual", {})
    nodes = {ip_address(a): name for name, n in raw.get("node", {}).items() for a in n.get("links", []) if a}
    for name, table in tables.items():
        path: Path = ("virtual", name)
        yield from _ports(path, table)
        yield from _options(path, table)
        yield from _persistence(path, table)
        yield from _quorum(path, table)
        yield from _tunnel(path, table)
        yield from _servers(path, table, networks, nodes)
    yield from _duplicates(tables)
    yield from _homes(raw)


def _ports(path: Path, table: Raw) -> Iterator[Problem]:
    if "port" in table and "ports" in table:
        yield (*path, "port"), f"found {shown(table['port'])} beside ports, expected one of the two"
    elif "port" not in table and "ports" not in table:
        yield (*path, "port"), "missing, expected a port, 0 for all of them, or ports for several as one service"
    if table.get("port") == 0 and "persistence_s" not in table:
        text = "expected persistence_s beside it: without that, a client's connections would go to several servers"
        yield (*path, "port"), f"found 0, {text}"
    if "mark" in table and "ports" not in table:
        yield (*path, "mark"), f"found {table['mark']}, expected ports beside it: the mark is what makes them one"
    ranges = [port_range(p) for p in table.get("ports", ()) if p is not None]
    for i, (first, last) in enumerate(ranges):
        if any(first <= end and begin <= last for begin, end in ranges[:i]):
            yield (
                (*path, "ports", i),
                f"found {shown(table['ports'][i])}, expected ports that are not there yet",
            )


def _options(path: Path, table: Raw) -> Iterator[Problem]:
    scheduler = table.get("scheduler", Virtual.scheduler)
    fitting = FLAGS.get(scheduler, ())
    for i, flag in enumerate(table.get("flags", ())):
        if flag is not None and flag not in fitting:
            expected = " or ".join(map(shown, fitting)) or "none"
            yield (*path, "flags", i), f'found "{flag}", expected {expected} with scheduler = "{scheduler}"'
    if table.get("one_packet") and table.get("protocol", Virtual.protocol) != "udp":
        yield (*path, "one_packet"), 'found true, expected protocol = "udp": other connections are of many packets'


def _persistence(path: Path, table: Raw) -> Iterator[Problem]:
    for key in ("persistence_prefix", "persistence_engine"):
        if key in table and "persistence_s" not in table:
            yield (*path, key), f"found {shown(table[key])}, expected persistence_s beside it"
    if "persistence_prefix" in table and "address" in table:
        most = BITS[ip_address(table["address"]).version]
        if table["persistence_prefix"] > most:
            yield (
                (*path, "persistence_prefix"),
                f"found {table['persistence_prefix']}, expected at most {most}, the bits of the address",
            )
    if "persistence_engine" in table and table.get("protocol", Virtual.protocol) != "udp":
        text = 'expected protocol = "udp": the kernel reads Call-IDs of datagrams only'
        yield (*path, "persistence_engine"), f"found {shown(table['persistence_engine'])}, {text}"


def _quorum(path: Path, table: Raw) -> Iterator[Problem]:
    reals = table.get("real", [None])
    if None in reals:
        return
    weight = sum(real.get("weight", 1) for real in reals)
    quorum = table.get("quorum", Virtual.quorum)
    if "quorum" in table and quorum > weight:
        text = f"expected at most {weight}, the weight of all its real servers"
        yield (*path, "quorum"), f"found {quorum}, {text}"
    if table.get("hysteresis", 0) >= quorum:
        yield (
            (*path, "hysteresis"),
            f"found {table['hysteresis']}, expected less than the quorum, which is {quorum}",
        )


def _tunnel(path: Path, table: Raw) -> Iterator[Problem]:
    servers = [table, table.get("sorry", {}), *(real or {} for real in table.get("real", ()))]
    if "tunnel" in table and all(server.get("forward", "nat") != "tun" for server in servers):
        yield (*path, "tunnel"), f'found {shown(table["tunnel"])}, expected forward = "tun" beside it'
    if "tunnel_port" in table and table.get("tunnel") != "gue":
        yield (*path, "tunnel_port"), f'found {table["tunnel_port"]}, expected tunnel = "gue" beside it'


def _servers(
    path: Path, table: Raw, networks: list[IPNetwork | None], nodes: Mapping[IPAddress, str]
) -> Iterator[Problem]:
    seen: set[tuple[IPAddress, int | None]] = set()
    names: set[str] = set()
    for i, real in enumerate(table.get("real", ())):
        if real is None:
            continue
        where = (*path, "real", i)
        yield from _server(where, table, real, networks, nodes)
        yield from _check(where, table, real)
        if "lower" in real and "upper" not in real:
            yield (*where, "lower"), f"found {real['lower']}, expected upper beside it: below it there is no limit"
        elif real.get("lower", 0) >= real.get("upper", 2**32):
            yield (*where, "lower"), f"found {real['lower']}, expected less than upper, which is {real['upper']}"
        if "address" not in real:
            continue
        key = ip_address(real["address"]), real.get("port", table.get("port"))
        name = real.get("name", real["address"])
        if key in seen:
            yield where, f"found {real['address']} again, expected each real server once"
        elif name in names:
            text = "expected a name that no other real server of the service has"
            yield (*where, "name"), f"found {shown(name)}, {text}" + ("" if "name" in real else "; give it one")
        seen.add(key)
        names.add(name)
    if "sorry" in table:
        yield from _server((*path, "sorry"), table, table["sorry"], networks, nodes)


def _server(
    where: Path, table: Raw, server: Raw, networks: list[IPNetwork | None], nodes: Mapping[IPAddress, str]
) -> Iterator[Problem]:
    """A real server or the sorry server."""
    forward = server.get("forward", table.get("forward", Virtual.forward))
    port, wanted = server.get("port"), table.get("port")
    if port is not None and wanted is not None and wanted != port and (forward in UNCHANGED or wanted == 0):
        why = "with port = 0" if wanted == 0 else f'with forward = "{forward}"'
        expected = f"{wanted}, or none" if wanted else "none"
        yield (*where, "port"), f"found {port}, expected {expected}: {why} ports stay as they are"
    if port is not None and "ports" in table:
        yield (*where, "port"), f"found {port}, expected none: of several ports each stays as it is"
    if "address" not in server or "address" not in table:
        return
    address, service = ip_address(server["address"]), ip_address(table["address"])
    if address == service:
        yield (*where, "address"), f'found "{address}", expected another one than that of the service'
    elif address in nodes:
        yield (
            (*where, "address"),
            f'found "{address}", expected a machine behind the directors, not node {nodes[address]}',
        )
    elif address.version != service.version and forward != "tun":
        text = f'expected an IPv{service.version} address: only forward = "tun" goes from one to the other'
        yield (*where, "address"), f'found "{address}", {text}'
    elif forward == "dr" and None not in networks and not any(address in n for n in networks if n is not None):
        listed = " or ".join(map(str, networks))
        text = f'expected an address in {listed}: with forward = "dr" it is reached without a router'
        yield (*where, "address"), f'found "{address}", {text}'


def _check(where: Path, table: Raw, real: Raw) -> Iterator[Problem]:
    check = check_of(table, real)
    asked = [check.get("port"), real.get("port"), table.get("port"), *table.get("ports", ())]
    if "kind" not in check or ("ports" not in table and "port" not in table):
        return
    if check["kind"] not in PORTLESS and not any(asked):
        path = (*where, "check") if "check" in real else (*where[:2], "check")
        yield path, f'expected the port to ask, like {{ kind = "{check["kind"]}", port = 80 }}: port = 0 names none'


def _duplicates(tables: Raw) -> Iterator[Problem]:
    """Two services must not be meant by one packet: the kernel would take one of them."""
    taken: list[tuple[str, IPAddress, str, tuple[int, int]]] = []
    marked: dict[int, str] = {}
    for name, table in tables.items():
        if "mark" in table and marked.setdefault(table["mark"], name) != name:
            text = f"expected a mark that virtual.{marked[table['mark']]} does not have"
            yield ("virtual", name, "mark"), f"found {table['mark']}, {text}"
        if "address" not in table:
            continue
        key = ip_address(table["address"]), table.get("protocol", Virtual.protocol)
        ranges = [port_range(p) for p in table.get("ports", ()) if p is not None]
        ranges += [(table["port"], table["port"])] if "port" in table else []
        for first, last in ranges:
            for other, address, protocol, (begin, end) in taken:
                if other != name and (address, protocol) == key and first <= end and begin <= last:
                    what = f"{key[1]} {table['address']} port {max(first, begin)}"
                    yield ("virtual", name), f"found {what}, expected a service that virtual.{other} is not already"
            taken.append((name, *key, (first, last)))


def _homes(raw: Raw) -> Iterator[Problem]:
    """Somebody has to have the address of each service."""
    tables = raw.get("virtual", {})
    by_vrrp = {
        ip_interface(text).ip
        for table in raw.get("vrrp", {}).values()
        for text in table.get("addresses", ())
        if text is not None
    }
    unread = any(None in table.get("addresses", [None]) for table in raw.get("vrrp", {}).values())
    in_group: dict[str, set[IPAddress]] = {}
    for i, group in enumerate(raw.get("group", [])):
        resources = (group or {}).get("resources", [None])
        unread = unread or None in resources
        addresses = {ip_interface(r["address"]).ip for r in resources if r and "address" in r}
        for j, resource in enumerate(resources):
            if resource is None or "virtual" not in resource:
                continue
            path, name = ("group", i, "resources", j, "virtual"), resource["virtual"]
            if name not in tables:
                there = " or ".join(tables) or f"a table [virtual.{name}]"
                yield path, f"found {shown(name)}, expected {there}"
            elif name in in_group:
                yield path, f"found {shown(name)} again, expected it in one group only, once"
            elif tables[name].get("failover", Virtual.failover) != "cluster":
                text = f'expected failover = "cluster" in virtual.{name}: otherwise VRRP decides where it is'
                yield path, f"found {shown(name)}, {text}"
            in_group.setdefault(name, addresses)
    for name, table in tables.items():
        failover = table.get("failover", Virtual.failover)
        address = ip_address(table["address"]) if "address" in table else None
        if failover == "cluster" and name not in in_group and not unread:
            yield ("virtual", name), "found in no group's resources, expected it in exactly one"
        if unread or address is None:
            continue
        if failover == "cluster" and address not in in_group.get(name, {address}):
            yield (
                ("virtual", name, "address"),
                f'found "{address}", expected the address of {{ address = "…" }} in its group',
            )
        elif failover == "vrrp" and address not in by_vrrp:
            listed = " or ".join(map(str, sorted(by_vrrp, key=lambda a: (a.version, int(a))))) or "none there is"
            text = f'expected one that a [vrrp.NAME] table has ({listed}), or failover = "cluster"'
            yield ("virtual", name, "address"), f'found "{address}", {text}'
