# SPDX-License-Identifier: GPL-2.0-or-later
"""`pairkeep simulate SENTENCE`: what would happen to the cluster as it stands, without doing it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli import bus
from appliance.cli.parsers import Subparsers, add_json, command, print_json, wrapped
from appliance.errors import InputError

if TYPE_CHECKING:
    from appliance.rehearsal.play import GroupFate, Outcome
    from appliance.rehearsal.state import LiveState

EPILOG = """\
sentences (upper case stands for a name or a number):
{grammar}

Several happen at the same moment with "and", one after the other with ", then", which waits until the
cluster has come to rest, or ", then after 30 s":
  pairkeep simulate power off alpha, then after 60 s power on alpha and standby beta

Exit codes: 0 when all groups run in the end and no data is lost, 1 when not, 2 when the sentence was refused.
"""


def add(subparsers: Subparsers) -> None:
    parser = command(
        subparsers,
        "simulate",
        "say what would happen, step by step, without doing it",
        formatter_class=_Help,
    )
    parser.add_argument("words", nargs="*", metavar="SENTENCE", help="such as: power off alpha")
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="begin with this dump, not with the live cluster"
    )
    parser.add_argument("--dump", action="store_true", help="print the state of the live cluster, for --state")
    add_json(parser)
    parser.set_defaults(run=run)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Loads the grammar only when somebody asks for it: the simulator takes a moment to load."""

    def format_help(self) -> str:
        from appliance.rehearsal.acts import grammar

        return super().format_help() + "\n" + EPILOG.format(grammar=grammar())


def run(args: argparse.Namespace) -> int:
    if args.dump:
        print_json(bus.call("Dump"))
        return 0
    if not args.words:
        raise InputError("what should happen?", hint="pairkeep simulate power off NODE; --help lists more")
    from appliance.rehearsal.acts import read
    from appliance.rehearsal.play import rehearse

    state = _state(args.state)
    outcome = rehearse(state, read(" ".join(args.words), state.cluster))
    if args.json:
        print_json(asdict(outcome) | {"good": outcome.good})
    else:
        print("\n".join(_told(outcome)))
    return 0 if outcome.good else 1


def _state(file: Path | None) -> LiveState:
    from appliance.config.load import read
    from appliance.rehearsal.state import from_text, from_value

    return from_value(bus.call("Dump")) if file is None else from_text(read(file), str(file))


def _told(outcome: Outcome) -> Iterator[str]:
    width = max((len(line.who) for line in outcome.lines), default=0)
    for line in outcome.lines:
        yield from wrapped(f"+{line.at:6.1f} s  {line.who:<{width}}  ", line.text)
    if not outcome.rested:
        yield from wrapped("", f"It is not at rest after {outcome.seconds:.0f} s, and was watched no longer.")
    yield ""
    for group in outcome.groups:
        yield from wrapped(f"{group.name}: ", _fate(group, outcome.seconds))
        for node, reason in group.nodes.items() if group.node is None else ():
            yield from wrapped(f"  not on {node}: ", reason)
    lost = f"THIS MUST NEVER BE, please report it: {outcome.violation}" if outcome.violation else ""
    yield from wrapped("data: ", lost or "nothing that was acknowledged is lost")
    for drbd, nodes in outcome.newest.items():
        yield from wrapped(f"newest data of {drbd} in the end: ", " and ".join(nodes) or "no node that is known")
    for text in outcome.assumed:
        yield from wrapped("assumed: ", text)
    if outcome.unmeasured:
        steps = ", ".join(f"{step} {seconds:g} s" for step, seconds in outcome.unmeasured.items())
        yield from wrapped("not measured here yet, so assumed: ", steps)


def _fate(group: GroupFate, end: float) -> str:
    away = group.away_s(end)
    if group.node is None:
        since = "as before" if group.before is None else f"since + {group.away[-1][0]:.1f} s"
        return f"does not run in the end, {since}: {group.reason}"
    moved = f"runs on {group.node}" if group.node == group.before else f"runs on {group.node} in the end"
    return f"{moved}; {f'away for about {_rough(away)} s' if away else 'never away'}"


def _rough(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
