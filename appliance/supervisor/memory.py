# SPDX-License-Identifier: GPL-2.0-or-later
"""The record on this node's disk: nothing is promised to the others that is not there."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.decide.messages import Persisted
from appliance.decide.view import ClusterView, Record
from appliance.supervisor.world import Event, World


@dataclass
class Memory:
    """``on_disk`` is what was written last; ``unwritten`` says why what came after it could not be."""

    world: World
    on_disk: Record
    unwritten: str = ""

    def keep(self, view: ClusterView) -> None:
        """Write down what has changed, and tell so.

        A node that cannot write stays and says that, to be asked again soon: if its supervisor ended, the next one
        would find the same disk. It is no holder of this version then, so no majority counts on it.
        """
        if not view.adopted or view.record == self.on_disk:
            return
        had, self.unwritten = self.unwritten, ""
        try:
            self.world.persist(view.record)
        except OSError as error:
            self.unwritten = f"it cannot write its record: {error.strerror}"
        else:
            self.on_disk = view.record
            self.world.multicast(Persisted(view.record.stamp))
        if self.unwritten != had:
            self.world.tell(Event("warning", self.unwritten or f"no longer: {had}", {"about": "record"}))
