# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs seeds: each is one cluster's life of a few rounds of faults, judged throughout."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from appliance.sim import faults
from appliance.sim.cluster import SimCluster
from appliance.sim.faults import Fault
from appliance.sim.judge import ViolationError

ROUNDS = 3
# Blank machines have to become a running pair within this time, in seconds.
FORMED_S = 60.0
# After a single fault: detection, the safety wait, a resync of an old Primary, and the start.
SINGLE_S = 45.0
# After everything was put right: booting, LONGEST_PAUSE_S before a failed step is tried again, three
# stops that hang, the watchdog, the safety wait, and a resync.
HEALED_S = 180.0
# A story is told from this many lines before its end.
STORY_LINES = 120


@dataclass(frozen=True)
class Verdict:
    """``violation`` is None when all invariants held. ``seconds`` were simulated."""

    seed: int
    seconds: float
    acknowledged: int
    violation: str | None
    story: str


def run_one(seed: int, *, whole_story: bool = False) -> Verdict:
    sim = SimCluster(seed)
    violation: str | None = None
    try:
        live(sim)
    except ViolationError as found:
        violation = str(found)
    except Exception:
        violation = "the code under test failed:\n" + traceback.format_exc(limit=-4)
    if violation is not None:
        sim.story.tell("judge", violation)
    story = sim.story.text(None if whole_story else STORY_LINES)
    return Verdict(seed, sim.clock.now, len(sim.judge.acknowledged), violation, story)


def live(sim: SimCluster) -> None:
    """Form a cluster, then a few rounds of faults, each of which ends in health."""
    for machine in sim.machines.values():
        machine.power_on()
    sim.run_until(sim.healthy, FORMED_S, "blank machines become a running pair")
    rounds: tuple[Callable[[SimCluster], None], ...] = (
        _chaos,
        _chaos,
        _single,
        _unnoticed,
        _maintenance,
        _standby,
    )
    for _round in range(ROUNDS):
        sim.run_for(sim.chance.uniform(0.0, 5.0))
        sim.chance.choice(rounds)(sim)
        _recover(sim)


def _hit(sim: SimCluster, choices: tuple[Fault, ...]) -> tuple[Fault, str]:
    fault = sim.chance.choice(choices)
    # Most faults are of interest on the node that runs the group.
    holders = sim.serving()
    node = sim.chance.choice((*sim.sites, *holders, *holders))
    sim.story.tell("fault", f"{fault.__name__.replace('_', ' ')} on {node}")
    sim.machines[node].guard(lambda: fault(sim, node))
    return fault, node


def _chaos(sim: SimCluster) -> None:
    """Several faults, one on the heels of the other."""
    for _fault in range(sim.chance.randint(2, 6)):
        _hit(sim, faults.CHAOS)
        sim.run_for(sim.chance.choice((0.05, 0.5, 2.0, 6.0, 15.0)) * sim.chance.uniform(0.2, 1.5))


def _single(sim: SimCluster) -> None:
    """Invariant 4: one fault, nobody puts it right, and yet the service runs on, or again."""
    _hit(sim, faults.SURVIVABLE)
    sim.run_for(3.0)
    sim.run_until(lambda: len(sim.serving()) == 1, SINGLE_S, "the service runs again after one fault")
    for pair in sim.pairs:
        sim.judge.intact(pair)


def _unnoticed(sim: SimCluster) -> None:
    """Invariant 7: a restart of a supervisor touches no running service."""
    sim.judge.untouchable = True
    _hit(sim, faults.UNNOTICED)
    sim.run_for(25.0)
    sim.run_until(sim.healthy, 30.0, "the restarted supervisor takes part again")
    sim.judge.untouchable = False


def _maintenance(sim: SimCluster) -> None:
    """Invariant 6: whatever happens to services and supervisors, in maintenance nothing is touched."""
    if not faults.set_maintenance(sim, True):
        return
    sim.run_until(lambda: sim.all_know(lambda r: r.maintenance), 10.0, "all know of the maintenance")
    sim.judge.maintenance = True
    for _fault in range(sim.chance.randint(1, 3)):
        _hit(sim, (faults.kill_service, faults.kill_supervisor, faults.reset))
        sim.run_for(sim.chance.uniform(0.5, 10.0))
    sim.run_for(20.0)
    sim.judge.maintenance = False
    sim.run_until(lambda: faults.set_maintenance(sim, False), 30.0, "there is quorum to end maintenance")


def _standby(sim: SimCluster) -> None:
    """Invariant 6: a node in standby runs nothing, whatever it or the others go through."""
    (node,) = sim.serving()
    faults.standby(sim, node)
    sim.run_until(
        lambda: sim.serving() not in ([], [node]) and sim.all_know(lambda r: node in r.standby),
        SINGLE_S,
        f"the service has left {node}",
    )
    sim.judge.standby.add(node)
    for _fault in range(sim.chance.randint(1, 3)):
        _hit(sim, (faults.kill_service, faults.kill_supervisor, faults.reset, faults.pull_replication))
        sim.run_for(sim.chance.uniform(0.5, 20.0))
    sim.judge.standby.clear()


def _recover(sim: SimCluster) -> None:
    """Put right what is wrong; then all has to be as before, within the bound."""
    faults.heal(sim)
    sim.run_until(lambda: _healthy_by_and_by(sim), HEALED_S, "healthy after all was put right")
    for pair in sim.pairs:
        sim.judge.intact(pair)


def _healthy_by_and_by(sim: SimCluster) -> bool:
    """Wishes of the round before may come true late, so health is wished for until it is there."""
    if sim.healthy():
        return True
    faults.attend(sim)
    faults.wish_for_health(sim)
    return False
