# SPDX-License-Identifier: GPL-2.0-or-later
"""What DRBD 8.4 says of itself, as values. Parsers only: they take text and do no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from appliance.drivers.base import DriverError

# events2 speaks the words of DRBD 9, /proc/drbd and people those of 8.4.
_CONNECTION = {"Connecting": "WFConnection"}
_REPLICATION = {"Established": "Connected", "Off": "WFReportParams"}


@dataclass(frozen=True)
class DrbdStatus:
    """One resource with one volume, as /proc/drbd would name it. ``Unconfigured`` until it is up."""

    role: str = "Unconfigured"
    disk: str = "Diskless"
    connection: str = "StandAlone"
    peer_disk: str = "DUnknown"
    peer_role: str = "Unknown"
    suspended: str = "no"
    out_of_sync_kib: int = 0
    sync_percent: float | None = None
    sync_left_s: float | None = None

    @property
    def paired(self) -> bool:
        """Both disks hold the same data and every write goes to both."""
        return self.connection == "Connected" and self.disk == self.peer_disk == "UpToDate"


class EventsFold:
    """Folds the lines of ``drbdsetup events2 --statistics`` into one DrbdStatus a resource."""

    def __init__(self) -> None:
        self.statuses: dict[str, DrbdStatus] = {}
        self.lost = False
        self._whole = False

    def feed(self, lines: Iterable[str]) -> set[str]:
        """Take lines; returns the names of the resources that they changed.

        A stream begins with all that there is, a line for each part (``exists …``), and ``exists -`` after the last
        one (drbdsetup(8)). Before that nothing has changed: half of it tells of a Primary without a disk.
        ``lost`` becomes true when the kernel had to drop lines (``- skipped N``): start afresh then.
        """
        before = dict(self.statuses) if self._whole else {}
        for line in lines:
            self._line(line.split())
        if not self._whole:
            return set()
        return {
            name for name in before.keys() | self.statuses.keys() if before.get(name) != self.statuses.get(name)
        }

    def _line(self, words: list[str]) -> None:
        if len(words) < 2:
            return
        action, kind = words[0], words[1]
        if (action, kind) == ("exists", "-"):
            self._whole = True
            return
        if kind == "skipped" or (action == "-" and "skipped" in words):
            self.lost = True
            return
        fields = dict(_pairs(words[2:]))
        name = fields.get("name")
        if name is None:
            return
        if action == "destroy":
            if kind == "resource":
                self.statuses.pop(name, None)
            elif name in self.statuses:
                self.statuses[name] = _without(self.statuses[name], kind)
            return
        self.statuses[name] = _with(self.statuses.get(name, DrbdStatus(role="Secondary")), kind, fields)


def _pairs(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        key, found, value = word.partition(":")
        if found:
            yield key, value


def _with(status: DrbdStatus, kind: str, fields: dict[str, str]) -> DrbdStatus:
    changes: dict[str, str | int | float | None] = {}
    if kind == "resource":
        changes |= _renamed(fields, {"role": "role", "suspended": "suspended"})
    elif kind == "device":
        changes |= _renamed(fields, {"disk": "disk"})
    elif kind == "connection":
        changes |= _renamed(fields, {"role": "peer_role"})
        connection = fields.get("connection")
        if connection is not None and connection != "Connected":
            changes["connection"] = _CONNECTION.get(connection, connection)
            changes["peer_role"] = "Unknown"
        elif connection == "Connected" and status.connection not in _REPLICATING:
            changes["connection"] = "WFReportParams"
    elif kind == "peer-device":
        changes |= _renamed(fields, {"peer-disk": "peer_disk"})
        replication = fields.get("replication")
        if replication is not None and (replication != "Off" or status.connection in _REPLICATING):
            changes["connection"] = _REPLICATION.get(replication, replication)
        if "out-of-sync" in fields:
            changes["out_of_sync_kib"] = int(fields["out-of-sync"])
    status = replace(status, **changes)  # type: ignore[arg-type]
    if not status.connection.startswith(("Sync", "PausedSync", "Verify")):
        status = replace(status, sync_percent=None, sync_left_s=None)
    return status


def _renamed(fields: dict[str, str], names: dict[str, str]) -> dict[str, str | int | float | None]:
    return {ours: fields[theirs] for theirs, ours in names.items() if theirs in fields}


_REPLICATING = (
    "Connected",
    "SyncSource",
    "SyncTarget",
    "PausedSyncS",
    "PausedSyncT",
    "VerifyS",
    "VerifyT",
    "StartingSyncS",
    "StartingSyncT",
    "WFBitMapS",
    "WFBitMapT",
    "WFSyncUUID",
    "Ahead",
    "Behind",
)


def _without(status: DrbdStatus, kind: str) -> DrbdStatus:
    if kind == "device":
        return replace(status, disk="Diskless")
    if kind in ("connection", "peer-device"):
        return replace(status, connection="StandAlone", peer_role="Unknown", peer_disk="DUnknown")
    return status


# The protocol's letter is a blank while there is no connection to speak of (drbd_proc.c, Linux 6.12).
_PROC = re.compile(
    r"cs:(?P<connection>\S+)"
    r" ro:(?P<role>\w+)/(?P<peer_role>\w+) ds:(?P<disk>\w+)/(?P<peer_disk>\w+) . (?P<io>\S)"
)


def parse_proc(text: str, minor: int) -> DrbdStatus:
    """What /proc/drbd says of ``minor``. ``text`` may lack it, which means that it is not up.

    The file only says *that* I/O is suspended; in our configuration nothing but fencing does that.
    Raises DriverError for what it does not understand: that must not pass for a resource that is down.
    """
    section = re.search(rf"^ *{minor}: .*?(?=^ *\d+: |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None or "cs:Unconfigured" in section[0]:
        return DrbdStatus()
    found = _PROC.search(section[0])
    if found is None:
        raise DriverError(f"/proc/drbd says what is not understood: {section[0].splitlines()[0]!r}")
    status = DrbdStatus(
        role=found["role"],
        disk=found["disk"],
        connection=found["connection"],
        peer_disk=found["peer_disk"],
        peer_role=found["peer_role"],
        suspended="fencing" if found["io"] == "s" else "no",
    )
    if oos := re.search(r"\boos:(\d+)", section[0]):
        status = replace(status, out_of_sync_kib=int(oos[1]))
    if done := re.search(r"(?:sync'ed|verified): *([\d.]+)%", section[0]):
        status = replace(status, sync_percent=float(done[1]))
    if left := re.search(r"finish: *(\d+):(\d+):(\d+)", section[0]):
        status = replace(status, sync_left_s=int(left[1]) * 3600.0 + int(left[2]) * 60 + int(left[3]))
    return status
