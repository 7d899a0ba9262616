# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep apply [FILE]`: a changed cluster.toml comes into force on all nodes, or on none."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.cli import bus
from appliance.cli.confirm import add_yes, confirm
from appliance.cli.parsers import Subparsers, add_json, command, print_json
from appliance.errors import InputError, PairkeepError

if TYPE_CHECKING:
    from appliance.rehearsal.play import GroupFate

CHECK_S = 60
TAKE_UP_S = 300
# After so long people are told who is waited for.
PATIENCE_S = 10
POLL_S = 0.5


def add(subparsers: Subparsers) -> None:
    parser = command(subparsers, "apply", "bring a changed cluster.toml into force, on all nodes or on none")
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="default: this node's cluster.toml")
    parser.add_argument("--why", default="", metavar="TEXT", help="kept with the version")
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help="only show what it would change")
    parser.add_argument("--unchecked", action="store_true", help="also while nodes are away that cannot be asked")
    add_yes(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from appliance.config.load import read
    from appliance.upkeep.versions import Versions

    return bring_into_force(read(args.file or Versions().edited), args, args.why)


def bring_into_force(text: str, args: argparse.Namespace, why: str) -> int:
    preview = bus.call("Preview", text)
    if not preview["changes"]:
        if args.json:
            print_json(preview)
        else:
            print("nothing to do: it says what is in force already")
        return 0
    effect = _effect(text, preview) if not preview["refused"] else {}
    if not args.json:
        _show(preview, effect)
    if preview["refused"]:
        if args.json:
            print_json(preview)
        why_not = "\n  ".join(("this cannot change while the cluster runs", *preview["refused"]))
        raise InputError(why_not, hint="take it out, and apply the rest")
    if args.dry_run:
        if args.json:
            print_json(preview | {"effect": effect})
        return 0
    if preview["stops"]:
        confirm(args, f"{' and '.join(preview['stops'])} will be stopped for this.", "apply")
    began = time.monotonic()
    bus.call("Apply", text, _who(), why, args.unchecked, timeout_s=CHECK_S)
    version = preview["version"] + 1
    with bus.goes_on(f"the change to version {version}"):
        nodes = _taken_up(text, version, preview["away"])
    seconds = round(time.monotonic() - began, 1)
    if args.json:
        print_json(preview | {"version": version, "effect": effect, "seconds": seconds})
    else:
        print(f"version {version} is in force on {' and '.join(nodes)} ({seconds} s)")
        for name in preview["away"]:
            print(f"{name} takes it up when it is back")
    return 0


def _show(preview: dict[str, Any], effect: dict[str, str]) -> None:
    print(f"version {preview['version']} -> {preview['version'] + 1}")
    for line in preview["changes"]:
        print(f"  {line}")
    for text in effect.values():
        print(f"  {text}")


def _effect(text: str, preview: dict[str, Any]) -> dict[str, str]:
    """What becomes of each group, by a dry run from the moment at which all nodes have changed over."""
    from appliance.config.load import parse
    from appliance.rehearsal.play import rehearse
    from appliance.rehearsal.state import from_value

    live = from_value(bus.call("Dump"))
    outcome = rehearse(live.under(parse(text), preview["stops"]), ())
    found = {group.name: _fate(group, group.name in preview["stops"]) for group in outcome.groups}
    return found | {name: f"{name}: stops for good" for name in preview["gone"]}


def _fate(group: GroupFate, stops: bool) -> str:
    if group.node is None:
        return f"{group.name}: does not run then: {group.reason}"
    if stops:
        return f"{group.name}: stops, and starts again on {group.node} after about {group.away_s(0):.0f} s"
    if group.before is None:
        return f"{group.name}: starts on {group.node}"
    if group.node != group.before:
        return f"{group.name}: moves from {group.before} to {group.node}, away for about {group.away_s(0):.0f} s"
    return f"{group.name}: runs on, on {group.node}"


def _taken_up(text: str, version: int, away: list[str]) -> list[str]:
    """Wait until all nodes but those ``away`` run by it; returns their names."""
    deadline = time.monotonic() + TAKE_UP_S
    told: set[str] | None = None
    tell_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        try:
            status: dict[str, Any] = bus.call("Status")
        except PairkeepError:
            continue  # this node's supervisor is changing over
        ready = [node["name"] for node in status["nodes"] if node["state"] != "offline" and node["up_to_date"]]
        wanted = {node["name"] for node in status["nodes"]} - set(away)
        if status["config"] >= version and status["settled"] and wanted <= set(ready):
            if bus.call("Preview", text)["changes"]:
                raise PairkeepError(
                    "somebody else has applied something at the same moment; this one is not in force"
                )
            return ready
        if (late := wanted - set(ready)) != told and time.monotonic() >= tell_at:
            told = late
            print(f"waiting for {' and '.join(sorted(late)) or 'a majority of the disks'}", file=sys.stderr)
    raise PairkeepError(f"not all nodes have taken it up within {TAKE_UP_S} s", hint="pairkeep status")


def _who() -> str:
    name = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    return f"{name}@{os.uname().nodename}"
