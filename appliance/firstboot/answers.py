# SPDX-License-Identifier: GPL-2.0-or-later
"""The answers file `pairkeep.toml`: all that a blank machine needs to become one node of a cluster."""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

import voluptuous as vol

from appliance.config.load import ConfigError, parse
from appliance.config.model import Cluster, IPInterface
from appliance.errors import InputError

# corosync-keygen(8) writes 256 bytes; corosync.conf(5) takes 128 to 4096.
KEY_BYTES = range(128, 4097)
# Files below /etc/pairkeep that are not secrets to be given.
OURS = ("cluster.toml", "database.sql")


@dataclass(frozen=True)
class Database:
    """A database and a user with all rights on it, made when the cluster's database is first made."""

    name: str
    user: str
    password: str


@dataclass(frozen=True)
class ExtraNetwork:
    """A network that is no heartbeat link, as the one of the fence devices: a MAC address or a name."""

    interface: str
    address: IPInterface


@dataclass(frozen=True)
class Answers:
    """``interfaces``: a MAC address or a name for each heartbeat link. ``cluster_toml``: as written.

    ``secrets``: files below /etc/pairkeep that only root may read, such as the passwords of fence devices.
    """

    node: str
    cluster_key: bytes
    interfaces: tuple[str, ...]
    cluster_toml: str
    cluster: Cluster
    database: Database | None
    networks: tuple[ExtraNetwork, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)


def _key(value: object) -> bytes:
    try:
        key = base64.b64decode(str(value), validate=True)
    except binascii.Error as error:
        raise vol.Invalid("expected the cluster's key in base64") from error
    if len(key) not in KEY_BYTES:
        raise vol.Invalid(f"expected a key of {KEY_BYTES.start} to {KEY_BYTES.stop - 1} bytes, found {len(key)}")
    return key


def _interface(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}|[\w.-]{1,15}", value):
        raise vol.Invalid(f"expected a MAC address or an interface's name, found {value!r}")
    return value.lower() if ":" in value else value


def _address(value: object) -> str:
    try:
        ip_interface(str(value))
    except ValueError as error:
        raise vol.Invalid(f"expected an address like 10.9.3.11/24, found {value!r}") from error
    return str(value)


def _file_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", value) or value in OURS:
        raise vol.Invalid(f"expected the name of a file of your own, without a folder, found {value!r}")
    return value


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_]\w{0,31}", value):
        raise vol.Invalid(f"expected letters, digits and _ (at most 32), found {value!r}")
    return value


def _password(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]{8,128}", value) or set(value) & set("'\\"):
        raise vol.Invalid("expected 8 to 128 printable ASCII characters without ' and \\")
    return value


_SCHEMA = vol.Schema(
    {
        vol.Required("node"): str,
        vol.Required("cluster_key"): _key,
        vol.Required("interfaces"): [_interface],
        vol.Required("cluster"): str,
        vol.Optional("database"): {
            vol.Required("name"): _identifier,
            vol.Required("user"): _identifier,
            vol.Required("password"): _password,
        },
        vol.Optional("network"): [{vol.Required("interface"): _interface, vol.Required("address"): _address}],
        vol.Optional("secrets"): {_file_name: str},
    }
)


def parse_answers(text: str, name: str = "pairkeep.toml") -> Answers:
    """Raises ConfigError or InputError, naming ``name``, the key, what was found and what was expected."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: not valid TOML: {error}") from error
    try:
        found: dict[str, Any] = _SCHEMA(raw)
    except vol.MultipleInvalid as errors:
        raise ConfigError(name, tuple(f"{'.'.join(map(str, e.path))}: {e.msg}" for e in errors.errors)) from errors
    cluster = parse(found["cluster"], f"{name}: cluster")
    problems: list[str] = []
    names = [node.name for node in cluster.nodes]
    if found["node"] not in names:
        problems.append(f"node: found {found['node']!r}, expected one of {', '.join(names)}")
    if len(found["interfaces"]) != len(cluster.networks):
        problems.append(
            f"interfaces: found {len(found['interfaces'])}, expected {len(cluster.networks)}, "
            "one for each of cluster.networks"
        )
    if problems:
        raise ConfigError(name, tuple(problems))
    return Answers(
        node=found["node"],
        cluster_key=found["cluster_key"],
        interfaces=tuple(found["interfaces"]),
        cluster_toml=found["cluster"],
        cluster=cluster,
        database=Database(**found["database"]) if "database" in found else None,
        networks=tuple(
            ExtraNetwork(one["interface"], ip_interface(one["address"])) for one in found.get("network", ())
        ),
        secrets=found.get("secrets", {}),
    )
