# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep status`: the cluster on one screen of 80 columns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from appliance.cli import bus
from appliance.cli.events import line
from appliance.cli.parsers import WIDTH, Subparsers, command, wrapped
from appliance.cli.watch import add_watch, show

GOOD, WARN, BAD, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
COLOURS = {
    "running": GOOD,
    "online": GOOD,
    "started": GOOD,
    "UpToDate": GOOD,
    "yes": GOOD,
    "starting": WARN,
    "stopping": WARN,
    "standby": WARN,
    "leaving": WARN,
    "silent": WARN,
    "unknown": WARN,
    "stopped": BAD,
    "offline": BAD,
    "failed": BAD,
    "stuck": BAD,
    "NO": BAD,
}


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "status", "show nodes, groups, disks and what happened last")
    add_watch(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    def good(status: dict[str, Any]) -> bool:
        return all(group["state"] == "running" for group in status["groups"])

    return show(args, partial(bus.call, "Status"), partial(render, colour=sys.stdout.isatty()), good)


def render(status: dict[str, Any], *, colour: bool) -> Iterator[str]:
    """The screen, line by line, none longer than WIDTH (escape sequences not counted)."""

    def paint(word: str, width: int = 0) -> str:
        code = COLOURS.get(word, "") if colour else ""
        return f"{code}{word:<{width}}{PLAIN}" if code else f"{word:<{width}}"

    votes = status["votes"]
    quorum = paint("yes" if status["quorate"] else "NO")
    head = f"cluster {status['cluster']}   quorum "
    yield f"{head}{quorum} ({votes['present']} of {votes['total']} votes)   seen from {status['node']}"
    if status["quorate"] and not status["acts"]:
        yield "But it cannot act yet: the reasons are below."
    if status["maintenance"]:
        yield "MAINTENANCE: nothing is started, stopped or moved (pairkeep maintenance off)"
    yield ""
    yield "nodes"
    for node in status["nodes"]:
        role = "votes only" if node["votes_only"] else "worker"
        detail = node["detail"] if node["state"] not in ("online", "standby") or node["detail"] else role
        yield from wrapped(f"  {node['name']:<12} ", detail, paint(node["state"], 10), 10)
        for warning in node["warnings"]:
            yield from wrapped("    ! ", warning)
    for group in status["groups"]:
        yield ""
        where = f"on {group['node']}" if group["node"] else ""
        yield f"group {group['name']}   {paint(group['state'])} {where}"
        if group["state"] != "running" or group["target"] != group["node"]:
            yield from wrapped("  why: ", group["reason"])
        for node, reason in group["nodes"].items():
            if node != group["target"]:
                yield from wrapped(f"  not on {node}: ", reason)
        for resource in group["resources"]:
            fails = ", ".join(f"failed {count}x on {node}" for node, count in resource["fails"].items() if count)
            yield from wrapped(f"  {resource['id'][:40]:<41}", fails, paint(resource["state"], 10), 10)
    for drbd in status["drbd"]:
        yield ""
        yield from _disk(drbd, status["quorate"], paint)
    yield ""
    yield "last events"
    for event in status["events"][-5:]:
        yield f"  {line(event)}"[:WIDTH]


def _disk(drbd: dict[str, Any], quorate: bool, paint: Callable[[str, int], str]) -> Iterator[str]:
    nobody = "no node any more" if drbd["established"] else "no node yet"
    known = "" if quorate else " (as this node last knew)"
    yield from wrapped(
        f"disk {drbd['name']}   newest data on ", f"{' and '.join(drbd['current']) or nobody}{known}"
    )
    for node, side in drbd["nodes"].items():
        state = f"{side['connection']}{_sync(side)}"
        yield from wrapped(f"  {node:<12} {side['role']:<13}", state, paint(side["disk"], 13), 13)
    if drbd["established"] and not drbd["current"]:
        yield from wrapped(
            "  ", f"whose copy counts is a person's to say: pairkeep recover force {drbd['name']} NODE"
        )
    if any(side["split_brain"] for side in drbd["nodes"].values()):
        hint = f"pairkeep recover split-brain {drbd['name']}"
        yield from wrapped("  ", f"split brain: both copies were changed apart from each other; {hint}")
    if drbd["verify"]:
        yield from wrapped("  verify: ", drbd["verify"]["text"])


def _sync(side: dict[str, Any]) -> str:
    text = ""
    if side["suspended"] != "no":
        text += f", I/O frozen ({side['suspended']})"
    if side["sync_percent"] is not None:
        filled = int(side["sync_percent"] / 10)
        text += f" [{'#' * filled}{'.' * (10 - filled)}] {side['sync_percent']:.0f} %"
        if side["sync_left_s"] is not None:
            text += f", {_roughly(side['sync_left_s'])} left"
    return text


def _roughly(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
