# SPDX-License-Identifier: GPL-2.0-or-later
"""What groups ask of nodes and of each other: preferences, order, company, and what contradicts itself in that.

As in `rules`, what the schema refused is absent here (None in arrays), and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from appliance.config.shape import Path, Problem, shown

Raw = Mapping[str, Any]
# The score of a node that must not run a group.
NEVER = "never"
# What only makes sense for a group that moves for a better score.
_OF_FAILBACK = ("failback_delay_s", "stickiness")
# What a group that goes where another one goes cannot have.
_OF_LEADERS = ("prefer", "scores", "failback", *_OF_FAILBACK)


def problems(raw: Raw) -> Iterator[Problem]:
    """Everything about groups as a whole; their resources are the business of `rules`."""
    nodes = raw.get("node", {})
    workers = [name for name, node in nodes.items() if node.get("votes_only") is not True]
    groups = [(i, group) for i, group in enumerate(raw.get("group", [])) if group is not None]
    names: set[str] = set()
    for i, group in groups:
        name = group.get("name")
        if name in names:
            yield ("group", i, "name"), f"found {shown(name)}, expected a name that no other group has"
        if name is not None:
            names.add(name)
        if "node" in raw:
            yield from _preferences(("group", i), group, nodes, workers)
        yield from _of_one(("group", i), group)
    # A group that cannot be read may be the one that is meant.
    whole = len(groups) == len(raw.get("group", [])) and all("name" in group for _, group in groups)
    if whole:
        found = list(_references(groups, names))
        yield from found or _together(groups)


def _preferences(path: Path, group: Raw, nodes: Raw, workers: list[str]) -> Iterator[Problem]:
    scores = group.get("scores", {})
    named = [((*path, "prefer"), group["prefer"])] if "prefer" in group else []
    named += [((*path, "scores", node), node) for node in scores]
    for where, node in named:
        if node not in workers:
            why = "that node only votes" if node in nodes else "there is no such node"
            yield where, f"found {shown(node)}, expected {' or '.join(workers) or 'a node'}: {why}"
    never = [node for node in workers if scores.get(node) == NEVER]
    if never and len(never) == len(workers):
        yield (*path, "scores"), f'found "{NEVER}" for every node, expected one that may run the group'
    elif group.get("prefer") in never:
        yield (*path, "prefer"), f'found {shown(group["prefer"])}, whose score is "{NEVER}"; expected another node'


def _of_one(path: Path, group: Raw) -> Iterator[Problem]:
    if "with" in group:
        for key in _OF_LEADERS:
            if key in group:
                text = f"expected none: it goes where {group['with']} goes, which is asked instead"
                yield (*path, key), f"found {shown(group[key])}, {text}"
        return
    for key in _OF_FAILBACK:
        if key in group and group.get("failback") is not True:
            text = "expected failback = true beside it: without that the group stays where it runs"
            yield (*path, key), f"found {shown(group[key])}, {text}"


def _references(groups: list[tuple[int, Raw]], names: set[str]) -> Iterator[Problem]:
    for i, group in groups:
        named: list[tuple[Path, str | None]] = [
            (("group", i, key, j), name)
            for key in ("after", "apart_from")
            for j, name in enumerate(group.get(key, []))
        ]
        named += [(("group", i, "with"), group["with"])] if "with" in group else []
        for path, name in named:
            if name is not None and (name not in names or name == group["name"]):
                others = " or ".join(sorted(names - {group["name"]})) or "none: there is no other group"
                yield path, f"found {shown(name)}, expected {others}"


def _together(groups: list[tuple[int, Raw]]) -> Iterator[Problem]:
    """Circles, and groups that are to be together and apart. All names are known to be right."""
    depends = {
        group["name"]: [
            *(name for key in ("after", "apart_from") for name in group.get(key, []) if name is not None),
            *([group["with"]] if "with" in group else []),
        ]
        for _, group in groups
    }
    try:
        order = tuple(TopologicalSorter(depends).static_order())
    except CycleError as error:
        # Each one depends on the next, graphlib says it the other way round.
        circle = list(reversed(error.args[1]))
        i = next(i for i, group in groups if group["name"] == circle[0])
        yield (
            ("group", i),
            f"depends on itself: {' on '.join(circle)}; expected no circle of after, with, apart_from",
        )
        return
    by_name = {group["name"]: group for _, group in groups}
    leader: dict[str, str] = {}
    for name in order:
        above = by_name[name].get("with")
        leader[name] = leader[above] if above is not None else name
    for i, group in groups:
        for j, other in enumerate(group.get("apart_from", [])):
            if other is not None and leader[other] == leader[group["name"]]:
                text = f"expected a group that it may be apart from: both run where {leader[other]} runs"
                yield ("group", i, "apart_from", j), f"found {shown(other)}, {text}"
