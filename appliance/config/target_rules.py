# SPDX-License-Identifier: GPL-2.0-or-later
"""What targets and LUNs have to do with each other, with disks, file systems and addresses.

As in `rules`, what the schema refused is absent here (None in arrays), and nothing is said about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import PurePosixPath
from typing import Any

from appliance.config.iscsi import chap_problems, portal
from appliance.config.shape import Path, Problem, shown
from appliance.config.target import iqn_of, serial_of, wwn_of

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class _Place:
    """Where a target stands: what its group has before and behind it (None where that cannot be read)."""

    path: Path
    group: str
    before: list[Raw | None]
    behind: list[Raw | None]


def problems(raw: Raw) -> Iterator[Problem]:
    """Everything that contradicts something else."""
    places: dict[str, _Place] = {}
    yield from _roles(raw, places)
    yield from _names(raw)
    for name, target in raw.get("target", {}).items():
        yield from _acls(raw, name, target)
        if name in places:
            yield from _state(name, target, places[name])
            yield from _portals(name, target, places[name])
    yield from _luns(raw)
    yield from _backing(raw, places)


def _roles(raw: Raw, places: dict[str, _Place]) -> Iterator[Problem]:
    """Fills ``places``."""
    defined = raw.get("target", {})
    groups = raw.get("group", [])
    for i, group in enumerate(groups):
        resources = (group or {}).get("resources", [])
        for j, resource in enumerate(resources):
            if resource is None or "target" not in resource:
                continue
            name = resource["target"]
            path: Path = ("group", i, "resources", j)
            if name not in defined:
                there = " or ".join(defined) or f"a table [target.{name}]"
                yield (*path, "target"), f"found {shown(name)}, expected {there}"
            if name in places:
                yield (*path, "target"), f"found {shown(name)} again, expected it in one group only, once"
            places.setdefault(name, _Place(path, str(group.get("name")), resources[:j], resources[j + 1 :]))
    unread = any(g is None or None in g.get("resources", [None]) for g in groups)
    users = {lun.get("target") for lun in raw.get("lun", {}).values()}
    for name in defined:
        if name not in places and not unread:
            yield ("target", name), "found in no group's resources, expected it in exactly one"
        if name not in users and None not in users:
            yield ("target", name), f'found no LUN of it, expected at least one [lun.NAME] with target = "{name}"'


def _names(raw: Raw) -> Iterator[Problem]:
    if "name" not in raw.get("cluster", {}):
        return
    seen: dict[str, str] = {}
    for name in raw.get("target", {}):
        iqn = iqn_of(raw, name)
        if iqn in seen:
            yield ("target", name, "iqn"), f"found {shown(iqn)}, expected a name that target.{seen[iqn]} has not"
        seen.setdefault(iqn, name)


def _acls(raw: Raw, name: str, target: Raw) -> Iterator[Problem]:
    own = [each for each, lun in raw.get("lun", {}).items() if lun.get("target") == name]
    seen: set[str] = set()
    for i, acl in enumerate(target.get("acls", [])):
        path: Path = ("target", name, "acls", i)
        if acl is None:
            continue
        if acl.get("initiator") in seen:
            yield (*path, "initiator"), f"found {shown(acl['initiator'])} again, expected each initiator once"
        seen.add(acl.get("initiator"))
        for j, lun in enumerate(acl.get("luns", [])):
            if lun is not None and lun not in own:
                there = " or ".join(own) or "none"
                yield (*path, "luns", j), f"found {shown(lun)}, expected a LUN of this target: {there}"
            elif lun in acl["luns"][:j]:
                yield (*path, "luns", j), f"found {shown(lun)} again, expected each LUN once"
        yield from chap_problems(path, acl)


def _state(name: str, target: Raw, place: _Place) -> Iterator[Problem]:
    state = target.get("state")
    if state is not None and None not in place.before and not _is_on(state, place.before):
        yield (
            ("target", name, "state"),
            f"found {shown(state)}, expected a folder below {_mounts(place)}: persistent reservations have to "
            "move with the LUNs",
        )


def _portals(name: str, target: Raw, place: _Place) -> Iterator[Problem]:
    behind = {ip_interface(r["address"]).ip for r in place.behind if r is not None and "address" in r}
    before = {ip_interface(r["address"]).ip for r in place.before if r is not None and "address" in r}
    if not behind and not before and None not in (*place.behind, *place.before):
        yield place.path, f"expected a service address behind it in group {place.group}: where do initiators come?"
    given = target.get("portals", [])
    for i, written in enumerate(given):
        path: Path = ("target", name, "portals", i)
        if written is None:
            continue
        address = portal(written).address
        if portal(written) in [portal(p) for p in given[:i] if p is not None]:
            yield path, f"found {shown(written)} again, expected each portal once"
        elif address not in behind | before and None not in (*place.behind, *place.before):
            there = " or ".join(map(str, sorted(behind, key=str))) or "one"
            yield path, f"found {shown(written)}, expected a service address of group {place.group}: {there}"
    wanted = {portal(p).address for p in given if p is not None} or before
    for address in sorted(before & wanted, key=str):
        yield (
            place.path,
            f"expected {{ address = … }} of {address} to stand behind it: an initiator that reaches a target "
            "without its LUNs reports errors",
        )


def _luns(raw: Raw) -> Iterator[Problem]:
    targets = raw.get("target", {})
    numbers: dict[tuple[str, int], str] = {}
    wwns: dict[str, str] = {}
    for name, lun in raw.get("lun", {}).items():
        path: Path = ("lun", name)
        target, at = lun.get("target"), lun.get("number")
        if target is not None and target not in targets:
            there = " or ".join(targets) or f"a table [target.{target}]"
            yield (*path, "target"), f"found {shown(target)}, expected {there}"
        if target is not None and at is not None:
            other = numbers.setdefault((target, at), name)
            if other != name:
                yield (*path, "number"), f"found {at}, expected a number that lun.{other} has not"
        if "name" in raw.get("cluster", {}):
            serial = serial_of(raw, name)
            other = wwns.setdefault(wwn_of(serial), name)
            if other != name:
                yield (
                    (*path, "serial"),
                    f"found {shown(serial)}, expected one whose first 25 hexadecimal digits are not those of "
                    f"lun.{other}: initiators would take both for one disk",
                )


# What stands beside the link to a LUN's disk in configfs (target_core_fabric_configfs.c).
_KERNELS = "statistics|write_protect|alua_tg_pt_.*"


def _backing(raw: Raw, places: Mapping[str, _Place]) -> Iterator[Problem]:
    users = {
        resource["device"]: f"file system {resource['filesystem']}"
        for group in raw.get("group", [])
        for resource in (group or {}).get("resources", [])
        if resource is not None and "filesystem" in resource and "device" in resource
    }
    states = [t["state"] for t in raw.get("target", {}).values() if "state" in t]
    for name, lun in raw.get("lun", {}).items():
        path: Path = ("lun", name)
        if re.fullmatch(_KERNELS, name):
            yield path, f"found {shown(name)}, expected another name: the kernel has a file of its own called so"
        place = places.get(lun.get("target", ""))
        key = "device" if "device" in lun else "file"
        used = lun.get(key)
        if used is None:
            continue
        if used in users:
            yield (*path, key), f"found {shown(used)}, expected one that is not in use: {users[used]} has it"
        users.setdefault(used, f"lun.{name}")
        if key == "device":
            if "size_mib" in lun:
                yield (*path, "size_mib"), "found beside device, expected none: the LUN is as large as its device"
            disk = used.removeprefix("drbd:")
            if place is not None and None not in place.before and {"drbd": disk} not in place.before:
                text = (
                    f'expected {{ drbd = "{disk}" }} to stand before {{ target = "{lun["target"]}" }} in its group'
                )
                yield (*path, key), f"found {shown(used)}, {text}"
            continue
        if "size_mib" not in lun:
            yield (*path, "size_mib"), "missing, expected it beside file"
        if place is not None and None not in place.before and not _is_on(used, place.before):
            yield (*path, key), f"found {shown(used)}, expected a file below {_mounts(place)}"
        if any(used == state or _is_below(used, state) for state in states):
            yield (*path, key), f"found {shown(used)}, expected a file outside the folder of a target's state"


def _is_on(path: str, resources: list[Raw | None]) -> bool:
    """On one of the file systems among ``resources``, and not that file system itself."""
    return any(r is not None and "filesystem" in r and _is_below(path, r["filesystem"]) for r in resources)


def _is_below(path: str, folder: str) -> bool:
    return PurePosixPath(folder) in PurePosixPath(path).parents


def _mounts(place: _Place) -> str:
    found = [r["filesystem"] for r in place.before if r is not None and "filesystem" in r]
    return " or ".join(found) or f"a file system that stands before it in group {place.group}"
