# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep config check FILE`: every mistake in a cluster.toml."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.cli.checked import tell
from appliance.cli.parsers import Subparsers, add_json, command


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "config", "look at a cluster's configuration")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = command(actions, "check", "name every mistake in a cluster.toml")
    check.add_argument("file", metavar="FILE", type=Path, help="the cluster.toml to check")
    add_json(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return tell(args, _checked)


def _checked(path: Path) -> str:
    """What the cluster consists of. Raises ConfigError, InputError."""
    from appliance.config.load import load

    cluster = load(path)
    workers = " and ".join(node.name for node in cluster.workers)
    voters = ", ".join(node.name for node in cluster.nodes if node.votes_only) or "none"
    groups = ", ".join(group.name for group in cluster.groups) or "none"
    return f"Cluster {cluster.name}: {workers}; votes only: {voters}; groups: {groups}; fencing: {cluster.fencing}"
