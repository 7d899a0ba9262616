# SPDX-License-Identifier: GPL-2.0-or-later
"""A quick share of `make mutants`: defects that are noticed within a few seeds; and all of them still apply."""

from __future__ import annotations

import pytest

from appliance.sim.breaking import breaking, hunt
from appliance.sim.mutants import MUTANTS
from appliance.sim.run import run_one

# Every quick one has to be caught within so many seeds.
SEEDS = 60
QUICK = (
    "takes_over_at_once",
    "one_of_two_is_quorum",
    "never_shoots",
    "starts_what_another_holds",
    "promises_what_is_not_on_disk",
    "stops_from_the_bottom",
    "ignores_standby",
    "ignores_maintenance",
    "moves_away_from_a_stopping_supervisor",
    "stops_what_it_finds_after_a_restart",
)


@pytest.mark.parametrize("name", QUICK)
def test_the_judge_finds_what_is_broken_on_purpose(name: str) -> None:
    assert hunt(name, range(SEEDS)).rule is not None


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_still_finds_what_it_breaks(name: str) -> None:
    assert MUTANTS[name].what
    with breaking(MUTANTS[name]):
        pass


def test_what_was_broken_is_whole_again() -> None:
    assert hunt("takes_over_at_once", range(SEEDS)).rule is not None
    assert run_one(1).violation is None
