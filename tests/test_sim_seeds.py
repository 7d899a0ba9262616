# SPDX-License-Identifier: GPL-2.0-or-later
"""The decision core and the supervisor's loop in simulated clusters: as they are, and broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.decide import fold
from appliance.decide.messages import Exclude
from appliance.decide.view import ClusterView, Stamp
from appliance.sim.run import run_one
from appliance.supervisor import core
from appliance.supervisor.core import Core
from appliance.supervisor.exclusions import PEER_FENCED, Exclusions

CHUNK = 20
CHUNKS = 10
# Every mutant has to be caught within so many seeds.
MUTANT_SEEDS = 60

Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("first", range(0, CHUNK * CHUNKS, CHUNK))
def test_all_invariants_hold_whatever_fails(first: int) -> None:
    for seed in range(first, first + CHUNK):
        verdict = run_one(seed)
        assert verdict.violation is None, f"seed {seed}\n{verdict.story}"
        assert verdict.acknowledged > 0


def test_a_seed_tells_the_same_story_twice() -> None:
    assert run_one(7, whole_story=True) == run_one(7, whole_story=True)


def _takes_over_at_once(patch: Patch) -> None:
    patch.setattr(ClusterView, "surely_down", lambda view, node: node not in view.members)


def _thaws_without_asking(patch: Patch) -> None:
    patch.setattr(Core, "on_fence_request", lambda self, drbd: self.world.answer(drbd, PEER_FENCED))


def _thaws_before_a_majority_knows(patch: Patch) -> None:
    def resume_anyway(self: Exclusions, view: ClusterView, _taking_over: set[str]) -> None:
        for name in list(self.frozen):
            self.world.multicast(Exclude(view.view_id, name, self.cluster.peer_of(self.me)))
            self._settle(name, PEER_FENCED, "for no reason")

    patch.setattr(Exclusions, "pursue", resume_anyway)


def _pets_the_watchdog_without_quorum(patch: Patch) -> None:
    tick = Core.on_tick

    def tick_and_pet(self: Core) -> None:
        tick(self)
        self.world.pet()

    patch.setattr(Core, "on_tick", tick_and_pet)


def _adopts_the_oldest_record(patch: Patch) -> None:
    def adopt(view: ClusterView) -> ClusterView:
        if view.adopted or not view.quorate:
            return view
        oldest = min((r.record for r in view.reports.values()), key=lambda record: record.stamp)
        stamp = Stamp(max(view.ring, oldest.stamp.ring + 1), 0)
        return replace(view, record=replace(oldest, stamp=stamp), adopted=True)

    patch.setattr(fold, "_adopted", adopt)


def _stops_what_it_finds_after_a_restart(patch: Patch) -> None:
    patch.setattr(core, "QUORUM_UNKNOWN_S", 0.0)


def _acts_before_its_own_words_are_heard(patch: Patch) -> None:
    patch.setattr(Core, "_is_heard", lambda _self: True)


@pytest.mark.parametrize(
    "mutant",
    [
        _takes_over_at_once,
        _thaws_without_asking,
        _thaws_before_a_majority_knows,
        _pets_the_watchdog_without_quorum,
        _adopts_the_oldest_record,
        _stops_what_it_finds_after_a_restart,
        _acts_before_its_own_words_are_heard,
    ],
)
def test_the_judge_finds_what_is_broken_on_purpose(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    assert any(run_one(seed).violation is not None for seed in range(MUTANT_SEEDS))
