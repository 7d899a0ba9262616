# SPDX-License-Identifier: GPL-2.0-or-later
"""What the drivers do on one simulated machine: mounts, services and addresses, and how long they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from appliance.config.model import Cluster, DrbdRole, Filesystem, Group, Resource, Service
from appliance.decide.steps import Connect, Outdate, SkipFirstSync, Start, Step, Stop, Up
from appliance.decide.view import State
from appliance.sim.clock import Action
from appliance.sim.disks import Done, Pair
from appliance.sim.machine import Machine, wait_until

Trouble = Literal["fails", "hangs"]

# Seconds that a step takes, least and most, by the kind of its resource; and when it is given up.
TAKES_S: dict[type[Resource], tuple[float, float]] = {DrbdRole: (0.05, 0.4), Filesystem: (0.05, 0.5)}
SERVICE_S = (0.5, 2.5)
OTHER_S = (0.01, 0.1)
GIVE_UP_S = 10.0


@dataclass
class Resources:
    """``trouble`` makes starts or stops of a resource fail or hang until it is taken out again."""

    cluster: Cluster
    machine: Machine
    pairs: dict[str, Pair]
    on: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    trouble: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    mounted: Callable[[str, str], None] = lambda _node, _target: None
    changed: Action = lambda: None

    def __post_init__(self) -> None:
        self.machine.on_halt.append(self._halt)

    def _halt(self) -> None:
        self.on.clear()
        self.broken.clear()

    def states(self, group: Group) -> tuple[State, ...]:
        return tuple(self._state(r) for r in group.resources)

    def _state(self, resource: Resource) -> State:
        if isinstance(resource, DrbdRole):
            return "started" if self._primary(resource.drbd) else "stopped"
        if resource.id in self.broken:
            return "failed"
        return "started" if resource.id in self.on else "stopped"

    def _primary(self, drbd: str) -> bool:
        side = self.pairs[drbd].sides.get(self.machine.name)
        return side is not None and side.role == "Primary"

    def fail(self, resource: Resource) -> None:
        """A running service dies."""
        if resource.id in self.on:
            self.on.discard(resource.id)
            self.broken.add(resource.id)
            self.changed()

    # Steps ------------------------------------------------------------------------------------------

    def perform(self, step: Step, done: Done) -> None:
        """Carry out ``step`` and tell its error, or None, when it has ended."""
        match step:
            case Up(drbd) | Connect(drbd):
                self.machine.soon(0.1, 0.5, lambda: done(self.pairs[drbd].bring_up(self.machine.name)))
            case Outdate(drbd):
                self.machine.soon(0.05, 0.3, lambda: done(self.pairs[drbd].outdate(self.machine.name)))
            case SkipFirstSync(drbd):
                self.machine.soon(0.1, 0.5, lambda: done(self.pairs[drbd].skip_first_sync(self.machine.name)))
            case Start() | Stop():
                self._perform(step, done)

    def _perform(self, step: Start | Stop, done: Done) -> None:
        group = self.cluster.group(step.group)
        resource = group.resources[step.index]
        verb = "start" if isinstance(step, Start) else "stop"
        takes = TAKES_S.get(type(resource), SERVICE_S if isinstance(resource, Service) else OTHER_S)

        def end() -> None:
            if (verb, resource.id) in self.trouble:
                done("it failed, as the scenario wants it")
            elif isinstance(step, Start):
                self._start(step, group, resource, done)
            else:
                done(self._stop(group, resource))

        def ready() -> bool:
            frozen = not isinstance(resource, DrbdRole) and self._frozen(group) and self._uses_disk(resource)
            return self.trouble.get((verb, resource.id)) != "hangs" and not frozen

        late = partial(done, f"no end within {GIVE_UP_S:.0f} s")
        wait = partial(wait_until, self.machine, ready, end, limit=GIVE_UP_S, otherwise=late)
        self.machine.soon(*takes, wait)

    @staticmethod
    def _uses_disk(resource: Resource) -> bool:
        return isinstance(resource, Filesystem | Service)

    def _frozen(self, group: Group) -> bool:
        return any(self.pairs[d].sides[self.machine.name].frozen for d in group.drbd)

    def _start(self, step: Start, group: Group, resource: Resource, done: Done) -> None:
        if isinstance(resource, DrbdRole):
            self.pairs[resource.drbd].promote(self.machine.name, done, peer_dead=step.peer_down)
            return
        if isinstance(resource, Filesystem):
            if not all(self._primary(d) for d in group.drbd):
                done("mount: wrong medium type")
                return
            self.mounted(self.machine.name, resource.target)
        elif isinstance(resource, Service) and not self._mounts(group) <= self.on:
            done("its data directory is not there")
            return
        self.broken.discard(resource.id)
        self.on.add(resource.id)
        done(None)

    def _stop(self, group: Group, resource: Resource) -> str | None:
        if isinstance(resource, DrbdRole):
            if self._mounts(group) & self.on:
                return "State change failed: Device is held open by someone"
            return self.pairs[resource.drbd].demote(self.machine.name)
        if isinstance(resource, Filesystem) and any(
            isinstance(r, Service) and r.id in self.on for r in group.resources
        ):
            return "target is busy"
        self.on.discard(resource.id)
        self.broken.discard(resource.id)
        return None

    @staticmethod
    def _mounts(group: Group) -> set[str]:
        return {r.id for r in group.resources if isinstance(r, Filesystem)}
