# SPDX-License-Identifier: GPL-2.0-or-later
"""How the faults of the simulator are known by their names, and what draws the values that they take."""

from __future__ import annotations

import random
from collections.abc import Callable

from appliance.config.model import Cluster
from appliance.sim.script import Value

Fault = Callable[..., None]
Draw = Callable[[random.Random, Cluster], tuple[Value, ...]]

FAULTS: dict[str, Fault] = {}
DRAWS: dict[str, Draw] = {}
# Those that nobody need put right for the service to run again, and those that must not even be noticed.
SURVIVABLE: list[str] = []
UNNOTICED: list[str] = []


def fault(
    draw: Draw = lambda _chance, _cluster: (), *, survivable: bool = False, unnoticed: bool = False
) -> Callable[[Fault], Fault]:
    def register(what: Fault) -> Fault:
        name = what.__name__
        FAULTS[name], DRAWS[name] = what, draw
        if survivable:
            SURVIVABLE.append(name)
        if unnoticed:
            UNNOTICED.append(name)
        return what

    return register


def within(least: float, most: float) -> Draw:
    return lambda chance, _cluster: (round(chance.uniform(least, most), 2),)


def one_of(*choices: Value) -> Draw:
    return lambda chance, _cluster: (chance.choice(choices),)


def a_pair(chance: random.Random, cluster: Cluster) -> tuple[Value, ...]:
    return (chance.choice(cluster.drbd).name,)


def a_group(chance: random.Random, cluster: Cluster) -> tuple[Value, ...]:
    return (chance.choice(cluster.groups).name,)
