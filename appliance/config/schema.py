# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of `cluster.toml`: which keys exist where, and what each value looks like by itself.

Validators only check; they say what they expected, and `problems` adds where and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import PurePosixPath
from typing import Any

import voluptuous as vol

# Keys and, in arrays, positions (from 0) that lead to a value.
Path = tuple[str | int, ...]
Problem = tuple[Path, str]
Check = Callable[[Any], Any]

# corosync.conf(5): knet carries up to eight links.
MOST_LINKS = 8
# Each is asked every few seconds by every node.
MOST_PINGED = 8
# The kernel's own limit of a DRBD resource name is 128; this one still fits a line of the status.
NAME = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
# RFC 1123, lower case: the name is corosync's, DRBD's and the kernel's host name at once.
HOSTNAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
UNIT = r"[A-Za-z0-9:_.@\\-]{1,200}\.(service|socket|target)"
# Mounting over one of these would take the machine's own files away from it.
_TOP_FOLDERS = "bin boot dev etc home lib lib64 proc root run sbin sys tmp usr var"
SYSTEM_FOLDERS = frozenset({"/", *(f"/{name}" for name in _TOP_FOLDERS.split())})

FILESYSTEM_TYPES = ("ext4",)
PROBES = ("mysql",)


class Unknown(vol.Invalid):
    """A key that does not exist; its message is complete."""


class Missing(vol.Invalid):
    """A key that has to be there and is not."""


def shown(value: object) -> str:
    """A value as it would stand in TOML, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table" if value else "an empty table"
    if isinstance(value, list):
        return "[" + ", ".join(shown(item) for item in value[:4]) + (", …]" if len(value) > 4 else "]")
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def problems(raw: Mapping[str, Any]) -> list[Problem]:
    """Everything whose shape is wrong. Raises nothing."""
    try:
        _CLUSTER_TOML(raw)
    except vol.MultipleInvalid as errors:
        return [_problem(raw, error) for error in errors.errors]
    return []


def without(raw: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """A copy of ``raw`` that lacks what stands at ``paths``.

    None stands there instead in arrays, an empty table for a node or a DRBD resource: the thing exists,
    though nothing is known about it.
    """

    def copied(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            kept = {k: copied(v, (*path, k)) for k, v in value.items() if (*path, k) not in paths}
            return {k: kept.get(k, {}) for k in value} if path in (("node",), ("drbd",)) else kept
        if isinstance(value, list):
            return [None if (*path, i) in paths else copied(v, (*path, i)) for i, v in enumerate(value)]
        return value

    copy: dict[str, Any] = copied(dict(raw), ())
    return copy


def _problem(raw: Mapping[str, Any], error: vol.Invalid) -> Problem:
    path: Path = tuple(key if isinstance(key, int) else str(key) for key in error.path)
    if isinstance(error, Unknown):
        return path, error.msg
    if isinstance(error, Missing):
        return path, f"missing, {error.msg}"
    value: Any = raw
    for key in path:
        value = value[key]
    return path, f"found {shown(value)}, {error.msg}"


def _table(what: str, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A table with these keys and no others."""
    fields = {**required, **(optional or {})}

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise vol.Invalid(f"expected {what}")
        errors: list[vol.Invalid] = []
        for key in value.keys() - fields.keys():
            near = get_close_matches(key, fields, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(fields)}"
            errors.append(Unknown(f"unknown key; {advice}", path=[key]))
        errors.extend(
            Missing(f"expected {getattr(required[key], 'what', 'a value')}", path=[key])
            for key in required
            if key not in value
        )
        for key in fields.keys() & value.keys():
            errors.extend(_errors(fields[key], value[key], key))
        return _checked(value, errors)

    return _named(what, check)


def _tables(what: str, name: str, pattern: str, entry: Check) -> Check:
    """A table of tables whose keys are names."""

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise vol.Invalid(f"expected {what}")
        errors: list[vol.Invalid] = []
        for key, item in value.items():
            if not re.fullmatch(pattern, key):
                errors.append(Unknown(f'found the name "{key}", expected {name}', path=[key]))
            else:
                errors.extend(_errors(entry, item, key))
        return _checked(value, errors)

    return _named(what, check)


def _array(what: str, entry: Check, least: int = 0, most: int | None = None) -> Check:
    """An array whose items are all checked (voluptuous' own sequences stop at the first bad table)."""

    def check(value: Any) -> Any:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            raise vol.Invalid(f"expected {what}")
        return _checked(value, [e for i, item in enumerate(value) for e in _errors(entry, item, i)])

    return _named(what, check)


def _errors(check: Check, value: Any, key: str | int) -> list[vol.Invalid]:
    try:
        vol.Schema(check)(value)
    except vol.MultipleInvalid as found:
        found.prepend([key])
        return list(found.errors)
    return []


def _checked(value: Any, errors: list[vol.Invalid]) -> Any:
    if errors:
        raise vol.MultipleInvalid(errors)
    return value


def _named(what: str, check: Check) -> Check:
    check.what = what  # type: ignore[attr-defined]
    return check


def _value(what: str, test: Callable[[Any], object]) -> Check:
    """A single value; ``test`` answers falsely or raises ValueError for one that will not do."""

    def check(value: Any) -> Any:
        try:
            good = test(value)
        except ValueError:
            good = False
        if not good:
            raise vol.Invalid(f"expected {what}")
        return value

    return _named(what, check)


def _text(what: str, pattern: str) -> Check:
    return _value(what, lambda v: isinstance(v, str) and re.fullmatch(pattern, v))


def _number(low: float, high: float, unit: str, *, whole: bool = True) -> Check:
    what = f"a {'whole ' if whole else ''}number from {low} to {high}{unit and ' ' + unit}"

    def test(value: Any) -> bool:
        kind_fits = isinstance(value, int) or (isinstance(value, float) and not whole)
        return kind_fits and not isinstance(value, bool) and low <= value <= high

    return _value(what, test)


def _word(*words: str) -> Check:
    listed = " or ".join(f'"{word}"' for word in words)
    return _value(listed, lambda v: v in words)


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and bool(ip_address(value))


def _is_network(value: Any) -> bool:
    return isinstance(value, str) and "/" in value and bool(ip_network(value))


def _is_interface(value: Any) -> bool:
    return isinstance(value, str) and "/" in value and bool(ip_interface(value))


def _is_clean(value: Any) -> bool:
    """An absolute path that means one thing only."""
    return (
        isinstance(value, str)
        and value.startswith("/")
        and str(PurePosixPath(value)) == value
        and ".." not in value
    )


def _is_disk(value: Any) -> bool:
    return _is_clean(value) and value.startswith("/dev/") and not value.startswith("/dev/drbd") and _plain(value)


def _is_device(value: Any) -> bool:
    if isinstance(value, str) and value.startswith("drbd:"):
        return bool(re.fullmatch(NAME, value.removeprefix("drbd:")))
    return _is_disk(value)


def _is_target(value: Any) -> bool:
    return _is_clean(value) and value not in SYSTEM_FOLDERS and _plain(value)


def _plain(path: str) -> bool:
    """No character that mount(8), drbd.conf(5) or a unit file would read as something else."""
    return bool(re.fullmatch(r"[\w/.:@+=-]+", path))


def _fence_device(value: Any) -> Any:
    """The agent's own options are known to the agent alone; what they may be, a person reads in its manual."""
    if not isinstance(value, dict):
        raise vol.Invalid('expected a table like { agent = "fence_ipmilan", ip = "…" }')
    errors: list[vol.Invalid] = [
        Unknown("found a secret, expected password_file with the path of a file that holds it", path=[key])
        for key in value
        if key in SECRETS
    ]
    own = {key: item for key, item in value.items() if key in _FENCE_KEYS}
    options = {key: item for key, item in value.items() if key not in _FENCE_KEYS and key not in SECRETS}
    if "agent" not in value:
        errors.append(Missing(f"expected {_FENCE_KEYS['agent'].what}", path=["agent"]))  # type: ignore[attr-defined]
    for key, item in own.items():
        errors.extend(_errors(_FENCE_KEYS[key], item, key))
    for key, item in options.items():
        errors.extend(_errors(_fence_option, item, key))
    return _checked(value, errors)


def _fence(value: Any) -> Any:
    """One device, or an array of them, tried in this order."""
    if isinstance(value, list):
        return _array("one device or an array of them", _fence_device, least=1)(value)
    return _fence_device(value)


_boolean = _value("true or false", lambda v: isinstance(v, bool))
_timeout = _number(1, 3600, "seconds", whole=False)

# Names that fence agents give to what must not stand in a file that everyone may read.
SECRETS = ("password", "passwd", "snmp_priv_passwd")
_FENCE_KEYS: dict[str, Check] = {
    "agent": _text('the name of a fence agent, like "fence_ipmilan"', r"fence_[a-z0-9_]{1,40}"),
    "password_file": _value("the absolute path of a file, without '..'", _is_clean),
    "timeout_s": _timeout,
}
_fence_option = _value(
    "text, a number, or true or false, on one line",
    lambda v: isinstance(v, bool | int | float) or (isinstance(v, str) and v.isprintable()),
)

_RESOURCES: dict[str, Check] = {
    "drbd": _table("a table", {"drbd": _text("the name of a [drbd.NAME] table", NAME)}),
    "filesystem": _table(
        "a table",
        {
            "filesystem": _value("the absolute path of a mount point of its own, without '..'", _is_target),
            "device": _value('"drbd:NAME" or an absolute path below /dev', _is_device),
        },
        {
            "type": _word(*FILESYSTEM_TYPES),
            "options": _text("mount options separated by commas, without blanks", r"[\w=.:,+-]+"),
            "stop_timeout_s": _timeout,
        },
    ),
    "service": _table(
        "a table",
        {"service": _text("a systemd unit ending in .service, .socket or .target", UNIT)},
        {"probe": _word(*PROBES), "start_timeout_s": _timeout, "stop_timeout_s": _timeout},
    ),
    "address": _table(
        "a table",
        {"address": _value('an address with its prefix length, like "10.9.1.100/24"', _is_interface)},
        {"interface": _text("the name of a network interface", r"[A-Za-z0-9_.-]{1,15}")},
    ),
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
    _table(
        "tables",
        {
            "cluster": _table(
                "a table",
                {
                    "name": _text("a name of letters, digits, - and _ (at most 32)", NAME),
                    "networks": _array(
                        f"an array of 1 to {MOST_LINKS} networks",
                        _value('a network without host bits, like "10.9.1.0/24"', _is_network),
                        least=1,
                        most=MOST_LINKS,
                    ),
                },
                {
                    "token_ms": _number(300, 10000, "milliseconds"),
                    "watchdog_s": _number(5, 60, "seconds"),
                    "fencing": _word("devices", "watchdog", "manual"),
                    "fence_then": _word("on", "off"),
                    "fence_delay_s": _number(0, 300, "seconds", whole=False),
                    "ping": _array(
                        "an array of addresses, such as the gateway's",
                        _value("an address without a prefix length", _is_address),
                        most=MOST_PINGED,
                    ),
                },
            ),
            "node": _tables(
                "a [node.NAME] table for each machine",
                "a host name (small letters, digits and -, at most 63)",
                HOSTNAME,
                _table(
                    "a table",
                    {
                        "links": _array(
                            "an array with one address for each of cluster.networks",
                            _value("an address without a prefix length", _is_address),
                            least=1,
                        )
                    },
                    {"votes_only": _boolean, "fence": _fence},
                ),
            ),
        },
        {
            "drbd": _tables(
                "[drbd.NAME] tables",
                "letters, digits, - and _, a letter first (at most 32)",
                NAME,
                _table(
                    "a table",
                    {"disk": _value("the absolute path of a disk below /dev, without '..'", _is_disk)},
                    {
                        "link": _number(1, MOST_LINKS, ""),
                        "verify_every_h": _number(0.01, 8760, "hours", whole=False),
                    },
                ),
            ),
            "group": _array(
                "[[group]] tables",
                _table(
                    "a table",
                    {
                        "name": _text("a name of letters, digits, - and _ (at most 32)", NAME),
                        "resources": _array("an array of at least one resource", _resource, least=1),
                    },
                    {
                        "prefer": _text("a node's name", HOSTNAME),
                        "failback": _boolean,
                        "migration_threshold": _number(1, 1000, "failures"),
                        "failure_timeout_s": _number(1, 604800, "seconds", whole=False),
                    },
                ),
            ),
        },
    )
)
