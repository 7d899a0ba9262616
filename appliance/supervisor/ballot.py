# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks every node of the cluster whether it could run by another cluster.toml, and answers when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from gi.repository import GLib

from appliance.decide.messages import Check, Checked
from appliance.errors import PairkeepError
from appliance.supervisor.core import Core
from appliance.supervisor.lanes import Lanes
from appliance.upkeep.check import problems

# A node whose disk is slow takes a moment to ask systemd about its units.
ANSWER_S = 30

Answers = Mapping[str, tuple[str, ...]]


@dataclass
class _Poll:
    done: Callable[[Answers], None]
    awaited: set[str]
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Ballot:
    """Of this node."""

    def __init__(self, core: Core, lanes: Lanes) -> None:
        self._core = core
        self._lanes = lanes
        self._polls: dict[int, _Poll] = {}
        self._count = 0

    def ask(self, text: str, done: Callable[[Answers], None]) -> None:
        """``done`` gets each member's problems with ``text``; those of one that says nothing say so."""
        self._count += 1
        self._polls[self._count] = _Poll(done, set(self._core.view.members))
        GLib.timeout_add_seconds(ANSWER_S, self._late, self._count)
        self._core.world.multicast(Check(self._count, text))

    def heard(self, sender: str, message: Check | Checked) -> None:
        if isinstance(message, Check):
            self._lanes.put("check", partial(self._check, sender, message))
        elif message.asker == self._core.me and message.number in self._polls:
            poll = self._polls[message.number]
            poll.answers[sender] = message.problems
            if poll.awaited <= poll.answers.keys():
                del self._polls[message.number]
                poll.done(poll.answers)

    def _check(self, asker: str, message: Check) -> Callable[[], None]:
        try:
            found = problems(message.text, self._core.me)
        except PairkeepError as error:
            found = (f"it cannot be checked: {error.message}",)
        return lambda: self._core.world.multicast(Checked(asker, message.number, found))

    def _late(self, number: int) -> bool:
        poll = self._polls.pop(number, None)
        if poll is not None:
            silent = dict.fromkeys(poll.awaited, (f"no answer within {ANSWER_S} s",))
            poll.done({**silent, **poll.answers})
        return False
