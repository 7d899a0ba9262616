# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators can ask of a running supervisor, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appliance.config.model import Group
from appliance.decide.eligible import obstacle
from appliance.decide.messages import Cleanup, Fenced, SetMaintenance, SetStandby, Switchover
from appliance.errors import InputError
from appliance.supervisor.core import Core
from appliance.supervisor.service import SupervisorService
from appliance.supervisor.status import status, why
from appliance.supervisor.verify import Verifier

EVENTS_IN_STATUS = 8


class SupervisorOperations:
    """Implements `api.Operations`."""

    def __init__(self, service: SupervisorService) -> None:
        self._service = service
        self._core: Core = service.core
        self._verifier = Verifier(service)

    def status(self) -> dict[str, Any]:
        recent = list(self._service.events)[-EVENTS_IN_STATUS:]
        return status(self._core, self._verifier.results, recent)

    def why(self, group: str) -> dict[str, Any]:
        return why(self._core, self._group(group).name)

    def events(self) -> list[dict[str, Any]]:
        return list(self._service.events)

    def switchover(self, group: str, node: str) -> str:
        """Order ``group`` to ``node``, or to the best other one when empty; returns the node's name."""
        wanted = self._group(group)
        view = self._core.view
        here = next((n for n in view.members if (r := view.reports.get(n)) and r.groups[group].active), None)
        if node:
            self._node(node)
        others = [node] if node else [n.name for n in self._core.cluster.workers if n.name != here]
        if view.record.maintenance:
            raise InputError("the cluster is in maintenance", hint="pairkeep maintenance off")
        if not view.quorate:
            raise InputError("there is no quorum, so nothing can be moved", hint="pairkeep status")
        reasons: list[str] = []
        for name in others:
            reason = obstacle(view, wanted, name)
            if reason is None:
                if name != here:
                    self._core.wish(Switchover("", group, name))
                return name
            reasons.append(f"{name}: {reason}")
        raise InputError(f"{group} cannot go to {'; '.join(reasons)}")

    def standby(self, node: str, on: bool) -> None:
        self._node(node)
        self._core.wish(SetStandby("", node, on))

    def maintenance(self, on: bool) -> None:
        self._core.wish(SetMaintenance("", on))

    def cleanup(self, group: str) -> None:
        self._core.wish(Cleanup("", self._group(group).name))

    def confirm_fenced(self, node: str) -> None:
        """Take a person's word that ``node`` is off."""
        self._node(node)
        if node in self._core.view.members:
            raise InputError(f"{node} takes part in the cluster, so it is not off")
        if self._core.view.surely_down(node):
            raise InputError(f"{node} is known to be down already")
        self._core.wish(Fenced("", node, by_hand=True))

    def fence(self, node: str, done: Callable[[str], None]) -> None:
        """Switch ``node`` off and see that it is, as a test. ``done`` gets what went wrong, or nothing."""
        self._node(node)
        if not self._core.cluster.node(node).fence:
            raise InputError(f"{node} has no fence device")
        if node == self._core.me:
            raise InputError(f"{node} does not switch itself off", hint="give the command on another node")
        self._service.fences.test(node, done)

    def verify(self, drbd: str) -> None:
        names = [d.name for d in self._core.cluster.drbd]
        if drbd not in names:
            raise InputError(f"there is no DRBD resource {drbd!r}; there is {', '.join(names) or 'none'}")
        self._verifier.start(drbd)

    def fence_peer(self, drbd: str, answer: Callable[[int], None]) -> None:
        self._service.fence_peer(drbd, answer)

    def _group(self, name: str) -> Group:
        names = [g.name for g in self._core.cluster.groups]
        if name not in names:
            raise InputError(f"there is no group {name!r}; there is {', '.join(names) or 'none'}")
        return self._core.cluster.group(name)

    def _node(self, name: str) -> None:
        names = [n.name for n in self._core.cluster.nodes]
        if name not in names:
            raise InputError(f"there is no node {name!r}; there are {', '.join(names)}")
