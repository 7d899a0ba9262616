# SPDX-License-Identifier: GPL-2.0-or-later
"""Filesystems of groups, watched: a mount that comes or goes, and an error that ext4 meets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from gi.repository import GLib

from appliance.config.model import Cluster
from appliance.drivers.filesystem import FilesystemDriver
from appliance.supervisor.executor import Executor

MOUNTS = Path("/proc/self/mountinfo")
# The kernel marks both kinds of file as ready for urgent reading when they change (proc(5); ext4_notify_error_sysfs
# in fs/ext4/sysfs.c), and one below /sys as in error besides, also when it is gone for good.
CHANGED = GLib.IO_PRI | GLib.IO_ERR


class Mounts:
    """Of the groups in ``cluster``; ``look_at`` gets the name of a group that should be looked at."""

    def __init__(self, cluster: Cluster, executor: Executor, look_at: Callable[[str], None]) -> None:
        drivers = (
            (group.name, executor.driver(group.name, index))
            for group in cluster.groups
            for index in range(len(group.resources))
        )
        self._filesystems = [(name, driver) for name, driver in drivers if isinstance(driver, FilesystemDriver)]
        self._look_at = look_at
        self._counts: dict[Path, IO[str]] = {}

    def start(self) -> None:
        """Begin to watch."""
        if self._filesystems:
            mounts = MOUNTS.open()
            GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, mounts.fileno(), CHANGED, self._mounts_changed, mounts)
            self._watch_counts()

    def _mounts_changed(self, _fd: int, _condition: object, mounts: IO[str]) -> bool:
        mounts.seek(0)
        mounts.read()
        self._watch_counts()
        for group, _driver in self._filesystems:
            self._look_at(group)
        return True

    def _watch_counts(self) -> None:
        """Each count is there from a mount to its unmount."""
        for group, driver in self._filesystems:
            path = driver.error_count
            if path in self._counts:
                continue
            try:
                count = path.open()
                count.read()  # or a change that was before would be told
            except OSError:
                continue
            self._counts[path] = count
            told = partial(self._count_changed, group, path)
            GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, count.fileno(), CHANGED, told)

    def _count_changed(self, group: str, path: Path, _fd: int, _condition: object) -> bool:
        self._look_at(group)
        count = self._counts[path]
        try:
            count.seek(0)
            count.read()
        except OSError:  # unmounted
            del self._counts[path]
            count.close()
            self._watch_counts()  # it may be mounted anew already
            return False
        return True
