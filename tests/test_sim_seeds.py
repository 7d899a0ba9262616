# SPDX-License-Identifier: GPL-2.0-or-later
"""The decision core and the supervisor's loop in simulated clusters, whatever fails."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from appliance.sim import script
from appliance.sim.life import script_of
from appliance.sim.run import run_one, run_script
from appliance.sim.workers import workers

CHUNK = 20
CHUNKS = 10
REGRESSIONS = sorted((Path(__file__).parent / "sim_regressions").glob("*.json"))


@pytest.mark.parametrize("first", range(0, CHUNK * CHUNKS, CHUNK))
def test_all_invariants_hold_whatever_fails(first: int) -> None:
    for seed in range(first, first + CHUNK):
        verdict = run_one(seed)
        assert verdict.violation is None, f"seed {seed}: {verdict.violation}\npairkeep sim --seed {seed}"
        assert verdict.acknowledged > 0


@pytest.mark.parametrize("path", REGRESSIONS, ids=[path.stem for path in REGRESSIONS])
def test_what_went_wrong_once_goes_well_now(path: Path) -> None:
    verdict = run_script(script.load(path), told=True)
    assert verdict.violation is None, f"{verdict.script.text()}\n{verdict.story}"


def test_a_seed_tells_the_same_story_twice_and_told_or_not_ends_alike() -> None:
    told = run_one(7, told=True)
    assert told == run_one(7, told=True)
    assert told.story
    assert run_one(7).seconds == told.seconds


def test_a_script_survives_being_written_down(tmp_path: Path) -> None:
    whole = script_of(11)
    script.save(whole, tmp_path / "life.json", "for the test")
    assert script.load(tmp_path / "life.json") == whole


def test_processes_beside_each_other_end_without_a_word_whatever_the_command_makes_of_signals() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with workers(1) as pool:
            assert pool.apply(signal.getsignal, (signal.SIGTERM,)) == signal.SIG_DFL
            assert pool.apply(signal.getsignal, (signal.SIGINT,)) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
