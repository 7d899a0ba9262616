# SPDX-License-Identifier: GPL-2.0-or-later
"""The fence devices beside the decisions: asked now and then, tried on a person's word, and switching on again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gi.repository import GLib

from appliance.config.model import Cluster
from appliance.decide.steps import Fence, lane
from appliance.errors import PairkeepError
from appliance.supervisor.core import Core
from appliance.supervisor.executor import Executor
from appliance.supervisor.lanes import Lanes
from appliance.supervisor.requests import Done
from appliance.supervisor.world import Event

# How often devices are asked whether they are there, so that they are not missed when they are needed; the first
# time when the boot is over.
CHECK_S = 300
FIRST_CHECK_S = 20


class Fences:
    """Those of the other nodes."""

    def __init__(self, cluster: Cluster, executor: Executor, lanes: Lanes, core: Core) -> None:
        self._cluster = cluster
        self._fences = executor.fences
        self._lanes = lanes
        self._core = core
        # Whom an agent was told to switch off and gave up on: it may have happened all the same, later.
        self._doubtful: set[str] = set()

    def start(self) -> None:
        """Begin to ask them."""
        if self._fences:
            GLib.timeout_add_seconds(FIRST_CHECK_S, lambda: self._check() and False)
            GLib.timeout_add_seconds(CHECK_S, self._check)

    def test(self, node: str, done: Done) -> None:
        """Switch ``node`` off because a person wants it."""
        self._core.world.tell(Event("fencing", f"{node} is switched off, as ordered", {"node": node}))

        def job() -> Callable[[], None]:
            try:
                self._fences[node].off()
            except PairkeepError as error:
                return partial(done, error)
            return off

        def off() -> None:
            self._core.on_step_done(Fence(node), None)
            self.switch_on(node)
            done(None)

        self._lanes.put(lane(Fence(node)), job)

    def switch_on(self, node: str) -> None:
        """What ran there is gone for good: switched on again it comes back as one that has just booted."""
        if self._cluster.fence_then == "on":
            self._lanes.put(lane(Fence(node)), partial(self._on, node))

    def failed(self, node: str) -> None:
        """``node`` could not be switched off as far as is known. Should it be off after all, it is our doing."""
        self._doubtful.add(node)

    def _on(self, node: str) -> Callable[[], None]:
        try:
            self._fences[node].on()
        except PairkeepError as error:
            text = f"{node} could not be switched on again: {error.message}"
            return lambda: self._core.world.tell(Event("failed", text, {"node": node}))
        return lambda: None

    def _check(self) -> bool:
        for node in self._fences:
            # Not in the lane of the fencing itself, which would wait for a device that takes its time.
            self._lanes.put(f"check-fence:{node}", partial(self._check_one, node))
        return True

    def _check_one(self, node: str) -> Callable[[], None]:
        state = self._fences[node].check()
        problem = "; ".join(state.problems)
        text = f"the fence devices of {node} do not work: {problem}" if problem else ""

        def then() -> None:
            self._core.on_warning(f"fence:{node}", text)
            if node in self._core.view.members:
                self._doubtful.discard(node)
            elif state.off and node in self._doubtful:
                self._doubtful.discard(node)
                self.switch_on(node)

        return then
