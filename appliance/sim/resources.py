# SPDX-License-Identifier: GPL-2.0-or-later
"""What the drivers do on one simulated machine: mounts, services and addresses, and how long they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from appliance.config.model import Cluster, DrbdRole, Filesystem, Group, Resource, Service
from appliance.config.virtual import VirtualService
from appliance.decide.steps import Connect, Fence, ForceUpToDate, Outdate, SkipFirstSync, Start, Step, Stop, Up
from appliance.decide.view import State
from appliance.sim.clock import Action
from appliance.sim.device import Device
from appliance.sim.disks import Done, Pair
from appliance.sim.machine import Machine, wait_until

# A step fails and nothing was done; or it was done all the same; or it leaves something broken behind; or it
# never ends; or it is given up and yet done a while later.
Trouble = Literal["fails", "half-way", "breaks", "hangs", "late"]
TROUBLES: tuple[Trouble, ...] = ("fails", "half-way", "breaks", "hangs", "late")

# Seconds that a step takes, least and most, by the kind of its resource; and when it is given up.
TAKES_S: dict[type[Resource], tuple[float, float]] = {
    DrbdRole: (0.05, 0.4),
    Filesystem: (0.05, 0.5),
    Service: (0.5, 2.5),
    VirtualService: (0.2, 1.0),
}
OTHER_S = (0.01, 0.1)
GIVE_UP_S = 10.0
LATE_S = (0.5, 6.0)


class _Parts:
    """A group's resources with what is asked of them again and again."""

    def __init__(self, group: Group) -> None:
        self.resources = tuple((r.id, r.drbd if isinstance(r, DrbdRole) else None) for r in group.resources)
        self.needs = frozenset(r.id for r in group.resources if not isinstance(r, DrbdRole))
        self.mounts = frozenset(r.id for r in group.resources if isinstance(r, Filesystem))
        self.services = frozenset(r.id for r in group.resources if isinstance(r, Service))
        self.drbd = group.drbd


class Resources:
    """``on`` and ``broken`` hold resource ids; a broken file system is still mounted, a broken service is gone.

    ``trouble``: how starts and stops of a resource go wrong until that is taken out again. ``blind``: groups that
    cannot be looked at. ``took``: as `Report` has it; how long a step takes, where that is known.
    """

    def __init__(
        self, cluster: Cluster, machine: Machine, pairs: dict[str, Pair], mounted: Callable[[str, str], None]
    ) -> None:
        self.machine = machine
        self.pairs = pairs
        self.mounted = mounted
        self.on: set[str] = set()
        self.broken: set[str] = set()
        self.trouble: dict[tuple[str, str], Trouble] = {}
        self.blind: set[str] = set()
        self.took: Mapping[str, float] = {}
        self.switching_on: set[str] = set()
        self.devices: Mapping[str, Device] = {}
        self.changed: Action = lambda: None
        self.configure(cluster)
        # Services whose start or stop systemd has under way; how often a supervisor has ended while at work.
        self._under_way: set[str] = set()
        # What was given up and is still at work.
        self._left: set[str] = set()
        self._orphaned = 0
        self._mine = {name: p.sides[machine.name] for name, p in pairs.items() if machine.name in p.sides}
        machine.on_halt.append(self._halt)

    def configure(self, cluster: Cluster) -> None:
        """What is up stays up, whether or not it is part of a group by ``cluster``."""
        self.cluster = cluster
        self._parts = {g.name: _Parts(g) for g in cluster.groups}

    def _halt(self) -> None:
        self.on.clear()
        self.broken.clear()
        self.switching_on.clear()
        self._under_way.clear()
        self._left.clear()

    def orphaned(self) -> None:
        """The supervisor was killed, and what it had begun is killed with it (supervisor/parent.py).

        Not what the kernel and systemd have under way.
        """
        self._orphaned += 1

    def states(self, group: str) -> tuple[State, ...]:
        return tuple(self._state(id_, drbd) for id_, drbd in self._parts[group].resources)

    def _state(self, resource: str, drbd: str | None) -> State:
        if drbd is not None:
            return "started" if self._primary(drbd) else "stopped"
        if resource in self.broken or resource in self._under_way or resource in self._left:
            return "failed"
        return "started" if resource in self.on else "stopped"

    def any_up(self, group: str) -> bool:
        parts = self._parts[group]
        return bool(parts.needs & self.on or parts.needs & self.broken) or any(map(self._primary, parts.drbd))

    def all_up(self, group: str) -> bool:
        parts = self._parts[group]
        return parts.needs <= self.on and not (parts.needs & self.broken) and all(map(self._primary, parts.drbd))

    def _primary(self, drbd: str) -> bool:
        side = self._mine.get(drbd)
        return side is not None and side.role == "Primary"

    def fail(self, resource: Resource) -> None:
        """A running service dies, or a file system cannot be read any more."""
        if resource.id in self.on:
            if not isinstance(resource, Filesystem):
                self.on.discard(resource.id)
            self.broken.add(resource.id)
            self.changed()

    # Steps ------------------------------------------------------------------------------------------

    def perform(self, step: Step, done: Done) -> None:
        """Carry out ``step`` and tell its error, or None, when it has ended."""
        soon, me = self.machine.soon, self.machine.name
        match step:
            case Up(drbd):
                soon(0.1, 0.5, lambda: done(self.pairs[drbd].bring_up(me)))
            case Connect(drbd, discard):
                soon(0.1, 0.5, lambda: done(self.pairs[drbd].connect(me, discard=discard)))
            case ForceUpToDate(drbd):
                soon(0.1, 0.5, lambda: done(self.pairs[drbd].force(me)))
            case Fence(node):
                self.devices[node].off(self.machine, partial(self._fenced, node, done))
            case Outdate(drbd):
                soon(0.05, 0.3, lambda: done(self.pairs[drbd].outdate(me)))
            case SkipFirstSync(drbd):
                soon(0.1, 0.5, lambda: done(self.pairs[drbd].skip_first_sync(me)))
            case Start() | Stop():
                self._perform(step, done)

    def _fenced(self, node: str, done: Done, error: str | None) -> None:
        """As supervisor/fences.py does it: what was switched off is switched on again, before the next shot."""
        if error is None and self.cluster.fence_then == "on":
            self.switching_on.add(node)
            self.devices[node].on(self.machine, partial(self.switching_on.discard, node))
        done(error)

    def _perform(self, step: Start | Stop, done: Done) -> None:
        group = self.cluster.group(step.group)
        resource = group.resources[step.index]
        what = ("start" if isinstance(step, Start) else "stop", resource.id)
        on_disk = isinstance(resource, Filesystem | Service)

        def ready() -> bool:
            if isinstance(resource, Filesystem) and isinstance(step, Stop) and self._written(group):
                return False  # umount waits for them
            return self.trouble.get(what) != "hangs" and not (on_disk and self._frozen(group))

        life, lasts = self._orphaned, isinstance(resource, Service | DrbdRole)
        if isinstance(resource, Service):
            self._under_way.add(resource.id)

        def end() -> None:
            self._under_way.discard(resource.id)
            if lasts or life == self._orphaned:
                self._carry_out(step, group, resource, self.trouble.get(what), done)

        def late() -> None:
            self._under_way.discard(resource.id)
            done(f"no end within {GIVE_UP_S:.0f} s")

        wait = partial(wait_until, self.machine, ready, end, limit=GIVE_UP_S, otherwise=late)
        took = self.took.get(" ".join(what))
        self.machine.soon(*(TAKES_S.get(type(resource), OTHER_S) if took is None else (took, took)), wait)

    def _carry_out(
        self, step: Start | Stop, group: Group, resource: Resource, trouble: Trouble | None, done: Done
    ) -> None:
        """One of DRBD fails as a whole or not at all: its command is one change of the kernel's state."""
        do = self._start if isinstance(step, Start) else self._stop
        drbd = isinstance(resource, DrbdRole)
        if resource.id in self._left:
            if not isinstance(resource, Service):
                done("a command that was given up is still at work")
                return
            self._left.discard(resource.id)  # systemd replaces the job that it has by this one
        if trouble is None or (drbd and trouble != "fails"):
            do(step, group, resource, done)
            return
        if trouble == "half-way":
            do(step, group, resource, lambda _error: None)
        elif trouble == "breaks" and resource.id in self.on | self.broken:
            self.fail(resource)
        elif trouble == "late":
            self._left.add(resource.id)
            self.machine.soon(*LATE_S, partial(self._done_late, step, group, resource))
        done("it failed, as the scenario wants it")

    def _done_late(self, step: Start | Stop, group: Group, resource: Resource) -> None:
        if resource.id in self._left:
            self._left.discard(resource.id)
            do = self._start if isinstance(step, Start) else self._stop
            do(step, group, resource, lambda _error: self.changed())

    def _written(self, group: Group) -> bool:
        """Writes are on their way."""
        return any(self._mine[d].in_flight for d in group.drbd)

    def _frozen(self, group: Group) -> bool:
        return any(self._mine[d].frozen or self._mine[d].stalls for d in group.drbd)

    def _start(self, step: Start | Stop, group: Group, resource: Resource, done: Done) -> None:
        if isinstance(resource, DrbdRole):
            dead = isinstance(step, Start) and step.peer_down
            self.pairs[resource.drbd].promote(self.machine.name, done, peer_dead=dead)
            return
        if isinstance(resource, Filesystem):
            if not all(map(self._primary, group.drbd)):
                done("mount: wrong medium type")
                return
            if not all(self.pairs[d].has_data(self.machine.name) for d in group.drbd):
                done("mount: can't read superblock")
                return
            self.mounted(self.machine.name, resource.target)
        elif isinstance(resource, Service) and not self._parts[group.name].mounts <= self.on:
            done("its data directory is not there")
            return
        self.broken.discard(resource.id)
        self.on.add(resource.id)
        done(None)

    def _stop(self, _step: Start | Stop, group: Group, resource: Resource, done: Done) -> None:
        parts = self._parts[group.name]
        if isinstance(resource, DrbdRole):
            busy = parts.mounts & self.on
            done("Device is held open by someone" if busy else self.pairs[resource.drbd].demote(self.machine.name))
        elif isinstance(resource, Filesystem) and parts.services & self.on:
            done("target is busy")
        else:
            self.on.discard(resource.id)
            self.broken.discard(resource.id)
            done(None)
