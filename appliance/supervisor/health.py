# SPDX-License-Identifier: GPL-2.0-or-later
"""What will hurt soon, noticed before it does: file systems that fill up, disks that vanish."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gi.repository import GLib

from appliance.config.model import Cluster, Filesystem
from appliance.drivers.disk_activity import Standstill, activity
from appliance.drivers.filesystem import fullness
from appliance.supervisor.core import Core
from appliance.supervisor.lanes import Lanes

# How often file systems are looked at; also when the kernel's messages on disks are first listened to, so that
# loading what is needed for that does not delay the start.
LOOK_S = 10

# The node's own: without room on it there is no record, and the node runs nothing.
ROOT = "/"

# How often the disks' counters are read.
STANDSTILL_S = 3


class Health:
    """Of this node; ``cluster`` holds what this node may run.

    ``hangs`` is told again and again, by the name of a DRBD resource, whether its disk gets nothing done.
    """

    def __init__(self, cluster: Cluster, lanes: Lanes, core: Core, hangs: Callable[[str, bool], None]) -> None:
        self._disks = {drbd.name: drbd.disk for drbd in cluster.drbd}
        self._targets = {
            (group.name, index): resource.target
            for group in cluster.groups
            for index, resource in enumerate(group.resources)
            if isinstance(resource, Filesystem)
        }
        self._still = {drbd: Standstill() for drbd in cluster.drbd}
        self._hangs = hangs
        self._lanes = lanes
        self._core = core

    def start(self) -> None:
        """Begin to look."""
        GLib.timeout_add_seconds(LOOK_S, self._look)
        if self._disks:
            GLib.timeout_add_seconds(LOOK_S, self._listen)
            GLib.timeout_add_seconds(STANDSTILL_S, self._count)

    def _count(self) -> bool:
        for drbd, still in self._still.items():
            seconds = still.seen(self._core.world.now(), activity(drbd.disk))
            self._hangs(drbd.name, seconds >= drbd.io_timeout_s)
        return True

    def _look(self) -> bool:
        self._lanes.put(f"health:{ROOT}", partial(self._look_at, ROOT))
        for (group, index), target in self._targets.items():
            if self._core.local.states(group)[index] == "started":
                # A disk that hangs makes this wait, so it waits where nothing else does.
                self._lanes.put(f"health:{target}", partial(self._look_at, target))
            else:
                self._core.on_warning(target, "")
        return True

    def _look_at(self, target: str) -> Callable[[], None]:
        try:
            found = os.statvfs(target)
        except OSError as error:
            text = f"{target} cannot be read: {error.strerror}"
        else:
            text = fullness(target, found.f_blocks - found.f_bfree, found.f_bavail)
        return lambda: self._core.on_warning(target, text)

    def _listen(self) -> bool:
        import pyudev  # takes a while, and not all images have it

        monitor = pyudev.Monitor.from_netlink(pyudev.Context())
        monitor.filter_by("block")
        monitor.start()
        for name, disk in self._disks.items():
            self._tell(name, present=Path(disk).exists())
        GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, monitor.fileno(), GLib.IO_IN, self._told, monitor)
        return False

    def _told(self, _fd: int, _condition: object, monitor: Any) -> bool:
        while (device := monitor.poll(timeout=0)) is not None:
            names = {device.device_node, *device.device_links}
            for name, disk in self._disks.items():
                if disk in names and device.action in ("add", "remove"):
                    self._tell(name, present=device.action == "add")
        return True

    def _tell(self, name: str, *, present: bool) -> None:
        text = "" if present else f"the disk of {name}, {self._disks[name]}, is not there"
        self._core.on_warning(f"disk:{name}", text)
