# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that are under way on one node: begun once a lane, and what follows from how they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.config.model import Cluster
from appliance.decide.messages import Fenced, Formatted
from appliance.decide.steps import Fence, ForceUpToDate, Start, Step, Stop, lane
from appliance.decide.view import State
from appliance.supervisor.absences import Absences
from appliance.supervisor.local import LocalState
from appliance.supervisor.requests import Requests, Wish
from appliance.supervisor.world import Event, World


@dataclass
class Work:
    """Of node ``me``. ``running``: by lane the step that is under way there."""

    cluster: Cluster
    me: str
    world: World
    local: LocalState
    absences: Absences
    requests: Requests
    running: dict[str, Step] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)

    def forces(self, drbd: str) -> bool:
        """It is Primary for a moment, and no group may take that for a start (`Drbd.force_up_to_date`)."""
        return isinstance(self.running.get(f"drbd:{drbd}"), ForceUpToDate)

    def begin(self, step: Step) -> None:
        """Begin ``step``, unless its lane is busy or it failed a short while ago."""
        if isinstance(step, Fence) and not self.may_shoot(step.node):
            return
        if lane(step) not in self.running and self.local.may_try(step):
            self.running[lane(step)] = step
            self._began[lane(step)] = self.world.now()
            self.world.begin(step)

    def dropped(self, step: Step) -> None:
        """It was not begun, as it was wanted no more."""
        self.running.pop(lane(step), None)

    def done(self, step: Step, error: str | None, states: Sequence[State] | None) -> None:
        """``step`` has ended; ``states`` is what its group looks like now, where that was looked at."""
        self.running.pop(lane(step), None)
        took = round(self.world.now() - self._began.get(lane(step), self.world.now()), 2)
        match step:
            case Fence():
                self._fenced(step, error, took)
            case Start() | Stop():
                self._group_changed(step, error, states, took)
            case _:
                self.local.after_drbd_step(step, error)
                if error is not None:
                    text = f"{type(step).__name__} of {lane(step)} failed on {self.me}: {error}"
                    self.world.tell(Event("failed", text, {"drbd": step.drbd}))

    def may_shoot(self, node: str) -> bool:
        """Not before the other's turn is over, and not again while the others are yet to hear that it is off."""
        first = self.absences.may_shoot(node, active=self.local.active)
        return first and not self.absences.is_gone(node) and not self.requests.wishes_for(Fenced("", node))

    def _fenced(self, step: Fence, error: str | None, took: float) -> None:
        self.local.paced(step, error)
        if error is None:
            self.local.took[f"fence {step.node}"] = took
            self.requests.wishes.append(Wish(Fenced("", step.node)))
        else:
            self.absences.fence_failed(step.node, error)
            text = f"{step.node} could not be switched off by {self.me}: {error}"
            self.world.tell(Event("failed", text, {"node": step.node}))

    def _group_changed(
        self, step: Start | Stop, error: str | None, states: Sequence[State] | None, took: float
    ) -> None:
        resource = self.cluster.group(step.group).resources[step.index].id
        verb = "start" if isinstance(step, Start) else "stop"
        self.local.after_step(step, error, states or self.local.states(step.group))
        if error is not None:
            text = f"{verb} of {resource} failed on {self.me}: {error}"
            self.world.tell(Event("failed", text, {"group": step.group, "resource": resource}))
        elif isinstance(step, Start) and step.may_format:
            self.requests.wishes.append(Wish(Formatted("", resource)))
        else:
            self.local.took[f"{verb} {resource}"] = took
