# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machines tell each other, as values and as JSON."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any, Literal

from cattrs.errors import BaseValidationError
from cattrs.preconf.json import make_converter

from appliance.config import toml
from appliance.config.load import ConfigError, parse
from appliance.config.schema import MOST_LINKS
from appliance.config.shape import names_secret
from appliance.config.values import HOSTNAME, KEY_BYTES, OWN_FILE, option_in_file, unscoped
from appliance.errors import PairkeepError


class JoinError(PairkeepError):
    """Machines did not become one cluster; nobody keeps anything of it."""


@dataclass(frozen=True)
class Candidate:
    """What a machine says of itself. ``clock_s`` is its clock (Unix time) when it begins to join.

    ``links``: "10.9.1.12/24" for each heartbeat network. ``disk``: a path below /dev/disk/by-id, None for a
    witness. ``fence``: one fence device's options as in cluster.toml; may be empty.
    """

    name: str
    role: Literal["worker", "witness"]
    version: str
    clock_s: float
    links: tuple[str, ...]
    disk: str | None
    disk_bytes: int | None
    fence: Mapping[str, str | int | bool]


@dataclass(frozen=True)
class Bundle:
    """What every node of the new cluster gets; a witness gets no ``database``.

    ``secrets``: files below /etc/pairkeep that only root reads.
    """

    cluster_toml: str
    cluster_key: bytes
    secrets: Mapping[str, str]
    database: Mapping[str, str] | None


def node_names(bundle: Bundle) -> set[str]:
    """Who its cluster.toml is for. Raises JoinError when that is no cluster.toml."""
    try:
        return set(toml.loads(bundle.cluster_toml)["node"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise JoinError(f"the configuration that was to be handed out names no nodes: {error}") from error


_converter = make_converter(forbid_extra_keys=True)


def to_json(value: Candidate | Bundle) -> Any:
    return _converter.unstructure(value)


def candidate_from(raw: Any) -> Candidate:
    """Raises JoinError for what no machine of ours says of itself."""
    try:
        found = _converter.structure(raw, Candidate)
        links = [ip_interface(unscoped(link)) for link in found.links]
    except (BaseValidationError, ValueError, TypeError, AttributeError) as error:
        raise JoinError("the other machine describes itself in a way that this one does not know") from error
    if not re.fullmatch(HOSTNAME, found.name) or not 1 <= len(links) <= MOST_LINKS:
        raise JoinError("the other machine has no usable name or networks")
    if found.disk is not None and not re.fullmatch(r"/dev/[\w.:+@/-]{1,200}", found.disk):
        raise JoinError(f"the other machine's disk has no usable name: {found.disk!r}")
    if found.fence and not ({"agent", "password"} <= found.fence.keys() and all(map(_is_option, found.fence))):
        raise JoinError("the other machine describes its fence device in a way that this one does not know")
    return found


def _is_option(key: str) -> bool:
    """Whether cluster.toml may have it as it is; of the password it gets the path of a file."""
    plain = key == "password" or not names_secret(key)
    return plain and re.fullmatch(r"[a-z0-9_-]{1,40}", key) is not None and option_in_file(key) is None


def bundle_from(raw: Any) -> Bundle:
    """Raises JoinError, also for what would write where a secret has no business."""
    try:
        found = _converter.structure(raw, Bundle)
    except (BaseValidationError, ValueError, TypeError, AttributeError) as error:
        raise JoinError("what the other machine sent is no description of a cluster") from error
    if strange := [name for name in found.secrets if not re.fullmatch(OWN_FILE, name)]:
        raise JoinError(
            f"found a secret for the file {strange[0]!r}, expected a name without a folder, and not ours"
        )
    if len(found.cluster_key) not in KEY_BYTES:
        least, most = KEY_BYTES.start, KEY_BYTES.stop - 1
        raise JoinError(f"found a key of {len(found.cluster_key)} bytes, expected {least} to {most}")
    return found


def check_for(bundle: Bundle, name: str) -> None:
    """Raises JoinError unless machine ``name`` can become a node by it."""
    try:
        cluster = parse(bundle.cluster_toml)
    except ConfigError as error:
        raise JoinError(f"it cannot be used there: {error.problems[0]}") from error
    if name not in [node.name for node in cluster.nodes]:
        raise JoinError(f"found no {name} in it, which is that machine")


def dumps(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()


def loads(data: bytes) -> dict[str, Any]:
    """Raises ValueError unless it is a JSON object."""
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found
