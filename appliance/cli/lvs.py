# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep lvs status`: virtual services, their servers and how they are, on the director that is asked."""

from __future__ import annotations

import argparse
from typing import Any

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, command
from appliance.cli.watch import add_watch, show

# So far back a reason may be found. keepalived says it again at every check that fails.
JOURNAL_LINES = "3000"


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "lvs", "look at virtual services")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    status = command(actions, "status", "show services, servers and why they are down, connections and rates")
    add_watch(status)
    status.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Bad is a service that is missing, has no server or is not as configured."""
    from appliance.lvs.report import healthy, render

    return show(args, _status, render, lambda status: healthy(status["services"]))


def _status() -> dict[str, Any]:
    """Raises PairkeepError, InputError on what is no director."""
    from appliance.config.load import parse
    from appliance.drivers import checkers, ipvs
    from appliance.errors import InputError
    from appliance.lvs.checkers import Checked
    from appliance.lvs.report import report
    from appliance.lvs.table import ServiceKey
    from appliance.render.lvs import is_director

    dump = bus.call("Dump")
    cluster, node = parse(dump["cluster_toml"]), dump["node"]
    if not is_director(cluster, cluster.node(node)):
        raise InputError(f"{node} is no director: it has no virtual services")
    health: dict[tuple[ServiceKey, str], Checked] = {}
    for instance in checkers.instances(cluster):
        health |= checkers.health(instance)
    found = report(
        cluster.virtuals,
        ipvs.table(ipvs.saved()),
        ipvs.counts() if ipvs.loaded() else {},
        health,
        _reasons(cluster.virtuals) if any(not checked.up for checked in health.values()) else {},
        dump["view"]["record"].get("drained", ()),
        _addresses(),
    )
    return {"node": node, **found}


def _reasons(virtuals: Any) -> dict[str, str]:
    """What keepalived last said of each server."""
    from appliance.lvs.words import Words
    from appliance.run import run as run_program

    units = ("-u", "keepalived.service", "-u", "pairkeep-virtual@*.service")
    said = run_program(("journalctl", *units, "-b", "-n", JOURNAL_LINES, "-o", "cat"), check=False, timeout_s=20)
    words = Words(virtuals)
    for line in said.stdout.splitlines():
        words.heard(line)
    return words.reasons


def _addresses() -> set[str]:
    from appliance.run import run as run_program

    shown = run_program(("ip", "-o", "address", "show"), check=False, timeout_s=20).stdout
    return {words[3].split("/")[0] for line in shown.splitlines() if len(words := line.split()) > 3}
