# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case of the fault suite is made of: a fault, the moment when it strikes, what is expected of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from appliance.lab.machine import Machine
from appliance.lab.trial import Trial


class Moment(StrEnum):
    """When a fault strikes."""

    IDLE = "idle"
    WRITES = "writes"
    RESYNC = "resync"
    SWITCHOVER = "switchover"


class Outcome(StrEnum):
    """What comes of it. "active" is the machine with the service when the moment began."""

    MOVES = "moves"
    STAYS = "stays"
    # Either will do: two orders or two machines race, and both ways are safe.
    RUNS = "moves or stays"
    STOPS = "stops and says why"
    WAITS = "waits and says why"

    @property
    def serves(self) -> bool:
        return self in (Outcome.MOVES, Outcome.STAYS, Outcome.RUNS)


@dataclass(frozen=True)
class Scene:
    """A pair on which a fault is to strike."""

    pair: Trial
    active: Machine
    standby: Machine

    @property
    def witness(self) -> Machine:
        return self.pair.lab["witness"]

    @property
    def workers(self) -> tuple[Machine, Machine]:
        return self.active, self.standby


Action = Callable[[Scene], object]


@dataclass(frozen=True)
class Fault:
    """``inject`` lets it strike; ``undo`` repairs what Lab.heal and giving back the power do not.

    ``says``: words that the status must contain where the service is refused. ``lasts_s``: it is undone
    after so long, and judged only then; otherwise it is judged while it lasts. ``bound_s``: within this
    time the outcome must be seen. ``fenced``: it needs BMCs.
    """

    name: str
    summary: str
    inject: Action
    expected: Mapping[Moment, Outcome]
    undo: Action | None = None
    says: str = ""
    lasts_s: float | None = None
    bound_s: float = 60.0
    fenced: bool = False


@dataclass(frozen=True)
class Case:
    fault: Fault
    moment: Moment

    @property
    def name(self) -> str:
        return f"{self.fault.name}@{self.moment}"

    @property
    def expected(self) -> Outcome:
        return self.fault.expected[self.moment]
