# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges a simulated history: what must never have happened, whatever failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from appliance.decide.steps import Start, Step, Stop

if TYPE_CHECKING:
    from appliance.sim.site import Site


class ViolationError(Exception):
    """An invariant does not hold."""


# A machine that stood still for longer than the safety wait wakes up as a second Primary, and only a
# fence device could prevent that. What DRBD has to prevent is an acknowledged write; and after so many
# seconds of being awake the machine must have stopped, or been reset.
AWAKE_S = 25.0


class Judge:
    """The invariants of the design by number. `Site`s and pairs tell it what happens."""

    def __init__(self) -> None:
        self.sites: Mapping[str, Site] = {}
        self.acknowledged: set[int] = set()
        self.maintenance = False
        self.standby: set[str] = set()
        self.untouchable = False
        self._woken: dict[str, float] = {}

    def promoted(self, pair: str, node: str) -> None:
        """Invariants 1 and 2."""
        for other in self._primaries(pair):
            if other == node:
                continue
            if not (self.sites[other].machine.paused or self._slept(other)):
                raise ViolationError(f"{node} is promoted while {other} is Primary of {pair}")
            self._woken[other] = AWAKE_S
        lacking = self.acknowledged - self.sites[node].pairs[pair].readable(node)
        if lacking:
            raise ViolationError(f"{node} is promoted, and lacks {len(lacking)} acknowledged writes")

    def mounted(self, node: str, target: str) -> None:
        """Invariant 1."""
        for other, site in self.sites.items():
            mounted = f"filesystem:{target}" in site.resources.on
            if other != node and mounted and other not in self._woken:
                raise ViolationError(f"{node} mounts {target} while it is mounted on {other}")

    def acknowledge(self, pair: str, node: str, write: int) -> None:
        """Invariant 3, for every Primary that a client could read from."""
        self.acknowledged.add(write)
        for other in self._primaries(pair):
            if other not in self._woken and write not in self.sites[other].pairs[pair].readable(other):
                raise ViolationError(f"{node} acknowledged write {write}, which Primary {other} lacks")

    def began(self, node: str, step: Step) -> None:
        """Invariants 6 and 7."""
        if not isinstance(step, Start | Stop):
            return
        process = self.sites[node].process
        if self.maintenance and process is not None and process.core.quorate:
            raise ViolationError(f"{node} begins {step} although maintenance is set")
        if isinstance(step, Start) and node in self.standby:
            raise ViolationError(f"{node} begins {step} although it is in standby")
        if isinstance(step, Start):
            self._alone(node, step.group)
        if self.untouchable:
            raise ViolationError(f"{node} begins {step}, and only a supervisor was restarted")

    def _alone(self, node: str, group: str) -> None:
        """Invariant 1, before anything is started: nothing of the group is up or starts elsewhere."""
        for other, site in self.sites.items():
            if other == node or not site.machine.running or other in self._woken or self._slept(other):
                continue
            states = site.resources.states(site.cluster.group(group))
            starts = site.process is not None and site.process.core.starts(group)
            if starts or any(state != "stopped" for state in states):
                raise ViolationError(f"{node} starts {group} while {other} {'starts it' if starts else 'has it'}")

    def _slept(self, node: str) -> bool:
        """It stood still a short while ago, so the others may have believed it dead."""
        machine = self.sites[node].machine
        return machine.now() - machine.resumed_at <= self.sites[node].cluster.safety_wait_s

    def look(self, pair: str, seconds: float) -> None:
        """Called every ``seconds``: a machine that woke up as a second Primary must not stay one."""
        primaries = self._primaries(pair)
        for node in list(self._woken):
            if node not in primaries or len(primaries) == 1:
                del self._woken[node]
            elif self.sites[node].machine.running:
                self._woken[node] -= seconds
                if self._woken[node] <= 0:
                    raise ViolationError(f"{node} is still Primary of {pair} {AWAKE_S:.0f} s after waking up")
        clear = [n for n in primaries if n not in self._woken]
        if len(clear) > 1:
            raise ViolationError(f"{' and '.join(clear)} are Primary of {pair} at once")

    def intact(self, pair: str) -> None:
        """Every acknowledged write is on the disk that is Primary now."""
        for node in self._primaries(pair):
            lacking = self.acknowledged - self.sites[node].pairs[pair].readable(node)
            if lacking and node not in self._woken:
                raise ViolationError(f"Primary {node} lacks {len(lacking)} acknowledged writes")

    def _primaries(self, pair: str) -> list[str]:
        return [
            name
            for name, site in self.sites.items()
            if site.machine.powered
            and name in site.pairs[pair].sides
            and site.pairs[pair].sides[name].role == "Primary"
        ]
