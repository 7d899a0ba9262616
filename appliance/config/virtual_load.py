# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of load balancing as values, with what is not said filled in. All rules have passed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from appliance.config.virtual import (
    TOLD_AGAIN_S,
    Check,
    CheckKind,
    Director,
    Real,
    Sorry,
    TrackedScript,
    Virtual,
    Vrrp,
)
from appliance.config.virtual_schema import MOST_MARK, port_range, status_range

Raw = Mapping[str, Any]
# What is asked where nothing is said. An SCTP or UDP server cannot be asked by TCP's handshake.
DEFAULT_CHECK: Mapping[str, CheckKind] = {"tcp": "connect", "udp": "udp", "sctp": "ping"}
# Kinds that ask no port.
PORTLESS = ("ping", "script", "none")


def virtuals(raw: Raw) -> tuple[Virtual, ...]:
    tables = raw.get("virtual", {})
    mark_of = marks(tables)
    return tuple(_virtual(name, table, mark_of.get(name)) for name, table in tables.items())


def marks(tables: Raw) -> dict[str, int]:
    """The firewall mark of each service that has ``ports``: the one it says, or one of its own.

    By its name and not by its place in the file: with another mark it is another service to the kernel, and its
    connections end. So nothing is to change when somebody adds or removes one before it.
    """
    found = {name: table["mark"] for name, table in tables.items() if "mark" in table}
    for name in sorted(name for name, table in tables.items() if "ports" in table and name not in found):
        first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        found[name] = next(m for n in range(MOST_MARK) if (m := (first + n) % MOST_MARK + 1) not in found.values())
    return found


def _virtual(name: str, table: Raw, mark: int | None) -> Virtual:
    ranges = tuple(sorted(map(port_range, table.get("ports", ()))))
    port = table.get("port", 0)
    forward = table.get("forward", Virtual.forward)
    # Firewall marks and port 0 leave the port as it is (ipvsadm(8)).
    default = {"port": port, "forward": forward}
    given = ("ports", "real", "check", "sorry", "address", "flags", "mark", "port")
    return Virtual(
        **{key: value for key, value in table.items() if key not in given},
        name=name,
        address=ip_address(table["address"]),
        port=port,
        ports=ranges,
        mark=mark,
        flags=tuple(table.get("flags", ())),
        sorry=_sorry({**default, **table["sorry"]}) if "sorry" in table else None,
        reals=tuple(
            _real({**default, **real}, check_of(table, real), port or (ranges[0][0] if ranges else None))
            for real in table["real"]
        ),
    )


def _sorry(table: Raw) -> Sorry:
    return Sorry(ip_address(table["address"]), table["port"], table["forward"])


def _real(table: Raw, check: Raw, asked: int | None) -> Real:
    """``asked``: the port that is checked where the server has no port of its own."""
    port = table["port"]
    options = dict(check)
    if "port" not in options and check["kind"] not in PORTLESS:
        options["port"] = port or asked
    if "status" in options:
        options["status"] = tuple(map(status_range, options["status"]))
    return Real(
        **{key: value for key, value in table.items() if key not in ("check", "address", "name")},
        name=table.get("name", table["address"]),
        address=ip_address(table["address"]),
        check=Check(**options),
    )


def check_of(table: Raw, real: Raw) -> Raw:
    """The check of ``real``, a server of ``table``: its own, else the service's, else the protocol's."""
    found = real.get("check", table.get("check", DEFAULT_CHECK[table.get("protocol", Virtual.protocol)]))
    return {"kind": found} if isinstance(found, str) else found


def vrrps(raw: Raw) -> tuple[Vrrp, ...]:
    told = raw.get("director", {}).get("sync", Director.sync)
    return tuple(_vrrp(name, table, told=told) for name, table in raw.get("vrrp", {}).items())


def _vrrp(name: str, table: Raw, *, told: bool) -> Vrrp:
    """``told``: directors tell each other their connections."""
    addresses = tuple(map(ip_interface, table["addresses"]))
    given = ("addresses", "network", "track_networks", "track_services", "track_scripts")
    waits = told and table.get("preempt", Vrrp.preempt)
    return Vrrp(
        **{"preempt_delay_s": TOLD_AGAIN_S if waits else 0}
        | {key: value for key, value in table.items() if key not in given},
        name=name,
        addresses=addresses,
        network=ip_network(table["network"]) if "network" in table else addresses[0].network,
        track_networks=_networks(table.get("track_networks", ())),
        track_services=tuple(table.get("track_services", ())),
        track_scripts=tuple(TrackedScript(**script) for script in table.get("track_scripts", ())),
    )


def director(raw: Raw) -> Director:
    table = dict(raw.get("director", {}))
    table["networks"] = _networks(table.get("networks", ()))
    if "sync_network" in table:
        table["sync_network"] = ip_network(table["sync_network"])
    return Director(**table)


def _networks(texts: Iterable[str]) -> tuple[Any, ...]:
    return tuple(map(ip_network, texts))
