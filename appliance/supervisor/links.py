# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node has to reach to be of use: its service addresses' networks by their cables, and what it pings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gi.repository import GLib

from appliance.config.model import Address, Cluster
from appliance.drivers.address import AddressDriver
from appliance.drivers.ping import answered
from appliance.supervisor.core import Core
from appliance.supervisor.executor import Executor
from appliance.supervisor.lanes import Lanes

# How often it is looked at, and how often in a row something has to be missing: one lost packet moves nothing.
LOOK_S = 3
MISSES = 3


class Links:
    """Of this node, for the groups that it may run by ``cluster``."""

    def __init__(self, cluster: Cluster, executor: Executor, lanes: Lanes, core: Core) -> None:
        self._networks = dict(_drivers(cluster, executor))
        self._pinged = tuple(map(str, cluster.ping)) if cluster.groups else ()
        self._misses = dict.fromkeys((*self._networks, *self._pinged), 0)
        self._lanes = lanes
        self._core = core

    def start(self) -> None:
        """Begin to look."""
        if self._misses:
            GLib.timeout_add_seconds(LOOK_S, self._look)

    def _look(self) -> bool:
        self._lanes.put("links", self._look_at_all)
        return False

    def _look_at_all(self) -> Callable[[], None]:
        found = {name: driver.has_carrier() for name, driver in self._networks.items()}
        found |= {address: answered(address) for address in self._pinged}

        def then() -> None:
            for name, reached in found.items():
                self._misses[name] = 0 if reached else self._misses[name] + 1
            self._core.on_reached([name for name, misses in self._misses.items() if misses >= MISSES])
            GLib.timeout_add_seconds(LOOK_S, self._look)

        return then


def _drivers(cluster: Cluster, executor: Executor) -> Iterator[tuple[str, AddressDriver]]:
    """For each network in which groups have addresses its name, and the driver of one of them."""
    for group in cluster.groups:
        for index, resource in enumerate(group.resources):
            driver = executor.driver(group.name, index)
            if isinstance(resource, Address) and isinstance(driver, AddressDriver):
                yield resource.interface or str(resource.address.network), driver
