# SPDX-License-Identifier: GPL-2.0-or-later
"""``[initiator.NAME]``: a disk on an iSCSI target that all workers reach, and that one of them may write to.

Imported by `model`, `schema`, `rules` and `load`, so it imports none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any, ClassVar, Literal

import voluptuous as vol

from appliance.config.iscsi import (
    AUTHORITY,
    LAST_LUN,
    LONGEST_NAME,
    PORTAL,
    Portal,
    chap_keys,
    chap_problems,
    portal,
)
from appliance.config.shape import (
    Check,
    Path,
    Problem,
    Unknown,
    array,
    checked,
    named,
    number,
    shown,
    table,
    text,
    value_like,
)

Raw = Mapping[str, Any]
ISCSI_NAME = (
    r"iqn\.\d{4}-(0[1-9]|1[0-2])\.[A-Za-z0-9][A-Za-z0-9.:_-]*|eui\.[0-9A-Fa-f]{16}|naa\.([0-9A-Fa-f]{16}){1,2}"
)
# What tells a target's disk from its others; one of them.
WHICH = ("lun", "wwn", "serial")


@dataclass(frozen=True)
class Initiator:
    """The disk ``lun`` (or the one of ``wwn``, or of ``serial``) of the iSCSI target ``target`` at ``portal``.

    ``user`` and ``password_file`` are what the target asks for (CHAP), ``target_user`` and
    ``target_password_file`` what it has to prove itself with (mutual CHAP). ``timeout_s``: for so long writes wait
    for a target that is away before they fail; it has to outlast the target's own failover.
    """

    name: str
    target: str
    portal: Portal
    lun: int | None = None
    wwn: str | None = None
    serial: str | None = None
    user: str | None = None
    password_file: str | None = None
    target_user: str | None = None
    target_password_file: str | None = None
    timeout_s: int = 60

    @property
    def device(self) -> str:
        """Where the disk is while it is logged in to and reserved."""
        return f"/run/pairkeep/initiator/{self.name}"


@dataclass(frozen=True)
class InitiatorRole:
    """The resource of a group that is *started* while this node is logged in and holds the disk's reservation."""

    initiator: str
    on_stop_failure: ClassVar[Literal["fence"]] = "fence"

    @property
    def id(self) -> str:
        return f"initiator:{self.initiator}"


def initiator_name(cluster: str, node: str) -> str:
    """What a node calls itself to targets, for their access lists; without capitals and underscores (RFC 7143)."""
    return f"{AUTHORITY}:{cluster.lower().replace('_', '-')}.{node}"


def entry(password_file: Check) -> Check:
    """What one table looks like; ``password_file`` checks the path of a file that holds a secret."""
    keys = table(
        "a table",
        {
            "target": value_like('the target\'s iSCSI name, like "iqn.2026-01.org.example:disk"', _is_name),
            "portals": array(
                "an array of at least one address of the target",
                PORTAL,
                least=1,
            ),
        },
        {
            "lun": number(0, LAST_LUN, ""),
            "wwn": text("16 or 32 hexadecimal digits, with or without 0x", r"(0x)?([0-9a-fA-F]{16}){1,2}"),
            "serial": text("a unit serial number of at most 252 characters, without blanks", r"[!-~]{1,252}"),
            **chap_keys(password_file),
            "timeout_s": number(5, 3600, "seconds"),
        },
    )

    def check(value: Any) -> Any:
        errors: list[vol.Invalid] = []
        try:
            keys(value)
        except vol.MultipleInvalid as found:
            errors += found.errors
        said = [key for key in WHICH if isinstance(value, dict) and key in value]
        if isinstance(value, dict) and len(said) != 1:
            what = f"found {' and '.join(said) or 'none'} of {', '.join(WHICH)}, expected one: which disk is it?"
            errors.append(Unknown(what))
        return checked(value, errors)

    return named("a table", check)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and bool(re.fullmatch(ISCSI_NAME, value, re.ASCII))


def problems(raw: Raw) -> Iterator[Problem]:
    """What contradicts something else. What the schema refused is absent here (None in arrays)."""
    own = {
        ip_address(address): f"node {name}"
        for name, node in raw.get("node", {}).items()
        for address in node.get("links", [])
        if address is not None
    }
    own |= {
        ip_interface(resource["address"]).ip: f"group {group.get('name')}"
        for group in raw.get("group", [])
        for resource in (group or {}).get("resources", [])
        if resource is not None and "address" in resource
    }
    targets: dict[str, str] = {}
    for name, found in raw.get("initiator", {}).items():
        path: Path = ("initiator", name)
        target = found.get("target")
        if target is not None:
            # Names that differ only in capitals are one (RFC 7143, 4.2.7.2).
            other = targets.setdefault(target.lower(), name)
            if other != name:
                yield (
                    (*path, "target"),
                    f"found {shown(target)}, expected a target that initiator.{other} does not use: they would log "
                    "each other out",
                )
        yield from chap_problems(path, found)
        yield from _portals((*path, "portals"), found.get("portals", []), own)


def _portals(path: Path, portals: list[str | None], own: Mapping[Any, str]) -> Iterator[Problem]:
    for i, written in enumerate(portals):
        if written is not None and (owner := own.get(portal(written).address)) is not None:
            yield (
                (*path, i),
                f"found {shown(written)}, expected an address outside the cluster, not one of {owner}: a disk "
                "cannot come from those whom it is to outlive",
            )
    if len(portals) > 1:
        yield path, f"found {len(portals)}, expected one: several paths to a disk (multipath) are not supported yet"


def values(raw: Raw) -> tuple[Initiator, ...]:
    """What the tables of a file without mistakes say."""
    return tuple(
        Initiator(
            name=name,
            portal=portal(found["portals"][0]),
            wwn=found["wwn"].lower().removeprefix("0x") if "wwn" in found else None,
            **{key: value for key, value in found.items() if key not in ("portals", "wwn")},
        )
        for name, found in raw.get("initiator", {}).items()
    )
