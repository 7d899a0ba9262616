# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks: each writes ``build/bench/NAME.json`` and compares within one run, side by side."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.build import folders
from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab import by_hand
from appliance.lab.machine import Machine
from appliance.lab.outage import Breakdown, breakdown
from appliance.lab.spec import Topology
from appliance.lab.trial import Trial, events, trial
from appliance.lab.writer import longest_outage

LAB = "bench"
ROWS = 100
Figures = dict[str, Any]


def summary(values: Iterable[float]) -> dict[str, float]:
    """Least, median and most, to three places."""
    found = list(values)
    return {
        "min": round(min(found), 3),
        "median": round(statistics.median(found), 3),
        "max": round(max(found), 3),
        "runs": len(found),
    }


def save(name: str, figures: Figures) -> Path:
    folder = folders.build_folder() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    return path


@dataclass(frozen=True)
class Run:
    """One scenario that lost nothing: rows acknowledged, the client's outage, and its parts where known."""

    acknowledged: int
    outage_s: float
    parts: Breakdown | None = None


def power_cut(lab: str, progress: Progress, rows: int, machines: Topology | None = None) -> Run:
    """Cut the power of the active machine after ``rows`` rows. Raises PairkeepError when one is lost."""
    with trial(lab, progress, machines) as pair:
        active = pair.active
        survivor = pair.other(active)
        pair.start()
        pair.wait_rows(rows)
        cut_at = time.time()
        active.power_off()
        pair.wait_running(survivor.name)
        pair.wait_rows(20)
        acknowledged = _sound(pair)
        parts = breakdown(cut_at, active.name, pair.rows, events(pair, survivor.name))
        return Run(acknowledged, parts.total, parts)


def service_killed(lab: str, progress: Progress, rows: int, machines: Topology | None = None) -> Run:
    """Kill mariadbd; it is restarted in place."""
    with trial(lab, progress, machines) as pair:
        pair.start()
        pair.wait_rows(rows)
        killed_at = time.time()
        pair.active.kill_process("mariadbd")
        pair.wait_rows(50)
        return Run(_sound(pair), longest_outage(pair.rows, since=killed_at).seconds)


def switchover(lab: str, progress: Progress, rows: int, machines: Topology | None = None) -> Run:
    """Move the group on purpose."""
    with trial(lab, progress, machines) as pair:
        target = pair.other(pair.active).name
        pair.start()
        pair.wait_rows(rows)
        ordered_at = time.time()
        pair.lab["witness"].exec(["pairkeep", "switchover", "shop", target], timeout_s=180)
        pair.wait_rows(50)
        return Run(_sound(pair), longest_outage(pair.rows, since=ordered_at).seconds)


SCENARIOS: dict[str, Callable[[str, Progress, int, Topology | None], Run]] = {
    "power-cut": power_cut,
    "service-killed": service_killed,
    "switchover": switchover,
}


def _sound(pair: Trial) -> int:
    """The number of rows acknowledged, all of which are there."""
    verdict = pair.finish()
    if not verdict.sound:
        raise PairkeepError(f"rows lost: {verdict.lost}; both Primary for {verdict.both_primary_s} s")
    return verdict.acknowledged


def failover(runs: int, progress: Progress) -> Figures:
    """Takeover by Pairkeep and by the hand-written script, in turns on the same snapshot."""
    ours: list[Figures] = []
    script: list[Figures] = []
    for number in range(1, runs + 1):
        with progress.phase(f"run {number} of {runs}: Pairkeep"):
            parts = power_cut(LAB, progress, ROWS).parts
            ours += [parts.as_json()] if parts is not None else []
        with progress.phase(f"run {number} of {runs}: script"), trial(LAB, progress) as pair:
            script.append(_script_run(pair))
    mine = {phase: summary(run[phase] for run in ours) for phase in ours[0]}
    theirs = {phase: summary(run[phase] for run in script) for phase in script[0]}
    ratio = mine["takeover"]["median"] / theirs["takeover"]["median"]
    return {"pairkeep": mine, "script": theirs, "ratio_takeover": round(ratio, 3)}


def _script_run(pair: Trial) -> Figures:
    active = pair.active
    survivor = pair.other(active)
    # The same client and the same watching as in our own run.
    pair.start()
    pair.wait_rows(ROWS)
    by_hand.prepare(survivor)
    active.power_off()
    by_hand.wait_gone(survivor, 15)
    phases = by_hand.take_over(survivor, peer_dead=True)
    pair.stop()
    return phases


def planned(runs: int, progress: Progress) -> Figures:
    """Outages that need no safety wait, by Pairkeep and by hand in turns: a killed service, a switchover.

    Each is had twice on a restored pair. An emulator translates a program when it first runs and has forgotten
    all of it after a restore, so the first time is one that no real machine has; both are told.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in PLANNED}
    for number in range(1, runs + 1):
        for name, (ours, by_script) in PLANNED.items():
            for whose, do_it in (("pairkeep", ours), ("script", by_script)):
                with progress.phase(f"run {number} of {runs}: {name}, {whose}"), trial(LAB, progress) as pair:
                    for time_of, outage in zip(("", "_first"), reversed(do_it(pair)), strict=True):
                        found[name].setdefault(whose + time_of, []).append(outage)
    return {
        name: {
            **{key: summary(values) for key, values in sorted(outages.items())},
            **{
                f"ratio{time_of}": round(
                    statistics.median(outages[f"pairkeep{time_of}"])
                    / statistics.median(outages[f"script{time_of}"]),
                    3,
                )
                for time_of in ("", "_first")
            },
        }
        for name, outages in found.items()
    }


def _two_outages(pair: Trial, do_it: Callable[[], None]) -> tuple[float, float]:
    """The client's outages when ``do_it`` is done for the first and for the second time, in seconds."""
    pair.start()
    outages = []
    for _ in range(2):
        pair.wait_rows(ROWS)
        began = time.time()
        do_it()
        pair.wait_rows(50)
        outages.append(longest_outage(pair.rows, since=began).seconds)
    return outages[0], outages[1]


def _kills(pair: Trial) -> tuple[float, float]:
    def kill() -> None:
        pair.active.kill_process("mariadbd")
        pair.wait_rows(1)
        pair.wait_running()

    outages = _two_outages(pair, kill)
    _sound(pair)
    return outages


def _switchovers(pair: Trial) -> tuple[float, float]:
    def switch() -> None:
        target = pair.other(pair.active).name
        pair.lab["witness"].exec(["pairkeep", "switchover", "shop", target], timeout_s=180)

    outages = _two_outages(pair, switch)
    _sound(pair)
    return outages


def _kills_by_hand(pair: Trial) -> tuple[float, float]:
    active, _other = _prepared(pair)
    outages = _two_outages(pair, lambda: by_hand.restart(active))
    pair.stop()
    return outages


def _switchovers_by_hand(pair: Trial) -> tuple[float, float]:
    sides = list(_prepared(pair))

    def switch() -> None:
        by_hand.release(sides[0])
        sides.reverse()
        by_hand.take_over(sides[0], peer_dead=False)

    outages = _two_outages(pair, switch)
    pair.stop()
    return outages


def _prepared(pair: Trial) -> tuple[Machine, Machine]:
    """The active machine and the other one, both without a cluster manager."""
    active = pair.active
    other = pair.other(active)
    by_hand.prepare(other)
    by_hand.prepare(active)
    return active, other


Twice = Callable[[Trial], tuple[float, float]]
PLANNED: dict[str, tuple[Twice, Twice]] = {
    "service-killed": (_kills, _kills_by_hand),
    "switchover": (_switchovers, _switchovers_by_hand),
}


def idle(seconds: float, progress: Progress) -> Figures:
    """What the supervisor takes on each machine while nothing happens: resident memory, share of a core."""
    with trial(LAB, progress) as pair:
        machines = pair.lab.machines
        with progress.phase(f"watching the supervisors for {seconds:.0f} s"):
            before = {m.name: _used(pair, m.name) for m in machines}
            time.sleep(seconds)
            after = {m.name: _used(pair, m.name) for m in machines}
    return {
        name: {
            "resident_mib": round(after[name]["rss_kib"] / 1024, 1),
            "core_percent": round(
                100
                * (after[name]["cpu_s"] - before[name]["cpu_s"])
                / (after[name]["uptime_s"] - before[name]["uptime_s"]),
                2,
            ),
        }
        for name in after
    }


def _used(pair: Trial, machine: str) -> dict[str, float]:
    # What the parent and its child share is counted once: by proportional shares (proc(5), smaps_rollup).
    script = (
        "cat /proc/uptime; systemctl show -P CPUUsageNSec pairkeep.service; "
        "for pid in $(cat /sys/fs/cgroup/system.slice/pairkeep.service/cgroup.procs); do "
        "grep ^Pss: /proc/$pid/smaps_rollup; done"
    )
    uptime, cpu_ns, *shares = pair.lab[machine].exec(["sh", "-c", script]).stdout.splitlines()
    return {
        "uptime_s": float(uptime.split()[0]),
        "rss_kib": sum(float(share.split()[1]) for share in shares),
        "cpu_s": int(cpu_ns) / 1e9,
    }
