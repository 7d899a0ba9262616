# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine's side of a simulated DRBD pair: what the kernel holds in memory, and the disk below it."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.sim.clock import Action
from appliance.sim.machine import Machine
from appliance.sim.metadata import Metadata, at_least


@dataclass(eq=False)
class Write:
    """One that a client waits for: which disks have it."""

    number: int
    acknowledge: Action
    here: bool = False
    there: bool = False
    waited_s: float = 0.0


class Side:
    """``session`` names the connection, None without one; ``exposed`` the generation of the data that a diskless
    side reads from its peer. ``dead``: the disk itself gives only errors. ``hangs_since``: it gives no answer at
    all; ``held``: what was given to it meanwhile."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.disk_md = Metadata()
        self.dead = False
        self.hangs_since: float | None = None
        self.reset()

    def reset(self) -> None:
        """As after a boot: only the disk keeps what it had."""
        self.up = False
        self.role = "Secondary"
        self.disk = "Diskless"
        self.peer_disk = "DUnknown"
        self.connection = "StandAlone"
        self.frozen = False
        self.crashed_primary = False
        self.session: int | None = None
        self.exposed = 0
        self.new_generation_due = False
        self.split = False
        self.discards = False
        self.meetings = 0
        self.in_flight: list[Write] = []
        self.held: list[Write] = []

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def connected(self) -> bool:
        return self.session is not None

    @property
    def stalls(self) -> bool:
        """What needs this side's disk waits."""
        return self.hangs_since is not None and self.attached

    @property
    def attached(self) -> bool:
        return at_least(self.disk, "Inconsistent")
