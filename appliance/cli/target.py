# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep target list` and `target show NAME`: what initiators may reach here, and who is logged in."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.cli.parsers import Subparsers, add_json, command, print_json
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.config.model import Cluster
    from appliance.config.target import Acl, Lun, Target


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "target", "look at the iSCSI targets that this cluster presents")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    each = command(actions, "list", "each target, where it listens, and how many initiators are logged in here")
    each.set_defaults(run=run_list)
    one = command(actions, "show", "one target's LUNs, the initiators that may reach them, and their sessions here")
    one.add_argument("name", metavar="NAME")
    one.set_defaults(run=run_show)
    for action in (each, one):
        add_json(action)


def run_list(args: argparse.Namespace) -> int:
    cluster = _cluster()
    found = [entry(cluster, target) for target in cluster.targets]
    if args.json:
        print_json(found)
        return 0
    for each in found:
        here = f"serves here, {len(each['sessions'])} logged in" if each["serves_here"] else "does not serve here"
        print(f"{each['name']}: {each['iqn']}")
        print(f"  group {each['group']}, {', '.join(each['portals'])}, {len(each['luns'])} LUNs; {here}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    cluster = _cluster()
    names = [target.name for target in cluster.targets]
    if args.name not in names:
        raise InputError(f"there is no target {args.name}, expected {' or '.join(names) or 'none: there is none'}")
    found = entry(cluster, cluster.target_named(args.name))
    if args.json:
        print_json(found)
    else:
        print("\n".join(render(found)))
    return 0


def entry(cluster: Cluster, target: Target, root: Path | None = None) -> dict[str, Any]:
    """Without names and secrets of CHAP. What is logged in is known where the target serves, and only there."""
    from appliance.drivers import target_tree

    root = root or target_tree.ROOT
    tree = target_tree.found(target.iqn, root)
    return {
        "name": target.name,
        "iqn": target.iqn,
        "group": next(group.name for group in cluster.groups if target.name in group.targets),
        "portals": [str(portal) for portal in target.portals],
        "state": target.state,
        "serves_here": tree is not None and tree.enabled,
        "luns": [_lun(lun) for lun in sorted(target.luns, key=lambda lun: lun.number)],
        "acls": [_acl(acl) for acl in target.acls],
        "sessions": [asdict(session) for session in target_tree.sessions(target.iqn, root)],
    }


def render(found: dict[str, Any]) -> Iterator[str]:
    """The text of `show`, line by line."""
    yield f"target {found['name']}   {found['iqn']}"
    yield f"  group {found['group']}, {', '.join(found['portals'])}"
    yield ""
    yield "LUNs"
    for lun in found["luns"]:
        size = f"{lun['size_mib']} MiB" if lun["size_mib"] else "as large as it"
        marks = ", thin" if lun["thin"] else ""
        yield f"  {lun['number']:<4} {lun['name']:<16} {lun['backing']} ({size}{marks})"
        yield f"       serial {lun['serial']}, wwn-0x{lun['wwn']}"
    yield ""
    yield "initiators"
    sessions = {session["initiator"]: session for session in found["sessions"]}
    for acl in found["acls"]:
        yield f"  {acl['initiator']}   {acl['chap']}; {', '.join(acl['luns'])}"
        session = sessions.get(acl["initiator"])
        if session is not None:
            moved = f"{session['read_mib']} MiB read, {session['written_mib']} MiB written"
            where = ", ".join(session["addresses"])
            yield f"       logged in from {where}; {session['commands']} commands, {moved}"
        elif found["serves_here"]:
            yield "       not logged in"
    if not found["serves_here"]:
        yield ""
        yield "It does not serve on this node: who is logged in is known on the other one (pairkeep status)."


def _cluster() -> Cluster:
    from appliance.supervisor import store
    from appliance.upkeep.versions import Versions

    return Versions().cluster_in_force(store.load())


def _lun(lun: Lun) -> dict[str, Any]:
    shown = asdict(lun)
    del shown["target"]
    return {**shown, "backing": lun.device or lun.file, "wwn": lun.wwn}


def _acl(acl: Acl) -> dict[str, Any]:
    chap = "no CHAP" if acl.user is None else "CHAP" if acl.target_user is None else "mutual CHAP"
    return {"initiator": acl.initiator, "chap": chap, "luns": list(acl.luns)}
