# SPDX-License-Identifier: GPL-2.0-or-later
"""The nodes of a partition compute the same from the same: here it is computed once, and now and then compared.

That saves a third of the time of a simulated life, and it is checked on the way that `fold` and `decide` are pure:
what they made of one node's view has to be what they make of the next node's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from appliance import decide
from appliance.decide import Decision
from appliance.decide import fold as folding
from appliance.decide.messages import Message
from appliance.decide.view import ClusterView
from appliance.sim.judge import ViolationError
from appliance.supervisor import core

# Every so often what is known already is computed again.
AGAIN = 50


class _Shared:
    """Keyed by identity, so it keeps what it was asked about. One for each life."""

    def __init__(self) -> None:
        # As they are now: a mutant may have changed them.
        self._fold, self._decide = folding.fold, decide.decide
        self._folded: dict[tuple[int, str, int], tuple[ClusterView, ClusterView, Message]] = {}
        self._decided: dict[int, tuple[Decision, ClusterView]] = {}
        self._adopted: dict[str, list[ClusterView]] = {}
        self._hits = 0

    def fold(self, view: ClusterView, sender: str, message: Message) -> ClusterView:
        key = id(view), sender, id(message)
        known = self._folded.get(key)
        if known is not None:
            if self._again() and self._fold(view, sender, message) != known[0]:
                raise ViolationError("not pure", f"fold makes two views of one, hearing {message}")
            return known[0]
        after = self._fold(view, sender, message)
        if after.adopted and not view.adopted:
            after = self._same(after)
        self._folded[key] = after, view, message
        return after

    def decide(self, view: ClusterView) -> Decision:
        known = self._decided.get(id(view))
        if known is not None:
            if self._again() and self._decide(view) != known[0]:
                raise ViolationError("not pure", "decide makes two decisions of one view")
            return known[0]
        decision = self._decide(view)
        self._decided[id(view)] = decision, view
        return decision

    def _same(self, view: ClusterView) -> ClusterView:
        """The nodes' views are equal from here on, so let them be one."""
        known = self._adopted.setdefault(view.view_id, [])
        for other in known:
            if other == view:
                return other
        known.append(view)
        return view

    def _again(self) -> bool:
        self._hits += 1
        return self._hits % AGAIN == 0


@contextmanager
def sharing() -> Iterator[None]:
    """For one life."""
    shared = _Shared()
    with mock.patch.object(core, "fold", shared.fold), mock.patch.object(core, "decide", shared.decide):
        yield
