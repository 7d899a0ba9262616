# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel says of this node's DRBD resources, as it is told to `core.Core`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gi.repository import GLib

from appliance.decide.view import DISCONNECTED, DrbdReport
from appliance.drivers.drbd import EventStream
from appliance.drivers.drbd_status import DrbdStatus
from appliance.supervisor.core import Core
from appliance.supervisor.executor import Executor
from appliance.supervisor.lanes import Lanes
from appliance.supervisor.world import Event

# How often the progress of a running resync or verify is read.
PROGRESS_S = 2
# Before following DRBD anew, so that a stream which ends at once, for want of the module, costs little.
FOLLOW_AGAIN_S = 1


class Disks:
    """Follows DRBD from `start` on; ``tell`` is for events that people should know of."""

    def __init__(self, executor: Executor, lanes: Lanes, core: Core, tell: Callable[[Event], None]) -> None:
        self._drbd = {drbd.name: executor.drbd[drbd.name] for drbd in executor.cluster.drbd}
        self._lanes = lanes
        self._core = core
        self._tell = tell
        self._known: dict[str, DrbdStatus] = {}
        self._fresh: set[str] = set()
        self._split: set[str] = set()
        self._hung: set[str] = set()

    def start(self) -> None:
        if self._drbd:
            self._follow()
            GLib.timeout_add_seconds(PROGRESS_S, self._progress)

    def split_brain(self, drbd: str) -> None:
        """DRBD refuses to connect because both copies were changed.

        For this its helper is told ``minor-N`` and not the resource's name (drbd_nl.c, drbd_khelper).
        """
        resources = (driver.config for driver in self._drbd.values())
        drbd = next((d.name for d in resources if drbd in (d.name, f"minor-{d.minor}")), drbd)
        if drbd in self._known:
            self._split.add(drbd)
            text = f"{drbd}: split brain, both copies were changed apart from each other"
            self._tell(Event("split-brain", text, {"drbd": drbd}))
            self._changed(drbd, self._known[drbd])

    def hangs(self, name: str, hangs: bool) -> None:
        """The disk below ``name`` gives no answer, or answers again."""
        if hangs != (name in self._hung):
            (self._hung.add if hangs else self._hung.discard)(name)
            self._core.on_warning(f"hangs:{name}", f"the disk of {name} does not answer" if hangs else "")
            self._changed(name, self._known[name])

    def _follow(self) -> None:
        stream = EventStream()
        for name, driver in self._drbd.items():
            self._changed(name, driver.status())
        GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, stream.fileno(), GLib.IO_IN | GLib.IO_HUP, self._told, stream)

    def _follow_again(self) -> bool:
        self._follow()
        return False

    def _told(self, _fd: int, _condition: object, stream: EventStream) -> bool:
        changed = stream.read()
        if changed is None:
            stream.close()
            GLib.timeout_add_seconds(FOLLOW_AGAIN_S, self._follow_again)
            return False
        for name, status in changed.items():
            if name in self._drbd:
                self._changed(name, status)
        return True

    def _changed(self, name: str, status: DrbdStatus) -> None:
        self._known[name] = status
        # Whether it is a blank one matters where nobody else is known to have the data.
        nobodys = self._core.view.record.current.get(name) in (None, (self._core.me,))
        unsure = status.disk == "Inconsistent" and nobodys
        if unsure and name not in self._fresh:
            # Reads the metadata, so not here. A disk that once was fresh stays so until data comes to it.
            self._lanes.put(f"drbd:{name}", partial(self._read_freshness, name))
        if not unsure:
            self._fresh.discard(name)
        if status.connection not in DISCONNECTED:
            self._split.discard(name)
        report = _report(status, fresh=name in self._fresh)
        self._core.on_drbd(name, replace(report, split_brain=name in self._split, hung=name in self._hung))

    def _read_freshness(self, name: str) -> Callable[[], None]:
        fresh = self._drbd[name].just_created()

        def then() -> None:
            if fresh and self._known[name].disk == "Inconsistent":
                self._fresh.add(name)
                self._changed(name, self._known[name])

        return then

    def _progress(self) -> bool:
        for name, report in self._core.local.drbd.items():
            if report.connection.startswith(("Sync", "PausedSync", "Verify")):
                self._lanes.put(f"drbd:{name}", partial(self._read_progress, name))
        return True

    def _read_progress(self, name: str) -> Callable[[], None]:
        """The states are the event stream's to tell: what was read here may be older by the time it counts."""
        read = self._drbd[name].status()

        def then() -> None:
            now = self._known[name]
            if read.connection == now.connection:
                done = replace(now, sync_percent=read.sync_percent, sync_left_s=read.sync_left_s)
                self._changed(name, replace(done, out_of_sync_kib=read.out_of_sync_kib))

        return then


def _report(status: DrbdStatus, *, fresh: bool) -> DrbdReport:
    return DrbdReport(
        role=status.role,
        disk=status.disk,
        connection=status.connection,
        peer_disk=status.peer_disk,
        peer_role=status.peer_role,
        sync_percent=status.sync_percent,
        sync_left_s=status.sync_left_s,
        out_of_sync_kib=status.out_of_sync_kib,
        suspended=status.suspended,
        fresh=fresh,
    )
