# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated cluster's life: it forms, goes through the rounds of its script, and has to heal after each."""

from __future__ import annotations

import random
from collections.abc import Callable

from appliance.decide.messages import SetMaintenance
from appliance.sim import disk_faults, faults, repair
from appliance.sim.cluster import SimCluster
from appliance.sim.fault import DRAWS, FAULTS, SURVIVABLE, UNNOTICED
from appliance.sim.script import Act, Round, Script
from appliance.sim.shapes import BY_HAND, SHAPES, cluster_of

ROUNDS = 3
# Blank machines have to become a running pair within this time, in seconds.
FORMED_S = 60.0
# After a single fault: detection, the safety wait, a resync of an old Primary, and the start.
SINGLE_S = 45.0
# Three stops that fail, with their pauses, and the watchdog.
JAMMED_S = 40.0
# A disk that gives no answer is waited for, and so is the watchdog that resets its machine.
HUNG_S = 40.0
# After everything was put right: booting, LONGEST_PAUSE_S before a failed step is tried again, three
# stops that hang, the watchdog, the safety wait, and a resync.
HEALED_S = 180.0

# Long enough for a node that was switched off to boot and be shot again.
QUIET_S = 25.0

IN_MAINTENANCE = ("kill_service", "kill_supervisor", "reset", "crash_corosync", "shut_down")
IN_STANDBY = ("kill_service", "kill_supervisor", "reset", "pull_replication", "crash_corosync")


def script_of(seed: int, rounds: int = ROUNDS, shape: str | None = None) -> Script:
    """The life that ``seed`` stands for."""
    # Not the random numbers of the simulation itself: with some of the faults left out those run differently.
    chance = random.Random(f"script {seed}")  # noqa: S311
    name = chance.choice(SHAPES) if shape is None else shape
    return Script(name, seed, tuple(_round(chance, name) for _ in range(rounds)))


def _round(chance: random.Random, shape: str) -> Round:
    kinds = ["chaos", "chaos", "chaos", "single", "single", "unnoticed", "maintenance", "standby"]
    kind = chance.choice([k for k in kinds if k != "single" or shape not in BY_HAND])
    wait = round(chance.uniform(0.0, 5.0), 2)
    match kind:
        case "chaos":
            acts = [
                _act(chance, shape, _of_use(shape), chance.choice((0.05, 0.5, 2.0, 6.0, 15.0)))
                for _ in range(chance.randint(2, 6))
            ]
        case "single":
            acts = [_act(chance, shape, tuple(SURVIVABLE), 0.0)]
        case "unnoticed":
            acts = [_act(chance, shape, tuple(UNNOTICED), 0.0)]
        case "maintenance":
            acts = [_act(chance, shape, IN_MAINTENANCE, 7.0) for _ in range(chance.randint(1, 3))]
        case _:
            acts = [_act(chance, shape, IN_STANDBY, 12.0) for _ in range(chance.randint(1, 3))]
    return Round(kind, wait, tuple(acts))


def _of_use(shape: str) -> tuple[str, ...]:
    """All faults but those of what this cluster does not have; what is rarely asked is broken more often."""
    devices = any(n.fence for n in cluster_of(shape).nodes)
    left_out = set() if devices else {"break_device", "cut_off_unfenced"}
    left_out |= set() if shape in BY_HAND else {"confirm"}
    more = ("break_device", "cut_off_unfenced", "cut_off_unfenced") if devices else ()
    return (*(name for name in FAULTS if name not in left_out), *more)


def _act(chance: random.Random, shape: str, choices: tuple[str, ...], after: float) -> Act:
    cluster = cluster_of(shape)
    name = chance.choice(choices)
    # Most faults are of interest on the node that runs the group.
    groups = [f"@{g.name}" for g in cluster.groups]
    node = chance.choice((*(n.name for n in cluster.nodes), *groups, *groups))
    return Act(name, node, DRAWS[name](chance, cluster), round(after * chance.uniform(0.2, 1.5), 2))


def live(sim: SimCluster, script: Script) -> None:
    """Raises ViolationError when the cluster does what it must not."""
    for machine in sim.machines.values():
        machine.power_on()
    sim.run_until(sim.healthy, FORMED_S, "blank machines become a running pair")
    kinds: dict[str, Callable[[SimCluster, Round], None]] = {
        "chaos": _chaos,
        "single": _single,
        "unnoticed": _unnoticed,
        "maintenance": _maintenance,
        "standby": _standby,
    }
    for each in script.rounds:
        sim.run_for(each.wait)
        kinds[each.kind](sim, each)
        _recover(sim)


def _hit(sim: SimCluster, act: Act) -> str:
    """Returns the node that was hit."""
    node = act.node
    if node.startswith("@"):
        node = next(iter(sim.serving(node[1:])), sim.cluster.workers[0].name)
    sim.story.tell("fault", "{} {} on {}", act.fault.replace("_", " "), act.values or "", node)
    sim.machines[node].guard(lambda: FAULTS[act.fault](sim, node, *act.values))
    sim.run_for(act.after)
    return node


def _chaos(sim: SimCluster, each: Round) -> None:
    """Several faults, one on the heels of the other."""
    for act in each.acts:
        _hit(sim, act)


def _single(sim: SimCluster, each: Round) -> None:
    """Invariant 4: one fault, nobody puts it right, and yet the service runs on, or again."""
    shots = sum(d.shots for d in sim.devices.values())
    for act in each.acts:
        node = _hit(sim, act)
        sim.run_for(3.0)
        if act.fault == "jam":
            sim.run_until(lambda: not _jammed(sim), JAMMED_S, "a node that cannot stop its group is reset")
        if act.fault == disk_faults.hang_disk.__name__:
            sim.run_until(lambda: not _waits_for_a_disk(sim), HUNG_S, "nothing waits for a disk that hangs")
        _comes_to_an_end(sim, act, node)
    sim.run_until(sim.served, SINGLE_S, "the service runs again after one fault")
    if sim.devices:
        # Invariant 5: what is switched on again is not shot again.
        sim.run_for(QUIET_S)
        sim.judge.shots(sum(d.shots for d in sim.devices.values()) - shots)
    _sound(sim)


def _comes_to_an_end(sim: SimCluster, act: Act, node: str) -> None:
    """A machine that is shut down is off before systemd loses its patience (`faults.shut_down`)."""
    machine, process = sim.machines[node], sim.sites[node].process
    if act.fault == "shut_down" and process is not None and process.core.leaving:
        sim.run_until(lambda: not machine.powered, SINGLE_S, "a machine that is shut down is off soon")


def _jammed(sim: SimCluster) -> bool:
    """Somebody runs what the record says it must not."""
    records = [s.process.core.view.record for s in sim.sites.values() if s.process is not None]
    return any(_runs(sim, node) for record in records for node in record.standby)


def _waits_for_a_disk(sim: SimCluster) -> bool:
    """A Primary's own disk hangs, or that of the peer which it is connected to."""
    return any(
        side.role == "Primary" and (side.stalls or (side.connected and pair.peer(side).stalls))
        for pair in sim.pairs.values()
        for side in pair.sides.values()
    )


def _unnoticed(sim: SimCluster, each: Round) -> None:
    """Invariant 7: a restart of a supervisor touches no running service."""
    sim.judge.untouchable = True
    for act in each.acts:
        _hit(sim, act)
    sim.run_for(25.0)
    sim.run_until(sim.healthy, 30.0, "the restarted supervisor takes part again")
    sim.judge.untouchable = False


def _maintenance(sim: SimCluster, each: Round) -> None:
    """Invariant 6: whatever happens to services and supervisors, in maintenance nothing is touched."""
    if not _set_maintenance(sim, True):
        return
    sim.run_until(lambda: sim.all_know(lambda r: r.maintenance), 10.0, "all know of the maintenance")
    sim.judge.maintenance = True
    for act in each.acts:
        _comes_to_an_end(sim, act, _hit(sim, act))
    sim.run_for(20.0)
    sim.judge.maintenance = False
    sim.run_until(lambda: _maintenance_over(sim), 30.0, "there is quorum to end maintenance")


def _maintenance_over(sim: SimCluster) -> bool:
    """Who was shut down has to be switched on for that."""
    repair.attend(sim)
    return _set_maintenance(sim, False)


def _set_maintenance(sim: SimCluster, on: bool) -> bool:
    change = SetMaintenance("", on)
    return any(faults.wish(sim, n, change, f"switches maintenance {'on' if on else 'off'}") for n in sim.sites)


def _standby(sim: SimCluster, each: Round) -> None:
    """Invariant 6: a node in standby runs nothing, whatever it or the others go through."""
    group = sim.cluster.groups[0].name
    (node,) = sim.serving(group)
    boots = sim.machines[node].boots
    faults.standby(sim, node)
    sim.run_until(
        lambda: sim.served() and not _runs(sim, node) and sim.all_know(lambda r: node in r.standby),
        SINGLE_S,
        "the service leaves a node in standby",
    )
    sim.judge.planned(node, resets=sim.machines[node].boots - boots)
    sim.judge.standby.add(node)
    for act in each.acts:
        _hit(sim, act)
    sim.judge.standby.clear()


def _runs(sim: SimCluster, node: str) -> bool:
    return any(node in sim.holders(g.name) for g in sim.cluster.groups)


def _recover(sim: SimCluster) -> None:
    """Put right what is wrong; then all has to be as before, within the bound."""
    repair.heal(sim)
    sim.run_until(lambda: _healthy_by_and_by(sim), HEALED_S, "healthy after all was put right")
    _sound(sim)


def _sound(sim: SimCluster) -> None:
    """No acknowledged write is lost, and what is on record is right."""
    newest = max((m.record for m in sim.machines.values()), key=lambda record: record.stamp)
    for pair in sim.pairs:
        sim.judge.intact(pair)
        sim.judge.on_record(pair, newest.current.get(pair, ()))


def _healthy_by_and_by(sim: SimCluster) -> bool:
    """Wishes of the round before may come true late, so health is wished for until it is there."""
    if sim.healthy():
        return True
    repair.attend(sim)
    repair.wish_for_health(sim)
    return False
