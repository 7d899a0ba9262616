# SPDX-License-Identifier: GPL-2.0-or-later
"""`cluster.toml` -> `model.Cluster`, or every mistake in it at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from appliance.config import (
    constraints,
    initiator,
    notify,
    realserver,
    rules,
    schema,
    shape,
    target,
    toml,
    virtual_load,
)
from appliance.config.initiator import InitiatorRole
from appliance.config.model import (
    Address,
    Cluster,
    Drbd,
    DrbdRole,
    FenceDevice,
    Filesystem,
    Group,
    IPNetwork,
    Node,
    Resource,
    Service,
)
from appliance.config.realserver import RealServerRole
from appliance.config.target import TargetRole
from appliance.config.values import option_in_file
from appliance.config.virtual import VirtualService
from appliance.errors import InputError

# DRBD's registered port; resources take this one and those after it, in the file's order.
FIRST_PORT = 7788


class ConfigError(InputError):
    """Mistakes in a file that a person wrote. Each of ``problems`` says: key path, found, expected.

    Keys and values are quoted from the file, and what a terminal would obey in them is shown as an escape.
    """

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        problems = tuple(map(_printable, problems))
        if len(problems) == 1:
            message = f"{name}: {problems[0]}"
        else:
            message = "\n  ".join((f"{name}: {len(problems)} mistakes", *problems))
        super().__init__(message)
        self.name = name
        self.problems = problems


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def load(path: Path) -> Cluster:
    """Raises ConfigError for a file with mistakes, InputError for one that cannot be read."""
    return parse(read(path), str(path))


def read(path: Path) -> str:
    """Raises InputError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found bytes that are not UTF-8 at offset {error.start}") from error


def parse(text: str, name: str = "cluster.toml") -> Cluster:
    """Raises ConfigError, which calls the text ``name``."""
    raw = read_toml(text, name)
    found = schema.problems(raw)
    wrong = [path for path, _ in found]
    found += shape.apart(rules.problems(shape.without(raw, wrong)), wrong)
    refuse(raw, found, name)
    return _cluster(raw)


def readable(text: str) -> dict[str, Any]:
    """Of a `cluster.toml` with mistakes what is right by itself, as the rules get it. Raises nothing."""
    try:
        raw = toml.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
    return shape.without(raw, [path for path, _ in schema.problems(raw)])


def read_toml(text: str, name: str, *, secret: bool = False) -> dict[str, Any]:
    """What TOML means, unchecked. Raises ConfigError, which quotes nothing of a file that is ``secret``."""
    try:
        return toml.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(name, (_syntax(text, str(error), secret=secret),)) from error


def refuse(raw: Mapping[str, Any], found: Iterable[shape.Problem], name: str) -> None:
    """Raises ConfigError with all of ``found`` in the order of the file, if there are any."""
    told = sorted(found, key=lambda problem: _position(raw, problem[0]))
    if told:
        raise ConfigError(name, tuple(f"{_key(raw, path)}: {text}" for path, text in told))


def _syntax(text: str, message: str, *, secret: bool) -> str:
    found = re.search(r"^(.*) \((?:at line (\d+), column (\d+)|at end of document)\)$", message)
    if found is None or found[2] is None:
        told = _unquoted(found[1] if found else message) if secret else f": {message}"
        return f"not valid TOML{told}"
    # Lines as tomllib counts them: Python knows more ends of a line, and might show one with a secret.
    line = text.split("\n")[int(found[2]) - 1].strip()
    place = f"line {found[2]}, column {found[3]}"
    if secret or shape.names_secret(line):
        return f"{place}: not valid TOML{_unquoted(found[1])}; the line is not shown, for it may hold a secret"
    return f"{place}: found {line!r}, which is not valid TOML: {found[1]}"


def _unquoted(message: str) -> str:
    """What tomllib says, unless it quotes the file: of what it expected, and of escapes, it quotes TOML's own."""
    ours = message.startswith(("Expected ", "Unescaped ")) or not re.search(r"['\"(]", message)
    return f": {message}" if message and ours else ""


def _position(raw: Mapping[str, Any], path: shape.Path) -> tuple[int, ...]:
    """Sorts as the file reads; what is missing comes after what is there."""
    position: list[int] = []
    value: Any = raw
    for key in path:
        if isinstance(value, dict):
            keys = list(value)
            position.append(keys.index(str(key)) if key in value else len(keys))
            value = value.get(key)
        elif isinstance(value, list):
            position.append(int(key))
            value = value[int(key)]
    return tuple(position)


def _key(raw: Mapping[str, Any], path: shape.Path) -> str:
    """``group.shop.resources.2.device``: groups by name, places in arrays counted from 1 as links are."""
    words = [str(key + 1) if isinstance(key, int) else key for key in path]
    if path[:1] == ("group",) and len(path) > 1:
        group = raw["group"][path[1]]
        name = group.get("name") if isinstance(group, dict) else None
        words[1] = name if isinstance(name, str) and name else words[1]
    return ".".join(words)


def _cluster(raw: Mapping[str, Any]) -> Cluster:
    cluster = raw["cluster"]
    networks = tuple(ip_network(text) for text in cluster["networks"])
    return Cluster(
        **{
            **cluster,
            "networks": networks,
            "fencing": rules.fencing(raw),
            "ping": tuple(ip_address(text) for text in cluster.get("ping", [])),
        },
        nodes=tuple(
            Node(
                name=name,
                id=number,
                links=tuple(ip_address(text) for text in node["links"]),
                votes_only=node.get("votes_only", False),
                fence=tuple(_fence_device(device) for device in rules.devices(node)),
            )
            for number, (name, node) in enumerate(raw["node"].items(), start=1)
        ),
        drbd=tuple(
            Drbd(
                name=name,
                disk=drbd["disk"],
                link=drbd.get("link", len(networks)),
                minor=minor,
                port=FIRST_PORT + minor,
                verify_every_h=drbd.get("verify_every_h"),
                io_timeout_s=drbd.get("io_timeout_s", Drbd.io_timeout_s),
            )
            for minor, (name, drbd) in enumerate(raw.get("drbd", {}).items())
        ),
        initiators=initiator.values(raw),
        targets=target.values(raw),
        groups=tuple(_group(group, networks) for group in raw.get("group", [])),
        virtuals=virtual_load.virtuals(raw),
        vrrps=virtual_load.vrrps(raw),
        director=virtual_load.director(raw),
        realservers=realserver.build(raw.get("realserver", {})),
        notify=notify.build(raw.get("notify", {})),
    )


def _group(raw: Mapping[str, Any], networks: tuple[IPNetwork, ...]) -> Group:
    scores = raw.get("scores", {})
    arrays = ("resources", "after", "apart_from")
    return Group(
        **{key: value for key, value in raw.items() if key not in (*arrays, "scores", "with")},
        after=tuple(raw.get("after", ())),
        apart_from=tuple(raw.get("apart_from", ())),
        resources=tuple(_resource(r, networks) for r in raw["resources"]),
        scores={node: points for node, points in scores.items() if points != constraints.NEVER},
        never=tuple(node for node, points in scores.items() if points == constraints.NEVER),
        leader=raw.get("with"),
    )


def _fence_device(raw: Mapping[str, Any]) -> FenceDevice:
    own = {key: value for key, value in raw.items() if key in ("agent", "timeout_s")}
    files = {option: value for key, value in raw.items() if (option := option_in_file(key)) is not None}
    options = {k: _option(v) for k, v in raw.items() if k not in own and option_in_file(k) is None}
    return FenceDevice(**own, options=options, files=files)


def _option(value: object) -> str:
    """As fence agents read it from their standard input: flags are 0 or 1."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _resource(raw: Mapping[str, Any], networks: tuple[IPNetwork, ...]) -> Resource:
    match raw:
        case {"drbd": name}:
            return DrbdRole(name)
        case {"initiator": name}:
            return InitiatorRole(name)
        case {"target": name}:
            return TargetRole(name)
        case {"filesystem": target, **rest}:
            return Filesystem(target=target, **rest)
        case {"service": unit, **rest}:
            return Service(unit=unit, **rest)
        case {"realserver": name}:
            return RealServerRole(name)
        case {"virtual": _}:
            return VirtualService(**raw)
    address = ip_interface(raw["address"])
    interface = raw.get("interface")
    link = None if interface is not None else rules.link_of(address, list(networks))
    return Address(address, interface, link)
