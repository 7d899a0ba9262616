# SPDX-License-Identifier: GPL-2.0-or-later
"""Lets the acts happen to the staged cluster, and watches what becomes of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from appliance.config.model import Address
from appliance.decide import Decision
from appliance.decide.view import Record
from appliance.rehearsal.acts import Act
from appliance.rehearsal.narrate import Line, Narrator
from appliance.rehearsal.stage import Stage
from appliance.rehearsal.state import LiveState
from appliance.sim.judge import ViolationError

# How finely it is watched who serves a group.
FINE_S = 0.1
# A cluster that has not come to rest by then is left as it is.
LONGEST_S = 900.0
# As supervisor/links.py: how often it is looked what can be reached, and how often that has to fail.
LOOK_S, MISSES = 3.0, 3


@dataclass
class GroupFate:
    """``away``: from when to when (None: to the end) nobody served it; ``reason``: as `pairkeep why` says it."""

    name: str
    before: str | None
    node: str | None
    away: list[tuple[float, float | None]] = field(default_factory=list)
    reason: str = ""
    nodes: dict[str, str] = field(default_factory=dict)

    def away_s(self, end: float) -> float:
        return sum((until if until is not None else end) - since for since, until in self.away)


@dataclass(frozen=True)
class Outcome:
    """``newest``: per DRBD resource who holds the newest data in the end; ``violation``: what must never be, and
    yet came out.

    ``unmeasured``: steps of which no node had a figure, with what was assumed; ``rested``: nothing was going on
    any more in the end.
    """

    acts: tuple[str, ...]
    lines: tuple[Line, ...]
    groups: tuple[GroupFate, ...]
    newest: dict[str, tuple[str, ...]]
    assumed: tuple[str, ...]
    unmeasured: dict[str, float]
    violation: str | None
    rested: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Every group runs where clients reach it, and no data is lost."""
        return self.violation is None and all(group.node for group in self.groups)


def rehearse(state: LiveState, acts: Sequence[Act]) -> Outcome:
    """Raises InputError for an act that makes no sense at its moment."""
    return _Play(state).run(acts)


class _Play:
    def __init__(self, state: LiveState) -> None:
        self.state = state
        self.stage = Stage(state)
        self.sim = self.stage.sim
        self.narrator = Narrator(self.sim.story, self.stage.began)
        self.groups = [GroupFate(g.name, now := self._serving(g.name), now) for g in state.cluster.groups]
        for group in self.groups:
            if group.node is None:
                group.away.append((0.0, None))
        # What was out of reach in the beginning has been so for long enough.
        self._misses = {(n, name): MISSES for n, r in state.view.reports.items() for name in r.unreached}
        self.sim.clock.after(LOOK_S, self._look)

    @property
    def now(self) -> float:
        return self.sim.clock.now - self.stage.began

    def run(self, acts: Sequence[Act]) -> Outcome:
        violation, rested = None, True
        try:
            for act in acts:
                rested = self._rest() if act.after_s is None else self._pass(act.after_s)
                act.do(self.sim)
                self._watch()
            rested = self._rest()
            for name in self.sim.pairs:
                self.sim.judge.intact(name)
        except ViolationError as found:
            violation = str(found)
        self.narrator.listen()
        self._reasons()
        return Outcome(
            tuple(act.text for act in acts),
            tuple(self.narrator.lines),
            tuple(self.groups),
            self._newest(),
            tuple(self.stage.assumed),
            self._unmeasured(),
            violation,
            rested,
            round(self.now, 1),
        )

    def _pass(self, seconds: float) -> bool:
        end = self.sim.clock.now + seconds
        while self.sim.clock.now < end - FINE_S / 2:
            self.sim.run_for(FINE_S)
            self._watch()
        return True

    def _rest(self) -> bool:
        """Let time pass until nothing new happens for longer than any safety wait; False when that never is."""
        quiet_s = self.state.cluster.safety_wait_s + 3.0
        since = self.now
        while self.now - max(since, self.narrator.last_news) < quiet_s or self._busy():
            if self.now - since > LONGEST_S:
                return False
            self._pass(1.0)
        return True

    def _busy(self) -> bool:
        """Something will end by itself: a boot, a resync, a pause, a step that takes its time."""
        machines = self.sim.machines.values()
        booting = any(m.powered and not m.booted for m in machines)
        syncing = any(p.first.connection.startswith("Sync") for p in self.sim.pairs.values())
        cores = [s.process.core for s in self.sim.sites.values() if s.process is not None]
        working = any(core.works_on(group.name) for core in cores for group in self.groups)
        return booting or syncing or working or any(m.paused for m in machines)

    def _watch(self) -> None:
        self.narrator.listen()
        for group in self.groups:
            node = self._serving(group.name)
            if node == group.node:
                continue
            if node is None:
                group.away.append((self.now, None))
                self.narrator.say(group.name, "does not answer any more")
            elif group.node is None:
                group.away[-1] = (group.away[-1][0], self.now)
                self.narrator.say(group.name, f"answers again, on {node}")
            group.node = node

    def _serving(self, group: str) -> str | None:
        """Where clients get an answer: it runs there, and none of its addresses is behind a pulled cable."""
        links = {r.link for r in self.state.cluster.group(group).resources if isinstance(r, Address)}
        for node in self.sim.serving(group):
            if not any((link, node) in self.sim.network.cut for link in links):
                return node
        return None

    # What nodes have to reach -------------------------------------------------------------------------

    def _look(self) -> None:
        self.sim.clock.after(LOOK_S, self._look)
        for worker in self.state.cluster.workers:
            process = self.sim.sites[worker.name].process
            if process is None or not self.sim.machines[worker.name].running:
                continue
            missed = [name for name in self.stage.behind if self._missed(worker.name, name)]
            missed += [name for name in self.stage.out_of_reach.get(worker.name, ()) if name not in missed]
            self.sim.machines[worker.name].guard(partial(process.core.on_reached, missed))

    def _missed(self, node: str, name: str) -> bool:
        gone = (self.stage.behind[name], node) in self.sim.network.cut
        self._misses[node, name] = self._misses.get((node, name), 0) + 1 if gone else 0
        return self._misses[node, name] >= MISSES

    # Afterwards -------------------------------------------------------------------------------------

    def _decision(self) -> tuple[Decision, Record] | None:
        """Of a supervisor that has quorum, or else of any."""
        cores = [s.process.core for s in self.sim.sites.values() if s.process is not None and s.machine.running]
        cores.sort(key=lambda core: not core.quorate)
        return (cores[0].decision, cores[0].view.record) if cores else None

    def _reasons(self) -> None:
        found = self._decision()
        for group in self.groups:
            if found is None:
                group.reason = "no supervisor runs"
                continue
            placement = found[0].placements[group.name]
            group.reason, group.nodes = placement.reason, dict(placement.nodes)
            runs = next(iter(self.sim.serving(group.name)), None)
            if group.node is None and runs is not None:
                group.reason += "; but the cable to its address's network is unplugged there"

    def _newest(self) -> dict[str, tuple[str, ...]]:
        """By the newest record on any disk, also when no machine has power."""
        return dict(max((m.record for m in self.sim.machines.values()), key=lambda r: r.stamp).current)

    def _unmeasured(self) -> dict[str, float]:
        done: dict[str, float] = {}
        for node, step, seconds in self.narrator.steps:
            if step not in self.state.took(node) and step.split()[0] in ("start", "stop"):
                done[step] = round(seconds, 1)
        return done
