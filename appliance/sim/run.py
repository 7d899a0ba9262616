# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs scripts: each is one cluster's life, judged throughout."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from appliance.sim.cluster import SimCluster
from appliance.sim.judge import ViolationError
from appliance.sim.life import ROUNDS, live, script_of
from appliance.sim.script import Script
from appliance.sim.shapes import cluster_of
from appliance.sim.shared import sharing
from appliance.sim.workers import workers

CRASHED = "the code under test failed"


@dataclass(frozen=True)
class Verdict:
    """``violation`` is None when all invariants held, and ``rule`` names the one that did not.

    ``seconds`` were simulated. ``story`` is empty unless it was asked for.
    """

    script: Script
    seconds: float
    acknowledged: int
    rule: str | None
    violation: str | None
    story: str


def run_script(script: Script, *, told: bool = False) -> Verdict:
    sim = SimCluster(cluster_of(script.shape), random.Random(script.seed), told=told)  # noqa: S311
    rule: str | None = None
    violation: str | None = None
    try:
        with sharing():
            live(sim, script)
    except ViolationError as found:
        rule, violation = found.rule, str(found)
    except Exception as error:
        rule = f"{CRASHED}: {type(error).__name__}"
        violation = f"{CRASHED}:\n{traceback.format_exc(limit=-4)}"
    if violation is not None:
        sim.story.tell("judge", "{}", violation)
    acknowledged = sum(map(len, sim.judge.acknowledged.values()))
    return Verdict(script, sim.clock.now, acknowledged, rule, violation, sim.story.text())


def run_one(seed: int, *, rounds: int = ROUNDS, shape: str | None = None, told: bool = False) -> Verdict:
    return run_script(script_of(seed, rounds, shape), told=told)


def run_many(seeds: Iterable[int], *, rounds: int, shape: str | None, jobs: int) -> Iterator[Verdict]:
    """In the order of ``seeds``, in ``jobs`` processes."""
    one = partial(run_one, rounds=rounds, shape=shape)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with workers(jobs) as pool:
        yield from pool.imap(one, seeds, chunksize=8)
