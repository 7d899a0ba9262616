# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep config check FILE`: every mistake in a cluster.toml, or in a realserver.toml."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.cli.checked import tell
from appliance.cli.parsers import Subparsers, add_json, command


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "config", "look at a cluster's configuration")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = command(actions, "check", "name every mistake in a cluster.toml or realserver.toml")
    check.add_argument("file", metavar="FILE", type=Path, help="the file to check")
    add_json(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return tell(args, _checked)


def _checked(path: Path) -> str:
    """What the cluster, or the real server, consists of. Raises ConfigError, InputError."""
    from appliance.config import realserver_file
    from appliance.config.load import parse, read

    text = read(path)
    if realserver_file.is_realserver(text):
        servers = realserver_file.parse(text, str(path))
        return f"Real server: {', '.join(f'{server.name} ({server.forwarding})' for server in servers)}"
    cluster = parse(text, str(path))
    workers = " and ".join(node.name for node in cluster.workers)
    voters = ", ".join(node.name for node in cluster.nodes if node.votes_only) or "none"
    groups = ", ".join(group.name for group in cluster.groups) or "none"
    return f"Cluster {cluster.name}: {workers}; votes only: {voters}; groups: {groups}; fencing: {cluster.fencing}"
