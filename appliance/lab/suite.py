# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs cases of the table (faults.py), each on a restored pair with a client, and judges them."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab import fault_results, topology
from appliance.lab.fault_results import Result
from appliance.lab.pair import SERVICE_ADDRESS
from appliance.lab.scenes import Case, Moment, Outcome, Scene
from appliance.lab.spec import Topology
from appliance.lab.trial import POLL_S, Status, Trial, keep_evidence, paired, reason, running_on, trial
from appliance.lab.writer import Acknowledged, longest_outage

LAB = "faults"
ROWS = 30
# What seems to stay may still be about to move: a cut-off machine's watchdog takes most of this.
HOLD_S = 20.0
# A client that gets its answers got one within this time.
FLOWING_S = 2.0
# After the fault is undone: a machine boots, connects and catches up.
REPAIRED_S = 300.0
_IDLE_S = 2.0
_PAUSE_S = 0.4
_FILLER = "/srv/mysql/pairkeep-lab-resync"
_FILLER_MIB = 24


@dataclass(frozen=True)
class How:
    """``fenced``: on a pair with BMCs. ``patience``: how many times longer than usual everything may take.

    ``resume``: what an earlier run on the same cluster has done already counts.
    """

    repeat: int = 1
    fenced: bool = False
    patience: float = 1.0
    resume: bool = False


def run(chosen: Sequence[Case], how: How, progress: Progress) -> list[Result]:
    """Each case so often, each on a pair of its own. The table is kept as far as it got (fault_results.py)."""
    machines = topology.TOPOLOGIES["fenced" if how.fenced else "pair"](progress)
    cluster = machines.key()
    results = fault_results.load(cluster) if how.resume else []
    done = Counter(result.case for result in results)
    for number in range(how.repeat):
        for case in chosen:
            if done[case.name] > number:
                continue
            nth = f", run {number + 1} of {how.repeat}" if how.repeat > 1 else ""
            with progress.phase(f"{case.name}{nth}: {case.fault.summary}"):
                results.append(one(case, machines, progress, how.patience))
            last = results[-1]
            outage = "" if last.outage_s is None else f", outage {last.outage_s:.1f} s"
            progress.note(f"  {last.found}{outage}{f'; WRONG: {last.wrong}' if last.wrong else ''}")
            fault_results.save(cluster, results)
    return results


def one(case: Case, machines: Topology, progress: Progress, patience: float) -> Result:
    """Run ``case`` once on a restored pair; what a failure leaves is in `evidence_folder`."""
    with trial(LAB, progress, machines) as pair:
        result = play(pair, case, patience)
        if result.wrong:
            keep_evidence(pair, evidence_folder(case))
        return result


def play(pair: Trial, case: Case, patience: float = 1.0) -> Result:
    """Let ``case`` happen to ``pair``. Raises nothing for what the pair does wrong: the result tells it."""
    active, standby = pair.begin(ROWS)
    scene = Scene(pair, active, standby)
    stage = STAGES[case.moment](scene)
    next(stage)
    struck_at = time.time()
    case.fault.inject(scene)
    next(stage)
    if case.fault.lasts_s is not None:
        time.sleep(case.fault.lasts_s)
        _undo(scene, case)
    found = _outcome(scene, case, struck_at, patience)
    # One that has not ended counts up to now.
    rows = [*pair.rows, Acknowledged(0, time.time())]
    steady = case.moment != Moment.IDLE and case.expected.serves
    outage_s = longest_outage(rows, since=struck_at).seconds if steady else None
    if case.fault.lasts_s is None:
        _undo(scene, case)
    for _ in stage:
        pass
    wrong = "" if _fits(found, case.expected) else f"expected: {case.expected}"
    began = time.monotonic()
    repaired_s = None
    try:
        pair.wait("the service runs and both disks are UpToDate", _whole, timeout_s=REPAIRED_S * patience)
        repaired_s = round(time.monotonic() - began, 1)
        pair.wait_rows(ROWS, timeout_s=60 * patience)
        verdict = pair.finish()
    except PairkeepError as error:
        pair.stop()
        wrong = f"{wrong}; after it was undone: {error}".lstrip("; ")[:1500]
        return _result(case, found, outage_s=outage_s, rows_acknowledged=len(pair.rows), wrong=wrong)
    if not verdict.sound:
        wrong += f"; rows lost: {len(verdict.lost)}; both Primary for {verdict.both_primary_s:.1f} s"
    return _result(
        case,
        found,
        outage_s=outage_s,
        repaired_s=repaired_s,
        rows_acknowledged=verdict.acknowledged,
        rows_lost=len(verdict.lost),
        both_primary_s=verdict.both_primary_s,
        wrong=wrong.lstrip("; "),
    )


def _result(
    case: Case,
    found: str,
    *,
    outage_s: float | None = None,
    repaired_s: float | None = None,
    rows_acknowledged: int = 0,
    rows_lost: int | None = None,
    both_primary_s: float | None = None,
    wrong: str,
) -> Result:
    return Result(
        fault=case.fault.name,
        moment=case.moment.value,
        expected=case.expected.value,
        found=found,
        outage_s=None if outage_s is None else round(outage_s, 2),
        repaired_s=repaired_s,
        rows_acknowledged=rows_acknowledged,
        rows_lost=rows_lost,
        both_primary_s=both_primary_s,
        wrong=wrong,
    )


def _whole(status: Status) -> bool:
    return running_on(status) is not None and paired(status)


def _outcome(scene: Scene, case: Case, struck_at: float, patience: float) -> str:
    """The expected outcome as soon as it is seen, or what is seen in the end, in words.

    What does not move at all has to last for HOLD_S (times ``patience``, as all bounds).
    """
    deadline = time.time() + case.fault.bound_s * patience
    while True:
        status = scene.pair.status()
        held = time.time() - struck_at > HOLD_S * patience
        found = _seen(scene, case, status)
        if _fits(found, case.expected) and (found == Outcome.MOVES or held):
            return found
        if time.time() > deadline:
            return found
        time.sleep(POLL_S)


def _fits(found: str, expected: Outcome) -> bool:
    return found == expected or (expected == Outcome.RUNS and found in (Outcome.MOVES, Outcome.STAYS))


def _seen(scene: Scene, case: Case, status: Status) -> str:
    """What ``status`` and the client's log amount to: a value of Outcome where it is one."""
    here = running_on(status)
    rows = scene.pair.rows
    flowing = bool(rows) and time.time() - rows[-1].at < FLOWING_S
    if here is not None and flowing:
        return Outcome.STAYS if here == scene.active.name else Outcome.MOVES
    if here is not None:
        return f"runs on {here}, but the client gets no answer"
    why = reason(status)
    if not case.expected.serves and case.fault.says in why:
        return case.expected
    return f"does not run: {why or 'nobody answers'}"


def _undo(scene: Scene, case: Case) -> None:
    """Repair what was broken, as far as the machines still let us: some have been reset meanwhile."""
    for machine in scene.pair.lab.machines:
        if machine.state() == "paused":
            machine.resume()
    scene.pair.lab.heal()
    if case.fault.undo is not None:
        with contextlib.suppress(PairkeepError):
            case.fault.undo(scene)
    for machine in scene.pair.lab.machines:
        if machine.state() == "off":
            machine.power_on()


Stage = Iterator[None]
"""First step: until the fault may strike. Second: right after it. Then: when all is undone."""


def _idle(scene: Scene) -> Stage:
    scene.pair.pause_writer()
    time.sleep(_IDLE_S)
    yield
    time.sleep(_IDLE_S)
    scene.pair.resume_writer()
    yield


def _writes(_: Scene) -> Stage:
    yield
    yield


def _resync(scene: Scene) -> Stage:
    for machine in scene.workers:
        # So slow that it is still under way when everything else has happened.
        slowly = ("--c-plan-ahead=0", "--resync-rate=300k", "--c-min-rate=0")
        machine.exec(["drbdsetup", "disk-options", "0", *slowly])
    scene.standby.unplug(2)
    scene.pair.wait("the copy is old", lambda s: s["drbd"][0]["current"] == [scene.active.name])
    fill = ["dd", "if=/dev/urandom", f"of={_FILLER}", "bs=1M", f"count={_FILLER_MIB}", "conv=fsync"]
    scene.active.exec(fill, timeout_s=120)
    scene.standby.plug(2)
    scene.pair.wait("the copy is brought up to date", lambda s: _disk(s, scene.standby.name) == "Inconsistent")
    yield
    yield
    for machine in scene.workers:
        with contextlib.suppress(PairkeepError):
            machine.exec(["drbdadm", "adjust", "shopdata"], check=False)


def _switchover(scene: Scene) -> Stage:
    scene.pair.order_switchover(scene.standby.name)
    scene.pair.lab.wait_for(
        "the switchover interrupts the client", lambda: _interrupted(scene), timeout_s=30, poll_s=0.05
    )
    yield
    yield


def _interrupted(scene: Scene) -> bool:
    """The client waits, and not because the host is busy: the address, which is stopped first, has left."""
    if time.time() - scene.pair.rows[-1].at < _PAUSE_S:
        return False
    shown = scene.active.exec(["ip", "-oneline", "address", "show", "to", SERVICE_ADDRESS])
    return not shown.stdout.strip()


STAGES: Mapping[Moment, Callable[[Scene], Stage]] = {
    Moment.IDLE: _idle,
    Moment.WRITES: _writes,
    Moment.RESYNC: _resync,
    Moment.SWITCHOVER: _switchover,
}


def _disk(status: Status, node: str) -> str:
    return next((str(d["nodes"][node]["disk"]) for d in status["drbd"] if node in d["nodes"]), "")


def evidence_folder(case: Case) -> Path:
    return fault_results.folder() / "failed" / case.name
