# SPDX-License-Identifier: GPL-2.0-or-later
"""A DRBD 8.4 pair, simulated: protocol C, `fencing resource-and-stonith`, after-sb policies `disconnect`.

The rules are those of drbd_state.c, drbd_nl.c and drbd_receiver.c (Linux 6.12), in the kernel's words.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from appliance.decide.view import DrbdReport
from appliance.sim.clock import Action, Story
from appliance.sim.machine import Machine
from appliance.sim.metadata import Meeting, Metadata, at_least, compare
from appliance.sim.network import Network

# net { timeout 20; ping-int 2; ping-timeout 5; connect-int 2; } of the rendered configuration, in seconds.
LOSS_S = (0.5, 2.5)
CONNECT_S = (0.05, 2.0)
RESYNC_S = (1.0, 12.0)
# Promotions are tried so often while the fence-peer handler gives an answer (drbd_set_role).
PROMOTE_TRIES = 4

Done = Callable[[str | None], None]


@dataclass
class Side:
    """The kernel's volatile state on one machine. ``session`` names the connection, None without one."""

    machine: Machine
    disk_md: Metadata = field(default_factory=Metadata)
    up: bool = False
    role: str = "Secondary"
    disk: str = "Diskless"
    peer_disk: str = "DUnknown"
    connection: str = "StandAlone"
    frozen: bool = False
    crashed_primary: bool = False
    session: int | None = None
    new_generation_due: bool = False
    in_flight: list[tuple[int, Action]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def connected(self) -> bool:
        return self.session is not None


class Pair:
    """``asks`` calls a node's fence-peer handler, ``changed`` tells a node of a new state, ``promoted``
    and ``first_data`` are for the judge and the story."""

    def __init__(
        self,
        name: str,
        link: int,
        machines: tuple[Machine, Machine],
        network: Network,
        story: Story,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.link = link
        self.network = network
        self.story = story
        self.chance = chance
        self.sides = {m.name: Side(m) for m in machines}
        self.asks: Callable[[str], None] = lambda _node: None
        self.changed: Callable[[str], None] = lambda _node: None
        self.promoted: Callable[[str], None] = lambda _node: None
        self._sessions = count(1)
        self._generations = count(1)
        for machine in machines:
            machine.on_halt.append(partial(self._halt, machine.name))

    def peer(self, side: Side) -> Side:
        return next(s for s in self.sides.values() if s is not side)

    def report(self, node: str) -> DrbdReport:
        side = self.sides[node]
        if not side.up:
            return DrbdReport()
        return DrbdReport(
            role=side.role,
            disk=side.disk,
            connection=side.connection,
            peer_disk=side.peer_disk,
            peer_role=self.peer(side).role if side.connected else "Unknown",
            suspended="fencing" if side.frozen else "no",
            fresh=side.disk_md.current == 0,
        )

    # What drivers ask of the kernel ---------------------------------------------------------------

    def bring_up(self, node: str) -> str | None:
        side = self.sides[node]
        if not side.up:
            side.up, side.role = True, "Secondary"
            side.disk, side.peer_disk = side.disk_md.attached()
            side.crashed_primary = side.disk_md.primary
            self.story.tell(node, f"{self.name} attached as {side.disk}")
        if side.connection == "StandAlone":
            side.connection = "WFConnection"
        self._settle(side)
        self.reach()
        return None

    def outdate(self, node: str) -> str | None:
        side = self.sides[node]
        if side.connected or side.role == "Primary" or not at_least(side.disk, "Outdated"):
            return "State change failed: Outdating is refused"
        side.disk = "Outdated"
        self._settle(side)
        return None

    def skip_first_sync(self, node: str) -> str | None:
        """`new-current-uuid --clear-bitmap` on a connected, just created pair."""
        side = self.sides[node]
        peer = self.peer(side)
        if not side.connected or side.disk_md.current or peer.disk_md.current:
            return "the pair is not connected, or not new"
        side.disk_md.current = peer.disk_md.current = next(self._generations)
        for each in (side, peer):
            each.disk = each.peer_disk = "UpToDate"
            self._settle(each)
        return None

    def promote(self, node: str, done: Done) -> None:
        self._try_promote(self.sides[node], PROMOTE_TRIES, done)

    def _try_promote(self, side: Side, tries: int, done: Done) -> None:
        peer = self.peer(side)
        if side.role == "Primary":
            done(None)
        elif side.connected and peer.role == "Primary":
            done("Multiple primaries not allowed by config")
        elif not side.connected and side.peer_disk == "DUnknown" and at_least(side.disk, "Consistent"):
            if tries == 0:
                done("Need access to UpToDate data")
            else:
                self._promoting[side.name] = partial(self._try_promote, side, tries - 1, done)
                self.asks(side.name)
        elif side.disk == "UpToDate" or (side.connected and side.peer_disk == "UpToDate"):
            side.role = "Primary"
            if not side.connected and side.disk_md.bitmap == 0:
                side.disk_md.new_generation(next(self._generations))
            self._settle(side)
            self.promoted(side.name)
            done(None)
        else:
            done("Need access to UpToDate data")

    _promoting: dict[str, Action]

    def demote(self, node: str) -> str | None:
        side = self.sides[node]
        if side.in_flight:
            return "Device is held open by someone"
        side.role, side.frozen, side.new_generation_due = "Secondary", False, False
        self._settle(side)
        self.reach()
        return None

    def fence_answer(self, node: str, code: int) -> None:
        """The handler has ended with ``code`` (drbd_nl.c, conn_try_outdate_peer)."""
        side = self.sides[node]
        if code in (4, 7) and side.up and not side.connected and at_least(side.peer_disk, "DUnknown"):
            side.peer_disk = "Outdated"
            if side.disk == "Consistent":
                side.disk = "UpToDate"
            if side.frozen:
                if side.new_generation_due and side.disk_md.bitmap == 0:
                    side.disk_md.new_generation(next(self._generations))
                self._thaw(side)
            self._settle(side)
        again = self._promoting.pop(node, None)
        if again is not None:
            again()
