# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep realserver`: what makes a machine a real server, for machines that are ours and for others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.parsers import Subparsers, add_json, command, print_json

if TYPE_CHECKING:
    from appliance.config.realserver import RealServer

REALSERVER_TOML = Path("/etc/pairkeep/realserver.toml")


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "realserver", "make a machine a real server behind LVS directors")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    script = command(
        actions, "script", "print a shell script that does and undoes it on machines that are not ours"
    )
    script.add_argument(
        "--for",
        metavar="ADDRESS",
        dest="address",
        help="the machine to which virtual services of a cluster.toml send by this address, which is then FILE",
    )
    script.set_defaults(run=run_script)
    status = command(actions, "status", "say what of it holds on this machine")
    add_json(status)
    status.set_defaults(run=run_status)
    for one in (script, status):
        one.add_argument(
            "file",
            metavar="FILE",
            type=Path,
            nargs="?",
            help=f"a realserver.toml ({REALSERVER_TOML})",
        )


def run_script(args: argparse.Namespace) -> int:
    from appliance.lvs.script import script

    print(script(_servers(args) if args.address is None else _behind(args)), end="")
    return 0


def _behind(args: argparse.Namespace) -> tuple[RealServer, ...]:
    """By what the cluster's own file says of the machine with that address; without FILE, the one in force."""
    from appliance.config.load import load
    from appliance.lvs.behind import realservers
    from appliance.supervisor import store
    from appliance.upkeep.versions import Versions

    cluster = Versions().cluster_in_force(store.load()) if args.file is None else load(args.file)
    return realservers(cluster, args.address)


def run_status(args: argparse.Namespace) -> int:
    """Exit code 1 when something is missing, so that scripts can ask."""
    from appliance.drivers.realserver import RealServerDriver

    found = {server.name: RealServerDriver(server).faults() for server in _servers(args)}
    if args.json:
        print_json({name: {"ok": not faults, "faults": faults} for name, faults in found.items()})
    else:
        for name, faults in found.items():
            print(f"{name}: {'as it should be' if not faults else '; '.join(faults)}")
    return 1 if any(found.values()) else 0


def _servers(args: argparse.Namespace) -> tuple[RealServer, ...]:
    from appliance.config.realserver_file import load

    return load(args.file or REALSERVER_TOML)
