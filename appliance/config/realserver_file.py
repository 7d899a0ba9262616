# SPDX-License-Identifier: GPL-2.0-or-later
"""`/etc/pairkeep/realserver.toml`: the only file of a machine that is a real server and no node of a cluster."""

from __future__ import annotations

import tomllib
from pathlib import Path

from appliance.config import load as cluster_file
from appliance.config import realserver, shape, toml
from appliance.config.realserver import RealServer

FILE = Path("/etc/pairkeep/realserver.toml")
_SHAPE = shape.table("tables", {"realserver": realserver.TABLES})


def is_realserver(text: str) -> bool:
    """Whether ``text`` is such a file rather than a `cluster.toml`, by what stands in it, good or bad."""
    try:
        return set(toml.loads(text)) == {"realserver"}
    except tomllib.TOMLDecodeError:
        return False


def load(path: Path) -> tuple[RealServer, ...]:
    """Raises ConfigError for a file with mistakes, InputError for one that cannot be read or says nothing."""
    return parse(cluster_file.read(path), str(path))


def parse(text: str, name: str = "realserver.toml") -> tuple[RealServer, ...]:
    """Raises ConfigError, which calls the text ``name``."""
    raw = cluster_file.read_toml(text, name)
    found = shape.mistakes(_SHAPE, raw)
    wrong = [path for path, _ in found]
    found += shape.apart(realserver.problems(shape.without(raw, wrong).get("realserver", {})), wrong)
    cluster_file.refuse(raw, found, name)
    servers = realserver.build(raw["realserver"])
    if not servers:
        raise cluster_file.ConfigError(name, ("expected at least one [realserver.NAME] table",))
    return servers
