# SPDX-License-Identifier: GPL-2.0-or-later
"""``[target.NAME]`` and ``[lun.NAME]``: replicated disks that initiators reach by iSCSI.

Imported by `model`, `schema`, `rules` and `load`, so it imports none of them.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any, ClassVar, Literal

import voluptuous as vol

from appliance.config.iscsi import AUTHORITY, LAST_LUN, LONGEST_NAME, PORTAL, Portal, chap_keys, portal
from appliance.config.shape import Check, Unknown, array, checked, named, number, table, text, value_like

Raw = Mapping[str, Any]
# LIO and rtslib want them in small letters.
IQN = r"iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9-]+(\.[a-z0-9-]+)+(:[a-z0-9.:-]+)?"
# Serials that nobody chose are made from this and from the names in the file.
SERIALS = uuid.UUID("6b1e9c1e-5f0b-5c0f-9d43-3b4a0f1a7c11")
# What LIO shows of a disk unless it is told otherwise, said explicitly: a newer kernel may show something else.
VENDOR, REVISION = "LIO-ORG", "4.0"
# A disk is known by the hexadecimal digits that a serial begins with: NAA 6, LIO's company id, and so many of them
# (spc_gen_naa_6h_vendor_specific in the kernel's target_core_spc.c).
WWN_LEAD, WWN_DIGITS = "6001405", 25
# The kernel keeps what is reserved of a disk in a file aptpl_SERIAL (target_core_pr.c), whose name ends at 255.
LONGEST_SERIAL = 249
# TA_DEFAULT_CMDSN_DEPTH_MAX (iscsi_target_core.h).
DEEPEST_QUEUE = 512
# Of these a LUN has exactly one.
BACKING = ("device", "file")
# Relative target port identifiers are 16 bits, and 0 is none (SPC-4).
_PORTS = 0xFFFF


@dataclass(frozen=True)
class Acl:
    """What one initiator may reach: ``luns`` by name.

    With ``user`` and ``password_file`` it has to prove itself (CHAP), with ``target_user`` and
    ``target_password_file`` the target does so too (mutual CHAP).
    """

    initiator: str
    luns: tuple[str, ...]
    user: str | None = None
    password_file: str | None = None
    target_user: str | None = None
    target_password_file: str | None = None


@dataclass(frozen=True)
class Lun:
    """A disk of target ``target``: a DRBD resource (``device``, as written), or the file ``file`` of ``size_mib``.

    What initiators know it by (serial, vendor, product, revision) is the same on both nodes. ``thin``: what
    initiators discard is given back.
    """

    name: str
    target: str
    number: int
    serial: str
    product: str
    device: str | None = None
    file: str | None = None
    size_mib: int | None = None
    vendor: str = VENDOR
    revision: str = REVISION
    thin: bool = False

    @property
    def drbd(self) -> str | None:
        """The name of the DRBD resource."""
        return None if self.device is None else self.device.removeprefix("drbd:")

    @property
    def wwn(self) -> str:
        """What udev calls it on an initiator: /dev/disk/by-id/wwn-0x…"""
        return wwn_of(self.serial)


@dataclass(frozen=True)
class Target:
    """An iSCSI target. ``state``: the folder on the group's file system that keeps persistent reservations.

    ``port_id``: its relative target port identifier, the same on both nodes. ``queue_depth``: how many commands
    an initiator may have under way.
    """

    name: str
    iqn: str
    state: str
    port_id: int
    portals: tuple[Portal, ...]
    acls: tuple[Acl, ...]
    luns: tuple[Lun, ...]
    queue_depth: int = 64


@dataclass(frozen=True)
class TargetRole:
    """The resource of a group that is *started* while target ``target`` has all its LUNs and lets initiators in."""

    target: str
    on_stop_failure: ClassVar[Literal["fence"]] = "fence"

    @property
    def id(self) -> str:
        return f"target:{self.target}"


def iqn_of(raw: Raw, name: str) -> str:
    """The iSCSI name of target ``name``, given or derived."""
    said = raw["target"][name].get("iqn")
    own = f"{raw['cluster']['name']}.{name}".lower().replace("_", "-")
    return said or f"{AUTHORITY}:{own}"


def serial_of(raw: Raw, name: str) -> str:
    """The unit serial of LUN ``name``, given or derived."""
    said = raw["lun"][name].get("serial")
    return said or str(uuid.uuid5(SERIALS, f"{raw['cluster']['name']}/{name}"))


def wwn_of(serial: str) -> str:
    digits = "".join(re.findall("[0-9a-f]", serial.lower()))[:WWN_DIGITS]
    return f"{WWN_LEAD}{digits:0<{WWN_DIGITS}}"


# What the tables look like -------------------------------------------------------------------------


def _is_iqn(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and bool(re.fullmatch(IQN, value, re.ASCII))


_iqn = value_like('an iSCSI name in small letters, like "iqn.2026-01.org.example:store"', _is_iqn)
_boolean = value_like("true or false", lambda v: isinstance(v, bool))
# Other targets have it, so people look for it.
_no_cache = value_like(
    "false: what one machine has in memory is lost with it, and the other one would say that it is flushed",
    lambda v: v is False,
)


def target_entry(name: Check, folder: Check, path: Check) -> Check:
    """What a ``[target.NAME]`` table looks like; ``name`` checks a LUN's, ``folder`` and ``path`` paths."""
    acl = table(
        'a table like { initiator = "iqn.2026-01.org.example:web1" }',
        {"initiator": _iqn},
        {
            "luns": array("an array of at least one name of a [lun.NAME] table", name, least=1),
            **chap_keys(path),
        },
    )
    return table(
        "a table",
        {
            "state": folder,
            "acls": array("an array of at least one { initiator = … }: who else comes is not let in", acl, least=1),
        },
        {
            "iqn": _iqn,
            "portals": array(
                "an array of at least one service address of the group",
                PORTAL,
                least=1,
            ),
            "queue_depth": number(1, DEEPEST_QUEUE, "commands"),
        },
    )


def lun_entry(name: Check, resource: str, path: Check) -> Check:
    """What a ``[lun.NAME]`` table looks like; ``resource`` is the pattern of a DRBD resource's name."""

    def shown_text(longest: int) -> Check:
        what = f"1 to {longest} printable characters of ASCII, no blank at either end"
        return text(what, rf"(?! )[ -~]{{1,{longest}}}(?<! )")

    keys = table(
        "a table",
        {"target": name, "number": number(0, LAST_LUN, "")},
        {
            "device": text('"drbd:NAME"', rf"drbd:{resource}"),
            "file": path,
            "size_mib": number(1, 1 << 30, "MiB"),
            "serial": text(
                f"a unit serial of 10 to {LONGEST_SERIAL} characters without blanks, "
                "at least 8 of them hexadecimal digits",
                rf"(?=(.*[0-9a-fA-F]){{8}})[!-.0-~]{{10,{LONGEST_SERIAL}}}",
            ),
            "vendor": shown_text(8),
            "product": shown_text(16),
            "revision": shown_text(4),
            "thin": _boolean,
            "write_cache": _no_cache,
        },
    )

    def check(value: Any) -> Any:
        errors: list[vol.Invalid] = []
        try:
            keys(value)
        except vol.MultipleInvalid as found:
            errors += found.errors
        if isinstance(value, dict) and len(said := [key for key in BACKING if key in value]) != 1:
            what = f"found {' and '.join(said) or 'none'} of {', '.join(BACKING)}, expected one: what is on it?"
            errors.append(Unknown(what))
        return checked(value, errors)

    return named("a table", check)


# What they mean ------------------------------------------------------------------------------------


def values(raw: Raw) -> tuple[Target, ...]:
    """The targets of a file without mistakes."""
    found: list[Target] = []
    taken: set[int] = set()
    for name, target in raw.get("target", {}).items():
        iqn = iqn_of(raw, name)
        luns = tuple(_lun(raw, each, lun) for each, lun in raw.get("lun", {}).items() if lun["target"] == name)
        port_id = _port_id(iqn, taken)
        taken.add(port_id)
        found.append(
            Target(
                name=name,
                iqn=iqn,
                state=target["state"],
                port_id=port_id,
                portals=tuple(map(portal, target.get("portals", []))) or tuple(map(Portal, addresses(raw, name))),
                acls=tuple(_acl(acl, luns) for acl in target["acls"]),
                luns=luns,
                queue_depth=target.get("queue_depth", Target.queue_depth),
            )
        )
    return tuple(found)


def addresses(raw: Raw, name: str) -> Iterator[IPv4Address | IPv6Address]:
    """The service addresses that stand behind target ``name`` in its group, whose are its portals."""
    for group in raw.get("group", []):
        resources = [r or {} for r in (group or {}).get("resources", [])]
        at = next((i for i, r in enumerate(resources) if r.get("target") == name), len(resources))
        yield from (ip_interface(r["address"]).ip for r in resources[at:] if "address" in r)


def _port_id(iqn: str, taken: set[int]) -> int:
    """By its name and not by its place in the file: initiators should not see it change."""
    first = int.from_bytes(hashlib.sha256(iqn.encode()).digest()[:2])
    return next(i for n in range(_PORTS) if (i := (first + n) % _PORTS + 1) not in taken)


def _lun(raw: Raw, name: str, lun: Raw) -> Lun:
    product = lun.get("product", name[:16])
    said = {key: value for key, value in lun.items() if key != "write_cache"}
    return Lun(**{**said, "name": name, "serial": serial_of(raw, name), "product": product})


def _acl(acl: Raw, luns: tuple[Lun, ...]) -> Acl:
    return Acl(**{**acl, "luns": tuple(acl.get("luns", [lun.name for lun in luns]))})
