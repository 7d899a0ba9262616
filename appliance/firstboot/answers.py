# SPDX-License-Identifier: GPL-2.0-or-later
"""The answers file `pairkeep.toml`: all that a blank machine needs to become one node of a cluster."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Any, Literal

from appliance.config.load import parse, read_toml, refuse
from appliance.config.model import Cluster, Drbd
from appliance.config.shape import Check, Problem, apart, mistakes, without
from appliance.firstboot import answers_rules, answers_shape
from appliance.firstboot.answers_rules import card_name
from appliance.firstboot.facts import ALIAS
from appliance.firstboot.network import LinkSettings
from appliance.firstboot.password import for_mariadb


@dataclass(frozen=True)
class Database:
    """A database and a user with all rights on it, made when the cluster's database is first made.

    ``password_hash``: as MariaDB keeps it. In clear it stands in no file of a node.
    """

    name: str
    user: str
    password_hash: str


@dataclass(frozen=True)
class Settings:
    """What concerns this machine alone; "" leaves things as they are.

    ``disk``: the data disk by a lasting name of its own, where cluster.toml has one name for all machines'.
    ``wipe``: it may hold something, which is erased; with "drbd" also what DRBD has replicated.
    ``password_hash``: the administrator's, see crypt(5).
    """

    keyboard: str = ""
    language: str = ""
    time_servers: tuple[str, ...] = ()
    password_hash: str = ""
    ssh_keys: tuple[str, ...] = ()
    disk: str = ""
    wipe: bool | Literal["drbd"] = False


@dataclass(frozen=True)
class Answers:
    """``interfaces``: a MAC address or a name for each heartbeat link. ``cluster_toml``: as written.

    ``networks``: cards that are no heartbeat link, as the one of the fence devices, and what heartbeat links have
    besides their address. ``secrets``: files below /etc/pairkeep that only root may read, such as the passwords of
    fence devices.
    """

    node: str
    cluster_key: bytes
    interfaces: tuple[str, ...]
    cluster_toml: str
    cluster: Cluster
    database: Database | None
    networks: tuple[LinkSettings, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    @property
    def drbd(self) -> tuple[Drbd, ...]:
        """What this machine stores: nothing, when it only votes."""
        return () if self.cluster.node(self.node).votes_only else self.cluster.drbd

    @property
    def devices(self) -> tuple[str, ...]:
        """Disks by their paths and cards by MAC address or name, as far as they are named and not made here."""
        disks = (self.settings.disk, *(one.disk for one in self.drbd if one.disk != ALIAS))
        cards = (*self.interfaces, *(one.interface for one in self.networks))
        return tuple(dict.fromkeys((*filter(None, disks), *cards)))


def parse_answers(text: str, name: str = "pairkeep.toml") -> Answers:
    """Raises ConfigError, naming ``name`` and of each mistake the key, what was found and what was expected."""
    raw = checked(text, answers_shape.NODE, answers_rules.problems, name)
    return Answers(
        node=raw["node"],
        cluster_key=base64.b64decode(raw["cluster_key"]),
        interfaces=tuple(map(card_name, raw["interfaces"])),
        cluster_toml=raw["cluster"],
        cluster=parse(raw["cluster"]),
        database=_database(raw["database"]) if "database" in raw else None,
        networks=tuple(map(network_of, raw.get("network", ()))),
        secrets=raw.get("secrets", {}),
        settings=settings_of(raw),
    )


def _database(raw: Mapping[str, str]) -> Database:
    return Database(raw["name"], raw["user"], for_mariadb(raw["password"]))


def checked(
    text: str, shape: Check, rules: Callable[[Mapping[str, Any]], Iterable[Problem]], name: str
) -> dict[str, Any]:
    """What file ``name`` says, as ``shape`` and ``rules`` want it. Raises ConfigError with every mistake."""
    raw = read_toml(text, name, secret=True)
    found = mistakes(shape, raw)
    wrong = [path for path, _ in found]
    refuse(raw, [*found, *apart(rules(without(raw, wrong)), wrong)], name)
    return raw


def settings_of(found: Mapping[str, Any]) -> Settings:
    return Settings(
        **{key: found[key] for key in ("keyboard", "language", "password_hash", "disk", "wipe") if key in found},
        time_servers=tuple(found.get("time_servers", ())),
        ssh_keys=tuple(found.get("ssh_keys", ())),
    )


def network_of(raw: Mapping[str, Any]) -> LinkSettings:
    return LinkSettings(
        interface=card_name(raw["interface"]),
        addresses=(ip_interface(raw["address"]),) if "address" in raw else (),
        dhcp=raw.get("dhcp", False),
        ra=raw.get("router_advertisements", False),
        gateways=(ip_address(raw["gateway"]),) if "gateway" in raw else (),
        dns=tuple(ip_address(server) for server in raw.get("dns", ())),
    )
