# SPDX-License-Identifier: GPL-2.0-or-later
"""What a new cluster.toml changes, what that does to the services, and what cannot be changed while they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from appliance.config.initiator import Initiator
from appliance.config.model import Cluster, Drbd, Group, Node, Resource
from appliance.config.realserver import RealServerRole
from appliance.upkeep import targets

# Why these cannot change under a running cluster. Each is a promise that nodes have made to each other.
FIXED: dict[str, str] = {
    "name": "it is part of what corosync encrypts and checks",
    "networks": "corosync and DRBD are bound to these addresses",
    "token_ms": "corosync has to be started with it on all nodes at once",
    "watchdog_s": "the others wait as long as this node's watchdog was armed for",
}
NODES = "nodes, their order, links and votes: corosync and DRBD are bound to them"
DISKS = "a disk, its link and its place in the file: DRBD was set up with them"
HOW = "to change it, set both machines up anew"
# What is compared one by one.
_NAMED = (
    "nodes",
    "drbd",
    "groups",
    "initiators",
    "targets",
    "virtuals",
    "vrrps",
    "director",
    "realservers",
    "notify",
)
# What ends so in a resource's options counts at its next start or stop, so nothing has to be stopped for it.
SOFT = ("probe", "timeout_s", "on_stop_failure")


@dataclass(frozen=True)
class Difference:
    """``lines``: one a change; ``stops``: groups that are stopped for it, ``gone`` those of them that are no more.

    ``refused``: what cannot be changed while the cluster runs, and why.
    """

    lines: tuple[str, ...]
    stops: tuple[str, ...]
    gone: tuple[str, ...]
    refused: tuple[str, ...]


def difference(old: Cluster, new: Cluster) -> Difference:
    lines: list[str] = []
    refused: list[str] = []
    for field in fields(Cluster):
        if field.name in _NAMED or getattr(old, field.name) == getattr(new, field.name):
            continue
        lines.append(_line(f"cluster.{field.name}", getattr(old, field.name), getattr(new, field.name)))
        if field.name in FIXED:
            refused.append(f"cluster.{field.name} cannot change while the cluster runs: {FIXED[field.name]}; {HOW}")
    lines += _nodes(old, new)
    if [_bound(n) for n in old.nodes] != [_bound(n) for n in new.nodes]:
        refused.append(f"{NODES}; {HOW}")
    lines += _disks(old, new)
    if [_set_up(d) for d in old.drbd] != [_set_up(d) for d in new.drbd]:
        refused.append(f"{DISKS}; {HOW}")
    lines += _named(
        "initiator", {i.name: i for i in old.initiators}, {i.name: i for i in new.initiators}, hidden=()
    )
    lines += targets.lines(old, new)
    refused += targets.refused(old, new)
    lines += _balancing(old, new)
    before, after = {g.name: g for g in old.groups}, {g.name: g for g in new.groups}
    for name in [*before, *(name for name in after if name not in before)]:
        lines += _group(before.get(name), after.get(name))
    # What such a resource has made is only taken back whole by what it was made by.
    remade = {RealServerRole(r.name) for r in old.realservers if r not in new.realservers}
    stops = tuple(
        name
        for name, group in before.items()
        if name not in after
        or _has_to_stop(group, after[name])
        or _initiators(old, group) != _initiators(new, group)
        or targets.has_to_stop(old, new, group)
        or remade.intersection(group.resources)
    )
    return Difference(tuple(lines), stops, tuple(n for n in stops if n not in after), tuple(refused))


def _line(key: str, old: object, new: object) -> str:
    return f"{key}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {each}" for key, each in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _bound(node: Node) -> Node:
    """What corosync and DRBD are set up with."""
    return replace(node, fence=())


def _set_up(drbd: Drbd) -> tuple[object, ...]:
    return drbd.name, drbd.disk, drbd.link, drbd.minor, drbd.port


def _initiators(cluster: Cluster, group: Group) -> list[Initiator]:
    """What ``group`` logs in with, as ``cluster`` has it: a session keeps what it began with."""
    return [i for i in cluster.initiators if i.name in group.initiators]


def _nodes(old: Cluster, new: Cluster) -> Iterator[str]:
    yield from _named(
        "node", {n.name: n for n in old.nodes}, {n.name: n for n in new.nodes}, hidden=("id", "fence")
    )
    had = {n.name: n for n in old.nodes}
    for node in new.nodes:
        if node.name in had and node.fence != had[node.name].fence:
            # Options may name accounts; who wants to see them has the file.
            agents = ", ".join(device.agent for device in node.fence) or "none"
            yield f"node.{node.name}.fence changes ({agents})"


def _disks(old: Cluster, new: Cluster) -> Iterator[str]:
    names = {d.name: d for d in old.drbd}, {d.name: d for d in new.drbd}
    yield from _named("drbd", *names, hidden=("minor", "port"))


def _balancing(old: Cluster, new: Cluster) -> Iterator[str]:
    """Nothing here stops a group: keepalived takes a change up without losing a connection."""
    yield from _fields("director", old.director, new.director, ())
    yield from _fields("notify", old.notify, new.notify, ())
    served, serves = ({r.name: r for r in each.realservers} for each in (old, new))
    yield from _named("realserver", served, serves, hidden=())
    yield from _named("vrrp", {v.name: v for v in old.vrrps}, {v.name: v for v in new.vrrps}, hidden=())
    had, has = {v.name: v for v in old.virtuals}, {v.name: v for v in new.virtuals}
    yield from _named("virtual", had, has, hidden=("reals",))
    for name in has.keys() & had.keys():
        before, after = ({r.name: r for r in each.reals} for each in (had[name], has[name]))
        yield from _named(f"virtual.{name}.real", before, after, hidden=("check",))
        for real in after.keys() & before.keys():
            yield from _fields(f"virtual.{name}.real.{real}.check", before[real].check, after[real].check, ())


def _named(
    kind: str, old: Mapping[str, object], new: Mapping[str, object], hidden: tuple[str, ...]
) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new or name not in old:
            yield f"{kind}.{name} {'goes' if name in old else 'is new'}"
        else:
            yield from _fields(f"{kind}.{name}", old[name], new[name], ("name", *hidden))


def _fields(key: str, old: object, new: object, hidden: tuple[str, ...]) -> Iterator[str]:
    for field in fields(old):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name not in hidden and before != after:
            # As it is written; "with" is no name that Python could have.
            yield _line(f"{key}.{'with' if field.name == 'leader' else field.name}", before, after)


def _group(old: Group | None, new: Group | None) -> Iterator[str]:
    if old is None or new is None:
        one = old or new
        assert one is not None  # noqa: S101 (a name comes from one of them)
        yield f"group.{one.name} {'is new' if old is None else 'goes'}: {_resources(one)}"
        return
    yield from _fields(f"group.{old.name}", old, new, ("name", "resources"))
    had, has = {r.id: r for r in old.resources}, {r.id: r for r in new.resources}
    for each in had:
        if each not in has:
            yield f"group.{old.name}: {each} goes"
    for each, resource in has.items():
        if each not in had:
            yield f"group.{old.name}: {each} is new"
        elif type(resource) is type(had[each]):
            yield from _fields(f"group.{old.name}: {each}", had[each], resource, ())
    if [r for r in had if r in has] != [r for r in has if r in had]:
        yield f"group.{old.name}: another order: {_resources(new)}"


def _resources(group: Group) -> str:
    return ", ".join(resource.id for resource in group.resources)


def _has_to_stop(old: Group, new: Group) -> bool:
    """More at the end, which is started last, needs no stop; nor does what only counts at the next start."""
    kept = new.resources[: len(old.resources)]
    return tuple(map(_hard, old.resources)) != tuple(map(_hard, kept))


def _hard(resource: Resource) -> tuple[object, ...]:
    options = [field.name for field in fields(resource) if not field.name.endswith(SOFT)]
    return (type(resource), *(getattr(resource, name) for name in options))
