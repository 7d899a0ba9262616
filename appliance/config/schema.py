# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of `cluster.toml`: which keys exist where, and what each value looks like by itself.

Validators only check; they say what they expected, and `problems` adds where and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any

import voluptuous as vol

from appliance.config import initiator, notify, realserver, target
from appliance.config.shape import (
    Check,
    Missing,
    Problem,
    Unknown,
    array,
    checked,
    errors_of,
    mistakes,
    names_secret,
    number,
    table,
    tables,
    text,
    value_like,
    word,
)
from appliance.config.values import (
    DRBD_NAME,
    FENCE_OPTION,
    HOSTNAME,
    INTERFACE,
    NAME,
    address,
    boolean,
    interface_address,
    is_plain,
    network,
    option_in_file,
    secret_file,
    timeout,
    unit,
)
from appliance.config.virtual_schema import VIRTUAL_RESOURCE, VIRTUAL_TABLES

# corosync.conf(5): knet carries up to eight links.
MOST_LINKS = 8
# Each is asked every few seconds by every node.
MOST_PINGED = 8
# Mounting over one of these would take the machine's own files away from it,
SYSTEM_FOLDERS = frozenset({"/", "/home", "/root", "/tmp", "/var", "/var/lib", "/var/log"})  # noqa: S108 (no file)
# and here below them too. Some are links, where a mount would have another name than it was given.
_TREES = "bin boot dev etc lib lib64 proc run sbin sys usr var/lib/pairkeep var/lock var/run"
SYSTEM_TREES = frozenset(PurePosixPath("/", tree) for tree in _TREES.split())

# Enough to rank nodes by; Pacemaker's scores end at a million as well.
MOST_POINTS = 1_000_000

FILESYSTEM_TYPES = ("ext4",)
# How a device begins that is a resource of the same group.
DISK_RESOURCES = ("drbd:", "initiator:")
PROBES = ("mysql",)


def problems(raw: Mapping[str, Any]) -> list[Problem]:
    """Everything whose shape is wrong. Raises nothing."""
    return mistakes(_CLUSTER_TOML, raw)


def _is_disk(value: Any) -> bool:
    return is_plain(value) and value.startswith("/dev/") and not value.startswith("/dev/drbd")


def _is_device(value: Any) -> bool:
    if isinstance(value, str) and value.startswith(DISK_RESOURCES):
        return bool(re.fullmatch(NAME, value.partition(":")[2]))
    return _is_disk(value)


def _is_target(value: Any) -> bool:
    if not is_plain(value) or value in SYSTEM_FOLDERS:
        return False
    return SYSTEM_TREES.isdisjoint((PurePosixPath(value), *PurePosixPath(value).parents))


def _service(value: Any) -> Any:
    """A unit that a group may start and stop, by the name that its ports and its probe are known by."""
    unit(value)
    if value in _ALIASES:
        raise vol.Invalid(f'expected "{_ALIASES[value]}", whose other name this is')
    if re.fullmatch(_MACHINES_OWN, value):
        raise vol.Invalid("expected a service of the group: without this one the machine is no node")
    return value


def _fence_device(value: Any) -> Any:
    """The agent's own options are known to the agent alone; what they may be, a person reads in its manual."""
    if not isinstance(value, dict):
        raise vol.Invalid('expected a table like { agent = "fence_ipmilan", ip = "…" }')
    errors: list[vol.Invalid] = []
    if "agent" not in value:
        errors.append(Missing(f"expected {_FENCE_KEYS['agent'].what}", path=["agent"]))  # type: ignore[attr-defined]
    for key, item in value.items():
        errors.extend(_fence_key(key, item))
    return checked(value, errors)


def _fence_key(key: str, item: Any) -> list[vol.Invalid]:
    if not re.fullmatch(FENCE_OPTION, key):
        return [Unknown("found this as a key, expected letters, digits, -, _ and . (at most 40)", path=[key])]
    if names_secret(key):
        text = f"found a secret, expected {key}_file with the path of a file that holds it"
        return [Unknown(text, path=[key])]
    return errors_of(_FENCE_KEYS.get(key, secret_file if option_in_file(key) else _fence_option), item, key)


def _fence(value: Any) -> Any:
    """One device, or an array of them, tried in this order."""
    if isinstance(value, list):
        return array("one device or an array of them", _fence_device, least=1)(value)
    return _fence_device(value)


# Of Debian's packages.
_ALIASES = {"mysql.service": "mariadb.service", "mysqld.service": "mariadb.service"}
# What nodes, and machines, run by themselves, and the targets that end or change all that they run.
_MACHINES_OWN = (
    r"(pairkeep|corosync|keepalived|nftables|sshd?|dbus|iscsid|pairkeep-.*|systemd-.*)\.(service|socket)"
    r"|(default|basic|sysinit|network|multi-user|graphical|rescue|emergency|shutdown|poweroff|reboot|halt|kexec|exit"
    r"|suspend|hibernate|hybrid-sleep|sleep)\.target"
)
_on_stop_failure = word("fence", "block")
_group_name = text("the name of another group", NAME)
_target_name = text("the name of a [target.NAME] table", NAME)
_lun_name = text("the name of a [lun.NAME] table", NAME)
_path = value_like("the absolute path of a file, without '..' or blanks", is_plain)
_folder = value_like("the absolute path of a folder, without '..' or blanks", is_plain)
_NAME_WORDS = "letters, digits, - and _, a letter first (at most 32)"
_score = value_like(
    f'a whole number from -{MOST_POINTS} to {MOST_POINTS}, or "never"',
    lambda v: v == "never" or (isinstance(v, int) and not isinstance(v, bool) and abs(v) <= MOST_POINTS),
)

_FENCE_KEYS: dict[str, Check] = {
    "agent": text('the name of a fence agent, like "fence_ipmilan"', r"fence_[a-z0-9_]{1,40}"),
    "timeout_s": timeout,
}
_fence_option = value_like(
    "text, a number, or true or false, on one line",
    lambda v: isinstance(v, bool | int | float) or (isinstance(v, str) and v.isprintable()),
)

_RESOURCES: dict[str, Check] = {
    "drbd": table("a table", {"drbd": text("the name of a [drbd.NAME] table", NAME)}),
    "initiator": table("a table", {"initiator": text("the name of an [initiator.NAME] table", NAME)}),
    "filesystem": table(
        "a table",
        {
            "filesystem": value_like("the absolute path of a mount point of its own, without '..'", _is_target),
            "device": value_like('"drbd:NAME", "initiator:NAME" or an absolute path below /dev', _is_device),
        },
        {
            "type": word(*FILESYSTEM_TYPES),
            "options": text("mount options separated by commas, without blanks", r"[\w=.:,+-]+"),
            "start_timeout_s": timeout,
            "stop_timeout_s": timeout,
            "on_stop_failure": _on_stop_failure,
        },
    ),
    "service": table(
        "a table",
        {"service": _service},
        {
            "probe": word(*PROBES),
            "probe_timeout_s": timeout,
            "start_timeout_s": timeout,
            "stop_timeout_s": timeout,
            "on_stop_failure": _on_stop_failure,
        },
    ),
    "target": table("a table", {"target": text("the name of a [target.NAME] table", NAME)}),
    "address": table(
        "a table",
        {"address": interface_address},
        {"interface": text("the name of a network interface", INTERFACE)},
    ),
    "virtual": VIRTUAL_RESOURCE,
    "realserver": realserver.RESOURCE,
}


def _resource(value: Any) -> Any:
    if not isinstance(value, dict):
        raise vol.Invalid('expected a table, like { drbd = "NAME" }')
    kinds = [kind for kind in _RESOURCES if kind in value]
    if len(kinds) == 1:
        return _RESOURCES[kinds[0]](value)
    keys = " and ".join(kinds) if kinds else ", ".join(value) or "no key"
    near = [match for key in value for match in get_close_matches(key, _RESOURCES, n=1)]
    advice = f" (did you mean {near[0]!r}?)" if near and not kinds else ""
    raise Unknown(f"found {keys}, expected exactly one of {', '.join(_RESOURCES)}{advice}")


_CLUSTER_TOML = vol.Schema(
    table(
        "tables",
        {
            "cluster": table(
                "a table",
                {
                    "name": text("a name of letters, digits, - and _ (at most 32)", NAME),
                    "networks": array(
                        f"an array of 1 to {MOST_LINKS} networks",
                        network,
                        least=1,
                        most=MOST_LINKS,
                    ),
                },
                {
                    "token_ms": number(300, 10000, "milliseconds"),
                    "watchdog_s": number(5, 60, "seconds"),
                    "fencing": word("devices", "watchdog", "manual"),
                    "fence_then": word("on", "off"),
                    "fence_delay_s": number(0, 300, "seconds", whole=False),
                    "ping": array(
                        "an array of addresses, such as the gateway's",
                        address,
                        most=MOST_PINGED,
                    ),
                },
            ),
            "node": tables(
                "a [node.NAME] table for each machine",
                "a host name (small letters, digits and -, at least one letter, at most 63) that is not localhost",
                HOSTNAME,
                table(
                    "a table",
                    {
                        "links": array(
                            "an array with one address for each of cluster.networks",
                            address,
                            least=1,
                        )
                    },
                    {"votes_only": boolean, "fence": _fence},
                ),
            ),
        },
        {
            "drbd": tables(
                "[drbd.NAME] tables",
                f"{_NAME_WORDS}, and not all, which is every resource to drbdadm(8)",
                DRBD_NAME,
                table(
                    "a table",
                    {"disk": value_like("the absolute path of a disk below /dev, without '..'", _is_disk)},
                    {
                        "link": number(1, MOST_LINKS, ""),
                        "verify_every_h": number(0.01, 8760, "hours", whole=False),
                        "io_timeout_s": number(5, 600, "seconds", whole=False),
                    },
                ),
            ),
            "initiator": tables(
                "[initiator.NAME] tables",
                "letters, digits, - and _, a letter first (at most 32)",
                NAME,
                initiator.entry(secret_file),
            ),
            "target": tables(
                "[target.NAME] tables", _NAME_WORDS, NAME, target.target_entry(_lun_name, _folder, _path)
            ),
            "lun": tables("[lun.NAME] tables", _NAME_WORDS, NAME, target.lun_entry(_target_name, NAME, _path)),
            "group": array(
                "[[group]] tables",
                table(
                    "a table",
                    {
                        "name": text("a name of letters, digits, - and _ (at most 32)", NAME),
                        "resources": array("an array of at least one resource", _resource, least=1),
                    },
                    {
                        "prefer": text("a node's name", HOSTNAME),
                        "scores": tables(
                            "a table of points for nodes, like { alpha = 50 }", "a node's name", HOSTNAME, _score
                        ),
                        "failback": boolean,
                        "failback_delay_s": number(0, 604800, "seconds", whole=False),
                        "stickiness": number(0, MOST_POINTS, "points"),
                        "after": array("an array of names of other groups", _group_name),
                        "with": _group_name,
                        "apart_from": array("an array of names of other groups", _group_name),
                        "migration_threshold": number(1, 1000, "failures"),
                        "failure_timeout_s": number(1, 604800, "seconds", whole=False),
                    },
                ),
            ),
            **VIRTUAL_TABLES,
            "realserver": realserver.TABLES,
            "notify": notify.NOTIFY,
        },
    )
)
