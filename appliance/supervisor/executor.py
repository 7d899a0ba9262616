# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries out steps and looks at resources, through the drivers. Blocks; runs in lanes only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from appliance.config.model import Cluster, DrbdRole
from appliance.decide.steps import (
    Connect,
    Fence,
    ForceUpToDate,
    Outdate,
    SkipFirstSync,
    Start,
    Step,
    Stop,
    Up,
    lane,
)
from appliance.decide.view import State
from appliance.drivers import fence
from appliance.drivers.base import Driver, DriverError
from appliance.drivers.drbd import Drbd
from appliance.drivers.filesystem import FilesystemDriver
from appliance.drivers.registry import driver_for
from appliance.drivers.systemd import Systemd
from appliance.drivers.target import TargetDriver


class Executor:
    """The resources of this machine."""

    def __init__(self, cluster: Cluster, me: str, systemd: Systemd) -> None:
        own = cluster.node(me)
        # A node that only votes has neither groups nor disks.
        self.cluster = replace(cluster, groups=(), drbd=(), targets=()) if own.votes_only else cluster
        cluster = self.cluster
        self.fences = {n.name: fence.Fence(n) for n in cluster.nodes if n.fence and n.name != me}
        self.drbd = {d.name: Drbd(d) for d in cluster.drbd}
        self._drivers: dict[str, tuple[Driver, ...]] = {
            group.name: tuple(driver_for(cluster, me, resource, systemd) for resource in group.resources)
            for group in cluster.groups
        }

    def do(self, step: Step) -> None:
        """Raises PairkeepError when the step could not be done."""
        with _failing_as(lane(step)):
            self._do(step)

    def _do(self, step: Step) -> None:
        match step:
            case Start():
                self._start(step)
            case Stop(group, index):
                self._drivers[group][index].stop()
            case Up(drbd):
                self.drbd[drbd].up()
            case SkipFirstSync(drbd):
                self.drbd[drbd].skip_first_sync()
            case Connect(drbd, discard):
                self.drbd[drbd].connect(discard=discard)
            case ForceUpToDate(drbd):
                self.drbd[drbd].force_up_to_date()
            case Outdate(drbd):
                self.drbd[drbd].outdate()
            case Fence(node):
                self.fences[node].off()

    def adopt(self, group: str) -> None:
        """What runs takes up what a new configuration changes of it without a stop. Raises PairkeepError."""
        with _failing_as(group):
            for driver in self._drivers[group]:
                if isinstance(driver, TargetDriver):
                    driver.adopt()

    def states(self, group: str) -> tuple[State, ...]:
        """What the resources of ``group`` look like on this node now."""
        return tuple(driver.state() for driver in self._drivers[group])

    def driver(self, group: str, index: int) -> Driver:
        return self._drivers[group][index]

    def _start(self, step: Start) -> None:
        driver = self._drivers[step.group][step.index]
        resource = self.cluster.group(step.group).resources[step.index]
        if isinstance(resource, DrbdRole):
            self.drbd[resource.drbd].promote(peer_surely_dead=step.peer_down)
            return
        # Power may have gone between mkfs and the record's knowing of it: then it is blank no more.
        if step.may_format and isinstance(driver, FilesystemDriver) and driver.is_blank():
            driver.make()
        driver.start()


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """A full disk, or a file that is not there, is a failure of the step, and none of the supervisor."""
    try:
        yield
    except OSError as error:
        raise DriverError(f"{what}: {error}") from error
