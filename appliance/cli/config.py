# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep config check FILE`: every mistake in a cluster.toml."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "config", "look at a cluster's configuration")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = command(actions, "check", "name every mistake in a cluster.toml")
    check.add_argument("file", metavar="FILE", type=Path, help="the cluster.toml to check")
    add_json(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 2 when there are mistakes."""
    from appliance.config.load import ConfigError, load

    try:
        cluster = load(args.file)
    except ConfigError as error:
        if not args.json:
            raise
        print_json({"file": str(args.file), "valid": False, "problems": error.problems})
        return error.exit_code
    if args.json:
        print_json({"file": str(args.file), "valid": True, "problems": []})
        return 0
    workers = " and ".join(node.name for node in cluster.workers)
    voters = ", ".join(node.name for node in cluster.nodes if node.votes_only) or "none"
    groups = ", ".join(group.name for group in cluster.groups) or "none"
    print(
        f"{args.file}: no mistakes. Cluster {cluster.name}: {workers}; votes only: {voters}; "
        f"groups: {groups}; fencing: {cluster.fencing}"
    )
    return 0
