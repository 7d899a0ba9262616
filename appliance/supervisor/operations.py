# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators can ask of a running supervisor, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appliance import __version__
from appliance.config.model import Group
from appliance.decide.messages import (
    Cleanup,
    Discard,
    Fenced,
    Force,
    SetDrained,
    SetMaintenance,
    SetStandby,
    Switchover,
)
from appliance.decide.orders import destination, holder
from appliance.decide.view import DrbdReport
from appliance.errors import InputError, PairkeepError
from appliance.lvs.drain import chosen
from appliance.membership.codec import view_to_value
from appliance.supervisor.applying import Applying
from appliance.supervisor.core import Core
from appliance.supervisor.requests import Done, nobody
from appliance.supervisor.service import SupervisorService
from appliance.supervisor.status import status, why
from appliance.supervisor.verify import Verifier

EVENTS_IN_STATUS = 8


class SupervisorOperations:
    """Implements `api.Operations`. ``text``: the cluster.toml that the service runs by."""

    def __init__(self, service: SupervisorService, text: str) -> None:
        self._service = service
        self._text = text
        self._core: Core = service.core
        self._verifier = Verifier(service)
        self._applying = Applying(self._core, service.ballot, text)

    def status(self) -> dict[str, Any]:
        recent = list(self._service.events)[-EVENTS_IN_STATUS:]
        return status(self._core, self._verifier.results, recent)

    def why(self, group: str) -> dict[str, Any]:
        return why(self._core, self._group(group).name)

    def events(self) -> list[dict[str, Any]]:
        return list(self._service.events)

    def dump(self) -> dict[str, Any]:
        """All that a dry run needs to begin where the cluster stands (rehearsal.state reads it)."""
        view = view_to_value(self._core.view)
        return {"version": __version__, "node": self._core.me, "cluster_toml": self._text, "view": view}

    def switchover(self, group: str, node: str) -> str:
        """Order ``group`` to ``node``, or to the best other one when empty; returns the node's name."""
        if node:
            self._node(node)
        there = destination(self._core.view, self._group(group), node)
        if there != holder(self._core.view, group):
            self._core.wish(Switchover("", group, there))
        return there

    def standby(self, node: str, on: bool, done: Done) -> None:
        self._node(node)
        self._core.wish(SetStandby("", node, on), done)

    def stand_aside(self, node: str, done: Done) -> None:
        """Put ``node`` in standby for a while, if no other one is. Another may be first yet: look at the status."""
        self._node(node)
        others = [name for name in self._core.view.record.standby if name != node]
        if others:
            raise InputError(f"{others[0]} is in standby, and one node at a time may be", hint="pairkeep status")
        self._core.wish(SetStandby("", node, True, alone=True), done)

    def maintenance(self, on: bool, done: Done) -> None:
        self._core.wish(SetMaintenance("", on), done)

    def drain(self, virtual: str, real: str, on: bool, done: Done) -> list[str]:
        """Give ``real`` no new connections of ``virtual`` (empty: of any), or some again; returns who was meant."""
        servers = chosen(self._core.cluster, virtual, real)
        for server in servers:
            # Wishes are heard in the order in which they were made.
            self._core.wish(SetDrained("", server, on), done if server == servers[-1] else nobody)
        return servers

    def cleanup(self, group: str, done: Done) -> None:
        self._core.wish(Cleanup("", self._group(group).name), done)

    def confirm_fenced(self, node: str, done: Done) -> None:
        """Take a person's word that ``node`` is off."""
        self._node(node)
        if node in self._core.view.members:
            raise InputError(f"{node} takes part in the cluster, so it is not off")
        if self._core.absences.in_ring(node):
            raise InputError(f"{node} is not off: its corosync answers, only its supervisor does not")
        if self._core.quorate and self._core.view.surely_down(node):
            raise InputError(f"{node} is known to be down already")
        self._core.wish(Fenced("", node, by_hand=True), done)

    def fence(self, node: str, done: Done) -> None:
        """Switch ``node`` off and see that it is, as a test."""
        self._node(node)
        if not self._core.cluster.node(node).fence:
            raise InputError(f"{node} has no fence device")
        if node == self._core.me:
            raise InputError(f"{node} does not switch itself off", hint="give the command on another node")
        self._service.fences.test(node, done)

    def recover_force(self, drbd: str, node: str, done: Done) -> None:
        """Let the copy of ``drbd`` on ``node`` count as the newest."""
        self._drbd(drbd)
        self._node(node)
        view = self._core.view
        side = self._side(drbd, node)
        if self._core.cluster.node(node).votes_only:
            raise InputError(f"{node} only votes and has no copy")
        if node not in view.members:
            raise InputError(f"{node} does not take part in the cluster")
        primaries = [n for n, r in view.reports.items() if drbd in r.drbd and r.drbd[drbd].role == "Primary"]
        if primaries:
            raise InputError(f"{drbd} is in use on {primaries[0]}, so nothing has to be forced")
        if view.record.current.get(drbd) == (node,) and side.disk == "UpToDate":
            raise InputError(f"the copy on {node} counts as the newest already", hint="pairkeep why GROUP")
        if side.disk not in ("Consistent", "Outdated", "UpToDate"):
            raise InputError(f"the copy on {node} is {side.disk}: it is not a whole copy of any moment")
        self._core.wish(Force("", drbd, node), done)

    def recover_split_brain(self, drbd: str, node: str, done: Done) -> None:
        """Throw away what ``node`` alone has changed, and copy the other side's data to it."""
        self._drbd(drbd)
        self._node(node)
        view = self._core.view
        sides = {n: r.drbd[drbd] for n, r in view.reports.items() if drbd in r.drbd}
        if len(sides) < len(self._core.cluster.workers):
            raise InputError("both nodes have to take part for that")
        if not any(side.split_brain for side in sides.values()):
            raise InputError(f"{drbd} has no split brain")
        if node not in sides:
            raise InputError(f"{node} only votes and has no copy")
        if sides[node].role == "Primary":
            raise InputError(f"{drbd} is in use on {node}", hint=f"pairkeep standby {node}")
        if node in view.record.current.get(drbd, ()):
            raise InputError(
                f"{node} holds the newest data on record, so its changes are not the ones to throw away",
                hint=f"if you know better: pairkeep recover force {drbd} {self._core.cluster.peer_of(node)}",
            )
        self._core.wish(Discard("", drbd, node), done)

    def recover_disk(self, drbd: str, done: Done) -> None:
        """Take up this node's disk again, or a blank one in its place."""
        self._own_drbd(drbd)
        side = self._core.local.drbd.get(drbd, DrbdReport())
        if side.disk != "Diskless":
            raise InputError(f"the disk of {drbd} on {self._core.me} is {side.disk}, so it is not missing")
        driver = self._service.executor.drbd[drbd]
        alone = self._core.view.record.current.get(drbd, ()) == (self._core.me,)

        def job() -> Callable[[], None]:
            error: PairkeepError | None = None
            try:
                if alone and not driver.has_metadata():
                    # A blank disk would be filled from the other one, which lacks writes, and count as the newest.
                    peer = self._core.cluster.peer_of(self._core.me)
                    raise InputError(
                        f"the disk that was lost held writes that {peer} lacks",
                        hint=f"put it back if you can; otherwise first: pairkeep recover force {drbd} {peer}",
                    )
                # One that was replaced while the machine was off never came up.
                (driver.up_anew if side.role == "Unconfigured" else driver.attach)()
            except PairkeepError as failure:
                error = failure
            return lambda: done(error)

        self._service.lanes.put(f"drbd:{drbd}", job)

    def preview(self, text: str) -> dict[str, Any]:
        return self._applying.preview(text)

    def apply(self, text: str, who: str, why: str, unchecked: bool, done: Done) -> None:
        self._applying.apply(text, who, why, unchecked, done)

    def verify(self, drbd: str) -> None:
        self._own_drbd(drbd)
        self._verifier.start(drbd)

    def split_brain(self, drbd: str) -> None:
        self._service.disks.split_brain(drbd)

    def fence_peer(self, drbd: str, answer: Callable[[int], None]) -> None:
        self._service.fence_peer(drbd, answer)

    def _drbd(self, name: str) -> None:
        names = [d.name for d in self._core.cluster.drbd]
        if name not in names:
            raise InputError(f"there is no DRBD resource {name!r}; there is {', '.join(names) or 'none'}")

    def _own_drbd(self, name: str) -> None:
        self._drbd(name)
        if name not in self._service.executor.drbd:
            workers = " or ".join(n.name for n in self._core.cluster.workers)
            raise InputError(
                f"{self._core.me} only votes and has no copy of {name}", hint=f"give the command on {workers}"
            )

    def _side(self, drbd: str, node: str) -> DrbdReport:
        report = self._core.view.reports.get(node)
        return report.drbd.get(drbd, DrbdReport()) if report else DrbdReport()

    def _group(self, name: str) -> Group:
        names = [g.name for g in self._core.cluster.groups]
        if name not in names:
            raise InputError(f"there is no group {name!r}; there is {', '.join(names) or 'none'}")
        return self._core.cluster.group(name)

    def _node(self, name: str) -> None:
        names = [n.name for n in self._core.cluster.nodes]
        if name not in names:
            raise InputError(f"there is no node {name!r}; there are {', '.join(names)}")
