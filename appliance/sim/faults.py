# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong in a simulated cluster.

A fault is a function of the cluster, a node, and plain values. What draws its values stands beside it, so that a
life's script is known before it is lived.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from appliance.config.model import Address, Cluster, Filesystem, Service
from appliance.decide.messages import Fenced, SetMaintenance, SetStandby, Switchover
from appliance.decide.view import BLANK
from appliance.errors import InputError
from appliance.sim.cluster import SimCluster
from appliance.sim.device import MOODS
from appliance.sim.repair import plug_all, start_supervisor
from appliance.sim.resources import TROUBLES
from appliance.sim.script import Value

Fault = Callable[..., None]
Draw = Callable[[random.Random, Cluster], tuple[Value, ...]]

FAULTS: dict[str, Fault] = {}
DRAWS: dict[str, Draw] = {}
# Those that nobody need put right for the service to run again, and those that must not even be noticed.
SURVIVABLE: list[str] = []
UNNOTICED: list[str] = []


def _fault(
    draw: Draw = lambda _chance, _cluster: (), *, survivable: bool = False, unnoticed: bool = False
) -> Callable[[Fault], Fault]:
    def register(fault: Fault) -> Fault:
        name = fault.__name__
        FAULTS[name], DRAWS[name] = fault, draw
        if survivable:
            SURVIVABLE.append(name)
        if unnoticed:
            UNNOTICED.append(name)
        return fault

    return register


def _seconds(least: float, most: float) -> Draw:
    return lambda chance, _cluster: (round(chance.uniform(least, most), 2),)


def _one_of(*choices: Value) -> Draw:
    return lambda chance, _cluster: (chance.choice(choices),)


def _pair(chance: random.Random, cluster: Cluster) -> tuple[Value, ...]:
    return (chance.choice(cluster.drbd).name,)


def _group(chance: random.Random, cluster: Cluster) -> tuple[Value, ...]:
    return (chance.choice(cluster.groups).name,)


# Power ----------------------------------------------------------------------------------------------


@_fault(survivable=True)
def power_cut(sim: SimCluster, node: str) -> None:
    sim.machines[node].power_off("power cut")


@_fault(survivable=True)
def reset(sim: SimCluster, node: str) -> None:
    sim.machines[node].reset("is reset")


@_fault(_one_of("before", "after"))
def cut_while_writing(sim: SimCluster, node: str, when: str) -> None:
    """The power cut comes when the node writes the record: just before, or before it can tell of it."""
    site = sim.sites[node]
    site.cut = "before" if when == "before" else "after"
    sim.later(20.0, site.spare)


@_fault(
    lambda chance, _cluster: (
        round(chance.choice((0.5, 2.0, 8.0, 14.0, 40.0)) * chance.uniform(0.8, 1.2), 2),
        chance.choice(("still", "still", "sleeps")),
    ),
    survivable=True,
)
def pause(sim: SimCluster, node: str, seconds: float, how: str) -> None:
    """The whole machine stands still; when it ``sleeps``, its clock has leapt when it wakes up."""
    machine = sim.machines[node]
    machine.pause(sleeps=how == "sleeps")
    sim.later(seconds, machine.resume)


@_fault(survivable=True)
def shut_down(sim: SimCluster, node: str) -> None:
    process = sim.sites[node].process
    if process is not None:
        sim.story.tell(node, "shuts down")
        process.core.stop(shutting_down=True)
        # systemd's own time-out for what does not want to end.
        machine = sim.machines[node]
        boots = machine.boots
        sim.clock.after(60.0, lambda: _switch_off(sim, node, boots))


def _switch_off(sim: SimCluster, node: str, boots: int) -> None:
    if sim.machines[node].boots == boots:
        sim.machines[node].power_off("is switched off, as its shutdown took too long")


@_fault(_one_of(*MOODS))
def break_device(sim: SimCluster, node: str, mood: str) -> None:
    """What should switch ``node`` off does not, or too late, or says so wrongly."""
    if node in sim.devices:
        sim.story.tell(node, "its fence device {} from now on", mood)
        sim.devices[node].mood = next(m for m in MOODS if m == mood)


@_fault(_one_of(*MOODS))
def cut_off_unfenced(sim: SimCluster, node: str, mood: str) -> None:
    """The other wants to switch ``node`` off, and cannot."""
    break_device(sim, node, mood)
    pull_all(sim, node)


@_fault()
def confirm(sim: SimCluster, node: str) -> None:
    """A person looks whether ``node`` is off and says so."""
    for other, site in sim.sites.items():
        if other != node and not sim.machines[node].powered and site.process is not None and site.machine.running:
            sim.story.tell("person", "says on {} that {} is off", other, node)
            site.process.core.wish(Fenced("", node, by_hand=True))


# Networks -------------------------------------------------------------------------------------------


@_fault(_pair, survivable=True)
def pull_replication(sim: SimCluster, node: str, pair: str) -> None:
    sim.plug(sim.pairs[pair].link, node, plugged=False)


@_fault(survivable=True)
def pull_service(sim: SimCluster, node: str) -> None:
    sim.plug(1, node, plugged=False)


@_fault(survivable=True)
def pull_all(sim: SimCluster, node: str) -> None:
    for network in range(1, sim.network.networks + 1):
        sim.plug(network, node, plugged=False)


@_fault(_seconds(0.2, 5.0), survivable=True)
def blink(sim: SimCluster, node: str, seconds: float) -> None:
    """All cables of a node are out for a moment, about as long as it takes to be noticed."""
    pull_all(sim, node)
    sim.later(seconds, lambda: plug_all(sim, node))


@_fault(
    lambda chance, cluster: (
        chance.choice([n.name for n in cluster.nodes]),
        chance.choice(("all", *range(1, len(cluster.networks) + 1))),
    ),
    survivable=True,
)
def deafen(sim: SimCluster, node: str, to: str, network: float | str) -> None:
    """What ``node`` sends does not reach ``to`` any more, but it still hears ``to``."""
    if to == node:
        return
    for each in range(1, sim.network.networks + 1) if network == "all" else (int(network),):
        sim.network.deaf.add((each, node, to))
    sim.story.tell(node, "is heard by {} no more, on network {}", to, network)
    sim.reachability_changed()


@_fault(lambda _chance, cluster: (cluster.workers[0].name, cluster.workers[1].name))
def flap(sim: SimCluster, _node: str, first: str, second: str) -> None:
    """Two workers hear each other one way only, and what is heard breaks the ring again before knet gives up."""
    deafen(sim, first, second, "all")
    for delay in (2.5, 4.0):
        sim.later(delay, lambda: sim.corosync.stumble(second))


@_fault(_seconds(2.0, 30.0), survivable=True)
def slow_down(sim: SimCluster, node: str, seconds: float) -> None:
    """Messages of all kinds reach ``node`` late for a while, and now and then the token is lost."""
    sim.network.slow.add(node)
    sim.story.tell(node, "is reached slowly for {} s", seconds)
    sim.later(seconds, lambda: sim.network.slow.discard(node))
    sim.later(seconds * 0.4, lambda: sim.corosync.stumble(node))
    sim.later(seconds * 0.7, lambda: sim.corosync.stumble(node))


@_fault(survivable=True)
def lose_token(sim: SimCluster, node: str) -> None:
    """The ring forms again, with the same members."""
    sim.story.tell(node, "loses the token")
    sim.corosync.stumble(node)


@_fault(survivable=True)
def crash_corosync(sim: SimCluster, node: str) -> None:
    sim.sites[node].crash_corosync()


# Disks ----------------------------------------------------------------------------------------------


@_fault(
    lambda chance, cluster: (
        *_pair(chance, cluster),
        chance.choice(("blank", "old")),
        round(chance.choice((3.0, 20.0, 60.0)) * chance.uniform(0.5, 1.5), 1),
    ),
    survivable=True,
)
def fail_disk(sim: SimCluster, node: str, pair: str, spare: str, seconds: float) -> None:
    """The disk below DRBD gives errors; after ``seconds`` a blank one is put in, or the old one works again.

    A person who is ``careless`` asks DRBD alone whether the other disk is good, and not `pairkeep status`.
    """
    if node in sim.pairs[pair].sides and not sim.pairs[pair].sides[node].dead:
        sim.story.tell(node, "the disk of {} fails", pair)
        sim.pairs[pair].disk_fails(node)
        sim.later(seconds, lambda: _replace(sim, node, pair, blank=spare != "old", careless=spare == "careless"))


def _replace(sim: SimCluster, node: str, pair: str, *, blank: bool, careless: bool) -> None:
    disks = sim.pairs[pair]
    peer = disks.peer(disks.sides[node])
    newest = max((m.record for m in sim.machines.values()), key=lambda record: record.stamp)
    # Who puts in a blank disk looks first whether the other one has the data, unless careless.
    has = peer.disk == "UpToDate" and (careless or peer.name in newest.current.get(pair, ()))
    if disks.sides[node].dead and (has or not blank):
        sim.story.tell("person", "{} gets {} disk for {}", node, "a blank" if blank else "its old", pair)
        disks.replace_disk(node, blank=blank)
        disks.attach(node)


@_fault(_seconds(5.0, 60.0))
def replace_machine(sim: SimCluster, node: str, seconds: float) -> None:
    """A machine is lost with all its disks; a new one gets its name, its keys and cluster.toml from a backup."""
    mine = [(name, disks) for name, disks in sim.pairs.items() if node in disks.sides]
    newest = max((m.record for m in sim.machines.values()), key=lambda record: record.stamp)
    for name, disks in mine:
        peer = disks.peer(disks.sides[node])
        # Who would throw the only good copy away is asked not to.
        if peer.disk != "UpToDate" or peer.name not in newest.current.get(name, ()):
            return
    sim.story.tell(node, "is lost with its disks, and replaced by a new machine from its backup")
    sim.machines[node].power_off("loses its power")
    for _name, disks in mine:
        disks.disk_fails(node)
        disks.replace_disk(node, blank=True)
    sim.machines[node].record = BLANK
    sim.later(seconds, lambda: sim.machines[node].power_on())


@_fault(_seconds(5.0, 60.0))
def lose_a_witness_of_writes(sim: SimCluster, node: str, seconds: float) -> None:
    """``node`` goes on alone with a third; that one is replaced, and ``node`` lost, before the other is back."""
    third = next((n.name for n in sim.cluster.nodes if n.votes_only), None)
    if third is None or node == third:
        return
    peer = sim.cluster.peer_of(node)
    pull_all(sim, peer)

    def lose() -> None:
        replace_machine(sim, third, 1.0)
        sim.machines[node].power_off("power cut")
        plug_all(sim, peer)
        sim.later(seconds, sim.machines[node].power_on)

    sim.later(10.0, lose)


# Services and supervisors ---------------------------------------------------------------------------


@_fault(unnoticed=True)
def kill_supervisor(sim: SimCluster, node: str) -> None:
    sim.sites[node].kill_supervisor()


@_fault(_seconds(3.0, 20.0), unnoticed=True)
def restart_supervisor(sim: SimCluster, node: str, seconds: float) -> None:
    """Stopped for an upgrade, and started again."""
    process = sim.sites[node].process
    if process is not None:
        sim.story.tell(node, "supervisor is stopped")
        process.core.stop(shutting_down=False)
        sim.later(seconds, lambda: start_supervisor(sim.sites[node]))


@_fault(survivable=True)
def kill_service(sim: SimCluster, node: str) -> None:
    _fail(sim, node, Service)


@_fault(_group, survivable=True)
def sicken(sim: SimCluster, node: str, group: str) -> None:
    """A service dies and cannot be started on this node any more; the other node is fine."""
    for resource in sim.cluster.group(group).resources:
        if isinstance(resource, Service):
            resources = sim.sites[node].resources
            resources.trouble["start", resource.id] = "fails"
            sim.story.tell(node, "{} dies, and cannot be started here any more", resource.id)
            resources.fail(resource)


@_fault(lambda chance, cluster: (*_group(chance, cluster), chance.choice(("service", "address"))), survivable=True)
def jam(sim: SimCluster, node: str, group: str, what: str) -> None:
    """Whoever runs the group is put in standby, and one of its resources cannot be stopped."""
    kind = Service if what == "service" else Address
    for resource in [r for r in sim.cluster.group(group).resources if isinstance(r, kind)][:1]:
        for here in sim.serving(group):
            sim.sites[here].resources.trouble["stop", resource.id] = "fails"
            sim.story.tell(here, "{} cannot be stopped any more", resource.id)
            wish(sim, node, SetStandby("", here, True), f"puts {here} in standby")


@_fault()
def break_filesystem(sim: SimCluster, node: str) -> None:
    """A mounted file system cannot be read any more."""
    _fail(sim, node, Filesystem)


def _fail(sim: SimCluster, node: str, kind: type[Service] | type[Filesystem]) -> None:
    for group in sim.cluster.groups:
        for resource in group.resources:
            if resource.id in sim.sites[node].resources.on and isinstance(resource, kind):
                sim.story.tell(node, "{} fails", resource.id)
                sim.sites[node].resources.fail(resource)


@_fault(
    lambda chance, cluster: (
        chance.choice(("start", "stop")),
        chance.choice([r.id for g in cluster.groups for r in g.resources]),
        chance.choice(TROUBLES),
    )
)
def trouble(sim: SimCluster, node: str, verb: str, resource: str, what: str) -> None:
    """Starts or stops of one resource go wrong from now on."""
    sim.story.tell(node, "from now on {} of {}: {}", verb, resource, what)
    sim.sites[node].resources.trouble[verb, resource] = next(t for t in TROUBLES if t == what)


@_fault(lambda chance, cluster: (*_group(chance, cluster), round(chance.uniform(1.0, 25.0), 1)), unnoticed=True)
def blind(sim: SimCluster, node: str, group: str, seconds: float) -> None:
    """For a while the resources of a group cannot be looked at."""
    resources = sim.sites[node].resources
    sim.story.tell(node, "{} cannot be looked at for {} s", group, seconds)
    resources.blind.add(group)
    sim.later(seconds, lambda: resources.blind.discard(group))


# Operators ------------------------------------------------------------------------------------------


@_fault(_group, survivable=True)
def switchover(sim: SimCluster, node: str, group: str) -> None:
    if not sim.cluster.node(node).votes_only:
        wish(sim, node, Switchover("", group, node), f"orders {group} to {node}")


@_fault(survivable=True)
def standby(sim: SimCluster, node: str) -> None:
    wish(sim, node, SetStandby("", node, True), f"puts {node} in standby")


@_fault()
def online(sim: SimCluster, node: str) -> None:
    wish(sim, node, SetStandby("", node, False), f"puts {node} online")


@_fault(_one_of("switchover", "standby", "maintenance"))
def at_once(sim: SimCluster, node: str, what: str) -> None:
    """Two persons on two nodes want opposite things at the same moment."""
    for here in (n.name for n in sim.cluster.workers):
        if what == "switchover":
            for group in sim.cluster.groups:
                wish(sim, here, Switchover("", group.name, here), f"orders {group.name} to {here}")
        elif what == "standby":
            wish(sim, here, SetStandby("", node, here == "alpha"), f"switches standby of {node}")
        else:
            wish(sim, here, SetMaintenance("", here == "alpha"), "switches maintenance")


def wish(sim: SimCluster, node: str, change: Switchover | SetStandby | SetMaintenance, words: str) -> bool:
    process = sim.sites[node].process
    if process is None or not sim.machines[node].running:
        return False
    try:
        process.core.wish(change)
    except InputError:
        return False
    sim.story.tell("person", "{}, on {}", words, node)
    return True
