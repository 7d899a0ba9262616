# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries out steps and looks at resources, through the drivers. Blocks; runs in lanes only."""

from __future__ import annotations

import shlex
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
from appliance.drivers.initiator import InitiatorDriver
from appliance.drivers.registry import driver_for
from appliance.drivers.systemd import Systemd
from appliance.drivers.target import TargetDriver
from appliance.errors import PairkeepError
from appliance.run import RunError


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
        # By group and resource: what was given up there and is still at work in the kernel.
        self._left: dict[tuple[str, int], RunError] = {}

    def do(self, step: Step) -> None:
        """Raises PairkeepError when the step could not be done, or may yet be done."""
        try:
            with _failing_as(lane(step)):
                self._do(step)
        except PairkeepError as error:
            left = _left_by(error)
            if left is not None and isinstance(step, Start | Stop):
                self._left[step.group, step.index] = left
            raise

    def _do(self, step: Step) -> None:
        match step:
            case Start():
                self._start(step)
            case Stop(group, index):
                self._drivers[group][index].stop()
                # Otherwise what is stopped now may be up a moment later.
                self._refuse_left(group, index)
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
        """What runs takes up what a new configuration changes of it without a stop. Raises PairkeepError.

        What does not run any more leaves nothing behind. Nothing of the group is under way yet.
        """
        with _failing_as(group):
            for driver in self._drivers[group]:
                if isinstance(driver, TargetDriver | InitiatorDriver):
                    driver.adopt()

    def states(self, group: str) -> tuple[State, ...]:
        """What the resources of ``group`` look like on this node now."""
        drivers = enumerate(self._drivers[group])
        return tuple("failed" if self._is_left(group, index) else driver.state() for index, driver in drivers)

    def _is_left(self, group: str, index: int) -> bool:
        given_up = self._left.get((group, index))
        return given_up is not None and given_up.left is not None and given_up.left.poll() is None

    def _refuse_left(self, group: str, index: int) -> None:
        if self._is_left(group, index):
            given_up = self._left[group, index]
            raise DriverError(f"{shlex.join(given_up.argv)} was given up and is still at work")

    def driver(self, group: str, index: int) -> Driver:
        return self._drivers[group][index]

    def _start(self, step: Start) -> None:
        self._refuse_left(step.group, step.index)
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


def _left_by(error: BaseException | None) -> RunError | None:
    """What ``error`` comes from, if that is a program which ran out of time and is still there."""
    while error is not None:
        if isinstance(error, RunError) and error.left is not None:
            return error
        error = error.__cause__
    return None
