# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep initiator list`: the shared disks of this cluster, as this node sees them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from appliance.cli.parsers import Subparsers, add_json, command, print_json


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "initiator", "look at the disks that come from iSCSI targets")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    action = command(actions, "list", "each one's target, session on this node, and who may write to it")
    add_json(action)
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from appliance.supervisor import store
    from appliance.upkeep.versions import Versions

    cluster = Versions().cluster_in_force(store.load())
    found = [_entry(cluster, config) for config in cluster.initiators]
    if args.json:
        print_json(found)
        return 0
    for entry in found:
        print(f"{entry['name']}: {entry['which']} of {entry['target']} at {entry['portal']}")
        print(f"  group {entry['group']}; {entry['session'] or 'not logged in on this node'}")
        if entry["device"]:
            print(f"  {entry['device']}, {entry['reservation']}")
    return 0


def _entry(cluster: Any, config: Any) -> dict[str, Any]:
    """Without names and secrets of CHAP."""
    from appliance.config.initiator import WHICH
    from appliance.drivers.base import DriverError
    from appliance.drivers.initiator import LOGGED_IN, sessions
    from appliance.drivers.reservation import Reservation, keys_of

    here = sessions(config.target)
    disk = Path(config.device)
    device = str(disk.resolve()) if here and disk.exists() else None
    reservation = "not known while the target is away"
    if device is not None and here[0].state == LOGGED_IN:
        try:
            reservation = Reservation(disk, 0, keys_of(cluster)).told()
        except DriverError as error:
            reservation = error.message
    return {
        "name": config.name,
        "target": config.target,
        "portal": str(config.portal),
        "which": next(f"{key} {getattr(config, key)}" for key in WHICH if getattr(config, key) is not None),
        "group": next(group.name for group in cluster.groups if config.name in group.initiators),
        "session": " and ".join(f"session {s.number} is {s.state}" for s in here),
        "device": device,
        "reservation": reservation if device is not None else None,
    }
