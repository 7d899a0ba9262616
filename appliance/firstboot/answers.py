# SPDX-License-Identifier: GPL-2.0-or-later
"""The answers file `pairkeep.toml`: all that a blank machine needs to become one node of a cluster."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Any, Literal

import voluptuous as vol

from appliance.config.load import ConfigError, parse, read_toml
from appliance.config.model import Cluster, Drbd
from appliance.config.shape import shown, shown_of
from appliance.config.values import KEY_BYTES, is_own_file, is_plain
from appliance.firstboot import checks
from appliance.firstboot.facts import ALIAS
from appliance.firstboot.fields import Check
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


def _key(value: object) -> bytes:
    try:
        key = base64.b64decode(str(value), validate=True)
    except binascii.Error as error:
        raise vol.Invalid("expected the cluster's key in base64") from error
    if len(key) not in KEY_BYTES:
        raise vol.Invalid(f"expected a key of {KEY_BYTES.start} to {KEY_BYTES.stop - 1} bytes, found {len(key)}")
    return key


def _checked(check: Check, key: str = "") -> Callable[[Any], str]:
    """A check of the wizard's, whose words are the same here. ``key``: what it is for, where that is a secret."""

    def validate(value: Any) -> str:
        if not isinstance(value, str):
            raise vol.Invalid(f"found {shown_of(key, value)}, expected text")
        if (fault := check(value)) is not None:
            raise vol.Invalid(fault)
        return value

    return validate


def _interface(value: Any) -> str:
    name = _checked(checks.network_device)(value)
    return name.lower() if ":" in name else name


def _address(value: Any) -> str:
    return _checked(checks.interface_address(6 if isinstance(value, str) and ":" in value else 4))(value)


def _disk(value: Any) -> str:
    if not isinstance(value, str) or not is_plain(value) or not value.startswith("/dev/") or value == ALIAS:
        raise vol.Invalid(f"found {shown(value)}, expected the path of a disk below /dev that is its own")
    return str(value)


def _wipe(value: Any) -> Any:
    if not isinstance(value, bool) and value != "drbd":
        raise vol.Invalid(f'found {shown(value)}, expected true, false, or "drbd" for what DRBD has replicated too')
    return value


def _password_hash(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\$(?:y|gy|7|2b|6|5)\$[\w./$=,-]{10,200}", value):
        raise vol.Invalid("expected a password's hash as in /etc/shadow, such as mkpasswd prints")
    return value


def _file_name(value: str) -> str:
    if not is_own_file(value):
        raise vol.Invalid(f"expected the name of a file of your own, without a folder, found {value!r}")
    return value


NETWORK: dict[Any, Any] = {
    vol.Required("interface"): _interface,
    vol.Optional("address"): _address,
    vol.Optional("dhcp"): bool,
    vol.Optional("router_advertisements"): bool,
    vol.Optional("gateway"): _checked(checks.host_address),
    vol.Optional("dns"): [_checked(checks.host_address)],
}
# What any machine may be told, whatever it is to be.
PERSONAL: dict[Any, Any] = {
    vol.Optional("keyboard"): _checked(checks.file_word("a keyboard layout's name, like us")),
    vol.Optional("language"): _checked(checks.file_word("a locale's name, like C.UTF-8")),
    vol.Optional("time_servers"): [_checked(checks.server)],
    vol.Optional("password_hash"): _password_hash,
    vol.Optional("ssh_keys"): [_checked(checks.ssh_keys)],
}
host_name = _checked(checks.host_name)

_SCHEMA = vol.Schema(
    {
        vol.Required("node"): str,
        vol.Required("cluster_key"): _key,
        vol.Required("interfaces"): [_interface],
        vol.Required("cluster"): str,
        vol.Optional("database"): {
            vol.Required("name"): _checked(checks.database_name),
            vol.Required("user"): _checked(checks.database_user),
            vol.Required("password"): _checked(checks.database_password, "password"),
        },
        vol.Optional("network"): [NETWORK],
        vol.Optional("secrets"): {_file_name: str},
        **PERSONAL,
        vol.Optional("disk"): _disk,
        vol.Optional("wipe"): _wipe,
    }
)


def checked(text: str, schema: vol.Schema, name: str) -> dict[str, Any]:
    """What file ``name`` says, if it is as ``schema`` wants it. Raises ConfigError or InputError."""
    try:
        found: dict[str, Any] = schema(read_toml(text, name, secret=True))
    except vol.MultipleInvalid as errors:
        raise ConfigError(name, tuple(f"{'.'.join(map(str, e.path))}: {e.msg}" for e in errors.errors)) from errors
    return found


def parse_answers(text: str, name: str = "pairkeep.toml") -> Answers:
    """Raises ConfigError or InputError, naming ``name``, the key, what was found and what was expected."""
    found = checked(text, _SCHEMA, name)
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
    if found["node"] in names:
        problems += _disk_problems(found, cluster)
    if problems:
        raise ConfigError(name, tuple(problems))
    return Answers(
        node=found["node"],
        cluster_key=found["cluster_key"],
        interfaces=tuple(found["interfaces"]),
        cluster_toml=found["cluster"],
        cluster=cluster,
        database=_database(found["database"]) if "database" in found else None,
        networks=tuple(network_of(one) for one in found.get("network", ())),
        secrets=found.get("secrets", {}),
        settings=settings_of(found),
    )


def _database(raw: Mapping[str, str]) -> Database:
    return Database(raw["name"], raw["user"], for_mariadb(raw["password"]))


def _disk_problems(found: Mapping[str, Any], cluster: Cluster) -> Iterator[str]:
    """``disk`` is erased as ``wipe`` says, so it has to be what the cluster uses on this very node."""
    aliased = [f"drbd.{one.name}" for one in cluster.drbd if one.disk == ALIAS]
    votes_only = cluster.node(found["node"]).votes_only
    if "disk" in found and votes_only:
        yield f"disk: found {shown(found['disk'])}, expected none: {found['node']} only votes, and stores nothing"
    elif "disk" in found and not aliased:
        yield f'disk: found {shown(found["disk"])}, expected none: no drbd of the cluster has disk = "{ALIAS}"'
    elif "disk" not in found and aliased and not votes_only:
        yield f"disk: missing, expected this machine's disk, which {aliased[0]} calls {ALIAS}"
    if found.get("wipe") and "disk" not in found:
        yield "wipe: found true, expected disk beside it, the one that is to be erased"


def settings_of(found: Mapping[str, Any]) -> Settings:
    return Settings(
        **{key: found[key] for key in ("keyboard", "language", "password_hash", "disk", "wipe") if key in found},
        time_servers=tuple(found.get("time_servers", ())),
        ssh_keys=tuple(found.get("ssh_keys", ())),
    )


def network_of(raw: Mapping[str, Any]) -> LinkSettings:
    return LinkSettings(
        interface=raw["interface"],
        addresses=(ip_interface(raw["address"]),) if "address" in raw else (),
        dhcp=raw.get("dhcp", False),
        ra=raw.get("router_advertisements", False),
        gateways=(ip_address(raw["gateway"]),) if "gateway" in raw else (),
        dns=tuple(ip_address(server) for server in raw.get("dns", ())),
    )
