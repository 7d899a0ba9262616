# SPDX-License-Identifier: GPL-2.0-or-later
"""Services, their servers, and how they are, as one JSON value; and that as a screen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from appliance.config.virtual import Real, Virtual
from appliance.lvs.checkers import Checked, Health
from appliance.lvs.drift import differences
from appliance.lvs.table import Server, ServiceKey, Table
from appliance.lvs.wanted import key_of, server_of

Json = dict[str, Any]
WIDTH = 80


class Counts(Protocol):
    """What `drivers.ipvs.Counts` has of it."""

    @property
    def active(self) -> int: ...
    @property
    def inactive(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def connections_s(self) -> int: ...
    @property
    def bytes_in_s(self) -> int: ...
    @property
    def bytes_out_s(self) -> int: ...


def report(
    virtuals: Sequence[Virtual],
    found: Table,
    counts: Mapping[tuple[ServiceKey, str], Counts],
    health: Health,
    reasons: Mapping[str, str],
    drained: Collection[str],
    here: Collection[str],
) -> Json:
    """``reasons``: keepalived's last complaint by server. ``here``: the addresses of this machine."""
    drift: dict[str, list[str]] = {}
    for difference in differences(virtuals, found, health):
        drift.setdefault(difference.virtual, []).append(difference.text)
    services = [_service(v, found, counts, health, reasons, drained, here) for v in virtuals]
    for service in services:
        service["drift"] = drift.pop(service["name"], [])
    return {"services": services, "others": sorted(drift)}


def _service(
    virtual: Virtual,
    found: Table,
    counts: Mapping[tuple[ServiceKey, str], Counts],
    health: Health,
    reasons: Mapping[str, str],
    drained: Collection[str],
    here: Collection[str],
) -> Json:
    key = key_of(virtual)
    present = found.get(key)
    servers = []
    for real in virtual.servers:
        at = server_of(virtual, real).endpoint
        name = real.name if isinstance(real, Real) else "sorry"
        checked = health.get((key, at))
        held = present.server(at) if present is not None else None
        state = _state(checked, isinstance(real, Real), held, f"{virtual.name}/{name}" in drained)
        servers.append(
            {
                "name": name,
                "address": str(real.address),
                "port": real.port,
                "forward": real.forward,
                "state": state,
                "why": reasons.get(at, "") if state == "down" else "",
                "weight": held.weight if held is not None else None,
                **_counts(counts.get((key, at))),
            }
        )
    return {
        "name": virtual.name,
        "service": str(key),
        "address": str(virtual.address),
        "active": str(virtual.address) in here,
        "present": present is not None,
        "scheduler": virtual.scheduler,
        "failover": virtual.failover,
        "up": sum(server["state"] == "up" for server in servers),
        "servers": servers,
        **_counts(counts.get((key, ""))),
        "active_connections": sum(server["active_connections"] for server in servers),
        "inactive_connections": sum(server["inactive_connections"] for server in servers),
    }


def _state(checked: Checked | None, real: bool, held: Server | None, drained: bool) -> str:
    if checked is None:
        return "unknown"
    if not real:
        return "in use" if held is not None else "waiting"
    if not checked.up:
        return "down"
    return "drained" if drained else "up"


def _counts(counts: Counts | None) -> Json:
    names = ("connections", "connections_s", "bytes_in_s", "bytes_out_s")
    values = {name: getattr(counts, name, 0) for name in names}
    return {
        "active_connections": getattr(counts, "active", 0),
        "inactive_connections": getattr(counts, "inactive", 0),
        **values,
    }


def render(status: Json) -> Iterator[str]:
    """The screen, line by line, none longer than WIDTH."""
    yield f"director {status['node']}"
    for service in status["services"]:
        yield ""
        where = "active here" if service["active"] else "not active here"
        reals = [server for server in service["servers"] if server["name"] != "sorry"]
        yield _cut(
            f"{service['name']}   {service['service']}   {service['scheduler']}   {where}   "
            f"{service['up']} of {len(reals)} up"
        )
        if not service["present"]:
            yield "  the kernel does not have it here"
            continue
        yield "  server        address                  state   weight active  idle  conn/s"
        for server in service["servers"]:
            yield from _server(server)
        total = f"{service['active_connections']} connections, {service['connections_s']} new each second"
        yield _cut(f"  {total}, {_bytes(service['bytes_in_s'])}/s in, {_bytes(service['bytes_out_s'])}/s out")
        yield from (_cut(f"  ! {text}") for text in service["drift"])
    for other in status["others"]:
        yield _cut(f"! {other}: nobody configured this service")


def _server(server: Json) -> Iterator[str]:
    weight = "-" if server["weight"] is None else str(server["weight"])
    at = f"[{server['address']}]" if ":" in server["address"] else server["address"]
    at = f"{at}:{server['port']}"
    numbers = f"{weight:>6} {server['active_connections']:>6} {server['inactive_connections']:>5}"
    line = f"  {server['name'][:13]:<13} {at:<24} {server['state']:<7} {numbers} {server['connections_s']:>7}"
    if len(line) <= WIDTH:
        yield line
    else:
        # A long IPv6 address has a line of its own.
        yield f"  {server['name'][:13]:<13} {at}"
        yield f"  {'':<38} {server['state']:<7} {numbers} {server['connections_s']:>7}"
    if server["why"]:
        yield _cut(f"    why: {server['why']}")


def _bytes(number: int) -> str:
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def healthy(services: Iterable[Json]) -> bool:
    """Every service that has to be here is, has a server, and is as configured."""
    return all(
        _elsewhere(service) or (service["present"] and service["up"] and not service["drift"])
        for service in services
    )


def _elsewhere(service: Json) -> bool:
    """A group moves it together with its address, and it is to be where that is."""
    return service["failover"] == "cluster" and not service["present"] and not service["active"]
