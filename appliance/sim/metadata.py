# SPDX-License-Identifier: GPL-2.0-or-later
"""What DRBD 8.4 keeps on a disk, and what two disks find out about each other when they meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

# DRBD's disk states in the kernel's order (drbd.h): comparing them is part of its rules.
DISK_ORDER = (
    "Diskless",
    "Attaching",
    "Failed",
    "Negotiating",
    "Inconsistent",
    "Outdated",
    "DUnknown",
    "Consistent",
    "UpToDate",
)


def at_least(disk: str, other: str) -> bool:
    return DISK_ORDER.index(disk) >= DISK_ORDER.index(other)


@dataclass
class Metadata:
    """Survives a power cut. ``writes``: which of the clients' writes are on the disk.

    The flags are MDF_CONSISTENT, MDF_WAS_UP_TO_DATE, MDF_PEER_OUT_DATED and MDF_PRIMARY_IND; the
    identifiers name generations of data, 0 being "just created".
    """

    consistent: bool = False
    was_up_to_date: bool = False
    peer_outdated: bool = False
    primary: bool = False
    current: int = 0
    bitmap: int = 0
    history: frozenset[int] = frozenset()
    writes: set[int] = field(default_factory=set)

    def attached(self) -> tuple[str, str]:
        """Disk and peer disk after attaching with fencing configured (drbd_nl.c, drbd_adm_attach)."""
        peer = "Outdated" if self.peer_outdated else "DUnknown"
        if not self.consistent:
            return "Inconsistent", peer
        if not self.was_up_to_date:
            return "Outdated", peer
        return ("UpToDate" if self.peer_outdated else "Consistent"), peer

    def new_generation(self, generation: int) -> None:
        """From here on the peer lacks writes (drbd_uuid_new_current)."""
        self.bitmap, self.current = self.current, generation

    def same_as(self, source: Metadata) -> None:
        """The end of a resync from ``source`` to here."""
        self.history |= {self.current, source.bitmap} | source.history
        source.history |= {source.bitmap}
        self.current, self.bitmap, source.bitmap = source.current, 0, 0
        self.writes = set(source.writes)


class Meeting(Enum):
    """The outcome of a handshake, seen from the first of two disks."""

    EQUAL = "equal"
    SOURCE = "source"
    TARGET = "target"
    SPLIT_BRAIN = "split brain"


def compare(mine: Metadata, peer: Metadata, *, crashed: tuple[bool, bool]) -> Meeting:
    """drbd_uuid_compare of drbd_receiver.c, without what needs several earlier resyncs.

    ``crashed``: which of the two was Primary when its machine went down.
    """
    if mine.current == peer.current:
        match crashed:
            case (True, False):
                return Meeting.SOURCE
            case (False, True):
                return Meeting.TARGET
            case _:
                return Meeting.EQUAL
    if mine.current in (0, peer.bitmap) or mine.current in peer.history:
        return Meeting.TARGET
    if peer.current in (0, mine.bitmap) or peer.current in mine.history:
        return Meeting.SOURCE
    return Meeting.SPLIT_BRAIN
