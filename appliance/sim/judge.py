# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges a simulated history: what must never have happened, whatever failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from appliance.decide.steps import Start, Step, Stop
from appliance.decide.view import NEVER

if TYPE_CHECKING:
    from appliance.sim.disks import Pair
    from appliance.sim.site import Site


class ViolationError(Exception):
    """An invariant does not hold. ``rule`` names it, whatever nodes and numbers the text is about."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


# A machine that stood still for longer than the safety wait wakes up as a second Primary, and only a
# fence device could prevent that. What DRBD has to prevent is an acknowledged write; and after so many
# seconds of being awake the machine must have stopped, or been reset.
AWAKE_S = 25.0


class Judge:
    """The invariants of the design by number. `Site`s and pairs tell it what happens."""

    def __init__(self) -> None:
        self.sites: Mapping[str, Site] = {}
        self.pairs: Mapping[str, Pair] = {}
        self.acknowledged: dict[str, set[int]] = {}
        self.maintenance = False
        self.standby: set[str] = set()
        self.untouchable = False
        self._woken: dict[tuple[str, str], float] = {}

    def promoted(self, pair: str, node: str) -> None:
        """Invariants 1 and 2."""
        for other in self._primaries(pair):
            if other == node:
                continue
            if not (self.sites[other].machine.paused or self._slept(other)):
                raise ViolationError("two Primaries", f"{node} is promoted while {other} is Primary of {pair}")
            self._woken[other, pair] = AWAKE_S
        lacking = self._lacking(pair, node)
        if lacking:
            raise ViolationError("stale data", f"{node} is promoted, and lacks {lacking} acknowledged writes")

    def given_up(self, pair: str, kept: set[int]) -> None:
        """A person has said, and confirmed, that all but ``kept`` is lost (invariant 2 allows that alone)."""
        self.acknowledged.get(pair, set()).intersection_update(kept)

    def mounted(self, node: str, target: str) -> None:
        """Invariant 1."""
        for other, site in self.sites.items():
            mounted = f"filesystem:{target}" in site.resources.on
            if other != node and mounted and not self._excused(other):
                raise ViolationError("mounted twice", f"{node} mounts {target} while it is mounted on {other}")

    def acknowledge(self, pair: str, node: str, write: int) -> None:
        """Invariant 3, for every Primary that a client could read from, and for every majority to come."""
        self.acknowledged.setdefault(pair, set()).add(write)
        side = self.pairs[pair].sides[node]
        peer = self.pairs[pair].peer(side)
        # A connected peer that loses its disk is no question for the kernel: it goes on at once. The target of a
        # resync is inconsistent by its own word.
        lacks = write not in peer.disk_md.writes and peer.disk_md.consistent
        if lacks and not side.connected and node not in self._asleep(pair):
            self._on_majority(pair, node, peer.name)
        for other in self._primaries(pair):
            if (other, pair) not in self._woken and not self._reads(pair, other, write):
                text = f"{node} acknowledged write {write}, which Primary {other} lacks"
                raise ViolationError("diverged", text)

    def _asleep(self, pair: str) -> set[str]:
        return {name for name, which in self._woken if which == pair}

    def _on_majority(self, pair: str, node: str, peer: str) -> None:
        """So many disks say that ``peer`` lacks writes that no majority of those with a record can miss it."""
        records = [s.machine.record for s in self.sites.values()]
        knows = [r for r in records if peer not in r.current.get(pair, (peer,))]
        could_miss = [r for r in records if r not in knows and r.stamp > NEVER]
        if 2 * len(could_miss) > len(records) and not (self.sites[node].cluster.two_node and knows):
            text = f"{node} acknowledges a write that {peer} lacks, and {len(knows)} nodes have it on record"
            raise ViolationError("not on record", text)

    def began(self, node: str, step: Step) -> None:
        """Invariants 6 and 7."""
        if not isinstance(step, Start | Stop):
            return
        process = self.sites[node].process
        off = isinstance(step, Stop) and process is not None and process.core.leaving
        if self.maintenance and process is not None and process.core.quorate and not off:
            raise ViolationError("maintenance", f"{node} begins {step} although maintenance is set")
        if isinstance(step, Start) and node in self.standby:
            raise ViolationError("standby", f"{node} begins {step} although it is in standby")
        if isinstance(step, Start):
            self._alone(node, step.group)
        self._in_order(node, step)
        if self.untouchable:
            raise ViolationError("untouched", f"{node} begins {step}, and only a supervisor was restarted")

    @staticmethod
    def shots(number: int) -> None:
        """Invariant 5, after a single fault."""
        if number > 1:
            raise ViolationError("fencing loop", f"nodes were switched off {number} times after one fault")

    @staticmethod
    def planned(node: str, *, resets: int) -> None:
        """Invariant 4: what is moved on purpose stops in order."""
        if resets:
            raise ViolationError("reset for nothing", f"{node} was reset although it only had to stop its groups")

    def _alone(self, node: str, group: str) -> None:
        """Invariant 1, before anything is started: nothing of the group is up or starts elsewhere."""
        for other, site in self.sites.items():
            if other == node or not site.machine.running or self._excused(other) or self._slept(other):
                continue
            starts = site.process is not None and site.process.core.starts(group)
            if starts or site.resources.any_up(group):
                what = "starts it" if starts else "has it"
                raise ViolationError("started twice", f"{node} starts {group} while {other} {what}")

    def _in_order(self, node: str, step: Start | Stop) -> None:
        """A group starts after those that it names, and goes before them, where anybody decides about them."""
        process = self.sites[node].process
        if process is None or not process.core.quorate or self._slept(node):
            return
        core = process.core
        if isinstance(step, Start):
            for name in core.cluster.group(step.group).after:
                if not any(site.resources.any_up(name) for site in self.sites.values()):
                    raise ViolationError("order", f"{node} starts {step.group}, and {name} runs nowhere")
        elif core.decision.placements[step.group].node != node:
            for later in (g.name for g in core.cluster.groups if step.group in g.after):
                if self.sites[node].resources.any_up(later):
                    raise ViolationError("order", f"{node} gives {step.group} away while {later} runs there")

    def _excused(self, node: str) -> bool:
        """It woke up as a second Primary and has not noticed yet."""
        return any(name == node for name, _pair in self._woken)

    def _slept(self, node: str) -> bool:
        """It stood still a short while ago, so the others may have believed it dead."""
        machine = self.sites[node].machine
        return machine.clock.now - machine.resumed_at <= self.sites[node].cluster.safety_wait_s

    def look(self, pair: str, seconds: float) -> None:
        """Called every ``seconds``: a machine that woke up as a second Primary must not stay one."""
        primaries = self._primaries(pair)
        if len(primaries) < 2 and not self._woken:
            return
        for node, which in list(self._woken):
            if which != pair:
                continue
            if node not in primaries or len(primaries) == 1:
                del self._woken[node, pair]
            elif self.sites[node].machine.running:
                self._woken[node, pair] -= seconds
                if self._woken[node, pair] <= 0:
                    text = f"{node} is still Primary of {pair} {AWAKE_S:.0f} s after waking up"
                    raise ViolationError("two Primaries", text)
        clear = [n for n in primaries if (n, pair) not in self._woken]
        if len(clear) > 1:
            raise ViolationError("two Primaries", f"{' and '.join(clear)} are Primary of {pair} at once")

    def intact(self, pair: str) -> None:
        """Every acknowledged write is on the disk that is Primary now."""
        for node in self._primaries(pair):
            lacking = self._lacking(pair, node)
            if lacking and (node, pair) not in self._woken:
                raise ViolationError("lost writes", f"Primary {node} lacks {lacking} acknowledged writes")

    def on_record(self, pair: str, current: Iterable[str]) -> None:
        """Invariant 2, once a fault is over: whoever is on record as current has every acknowledged write.

        Dead disks too, for they may come back with what they held; but not the target of a resync, which says of
        itself that it is inconsistent.
        """
        for node in current:
            disk = self.pairs[pair].sides[node].disk_md
            lacking = len(self.acknowledged.get(pair, set()) - disk.writes)
            if lacking and disk.consistent:
                text = f"{node} is on record as current, and its disk lacks {lacking} acknowledged writes"
                raise ViolationError("wrong record", text)

    def _lacking(self, pair: str, node: str) -> int:
        acknowledged = self.acknowledged.get(pair, set())
        return len(acknowledged - self.pairs[pair].readable(node))

    def _reads(self, pair: str, node: str, write: int) -> bool:
        disks = self.pairs[pair]
        # A read that gets an error tells nobody anything wrong.
        return write in disks.readable(node) or not disks.has_data(node)

    def _primaries(self, pair: str) -> list[str]:
        disks = self.pairs[pair]
        return [s.name for s in (disks.first, disks.second) if s.role == "Primary"]
