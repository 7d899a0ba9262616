# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong in a simulated cluster.

A fault is a function of the cluster, a node, and plain values. What draws its values stands beside it, so that a
life's script is known before it is lived.
"""

from __future__ import annotations

from appliance.config.model import Address, Filesystem, Service
from appliance.decide.messages import Change, Fenced, SetMaintenance, SetStandby, Switchover
from appliance.errors import InputError
from appliance.sim.cluster import SimCluster
from appliance.sim.device import MOODS
from appliance.sim.fault import a_group, a_pair, fault, one_of, within
from appliance.sim.repair import plug_all, start_supervisor
from appliance.sim.resources import TROUBLES

# Power ----------------------------------------------------------------------------------------------


@fault(survivable=True)
def power_cut(sim: SimCluster, node: str) -> None:
    sim.machines[node].power_off("power cut")


@fault(survivable=True)
def reset(sim: SimCluster, node: str) -> None:
    sim.machines[node].reset("is reset")


@fault(one_of("before", "after"))
def cut_while_writing(sim: SimCluster, node: str, when: str) -> None:
    """The power cut comes when the node writes the record: just before, or before it can tell of it."""
    site = sim.sites[node]
    site.cut = "before" if when == "before" else "after"
    sim.later(20.0, site.spare)


@fault(
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


@fault(survivable=True)
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


@fault(one_of(*MOODS))
def break_device(sim: SimCluster, node: str, mood: str) -> None:
    """What should switch ``node`` off does not, or too late, or says so wrongly."""
    if node in sim.devices:
        sim.story.tell(node, "its fence device {} from now on", mood)
        sim.devices[node].mood = next(m for m in MOODS if m == mood)


@fault(one_of(*MOODS))
def cut_off_unfenced(sim: SimCluster, node: str, mood: str) -> None:
    """The other wants to switch ``node`` off, and cannot."""
    break_device(sim, node, mood)
    pull_all(sim, node)


@fault()
def confirm(sim: SimCluster, node: str) -> None:
    """A person looks whether ``node`` is off and says so."""
    for other, site in sim.sites.items():
        if other != node and not sim.machines[node].powered and site.process is not None and site.machine.running:
            sim.story.tell("person", "says on {} that {} is off", other, node)
            site.process.core.wish(Fenced("", node, by_hand=True))


# Networks -------------------------------------------------------------------------------------------


@fault(a_pair, survivable=True)
def pull_replication(sim: SimCluster, node: str, pair: str) -> None:
    sim.plug(sim.pairs[pair].link, node, plugged=False)


@fault(survivable=True)
def pull_service(sim: SimCluster, node: str) -> None:
    sim.plug(1, node, plugged=False)


@fault(survivable=True)
def pull_all(sim: SimCluster, node: str) -> None:
    for network in range(1, sim.network.networks + 1):
        sim.plug(network, node, plugged=False)


@fault(within(0.2, 5.0), survivable=True)
def blink(sim: SimCluster, node: str, seconds: float) -> None:
    """All cables of a node are out for a moment, about as long as it takes to be noticed."""
    pull_all(sim, node)
    sim.later(seconds, lambda: plug_all(sim, node))


@fault(
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


@fault(lambda _chance, cluster: (cluster.workers[0].name, cluster.workers[1].name))
def flap(sim: SimCluster, _node: str, first: str, second: str) -> None:
    """Two workers hear each other one way only, and what is heard breaks the ring again before knet gives up."""
    deafen(sim, first, second, "all")
    for delay in (2.5, 4.0):
        sim.later(delay, lambda: sim.corosync.stumble(second))


@fault(within(2.0, 30.0), survivable=True)
def slow_down(sim: SimCluster, node: str, seconds: float) -> None:
    """Messages of all kinds reach ``node`` late for a while, and now and then the token is lost."""
    sim.network.slow.add(node)
    sim.story.tell(node, "is reached slowly for {} s", seconds)
    sim.later(seconds, lambda: sim.network.slow.discard(node))
    sim.later(seconds * 0.4, lambda: sim.corosync.stumble(node))
    sim.later(seconds * 0.7, lambda: sim.corosync.stumble(node))


@fault(survivable=True)
def lose_token(sim: SimCluster, node: str) -> None:
    """The ring forms again, with the same members."""
    sim.story.tell(node, "loses the token")
    sim.corosync.stumble(node)


@fault(survivable=True)
def crash_corosync(sim: SimCluster, node: str) -> None:
    sim.sites[node].crash_corosync()


# Services and supervisors ---------------------------------------------------------------------------


@fault(unnoticed=True)
def kill_supervisor(sim: SimCluster, node: str) -> None:
    sim.sites[node].kill_supervisor()


@fault(within(3.0, 20.0), unnoticed=True)
def restart_supervisor(sim: SimCluster, node: str, seconds: float) -> None:
    """Stopped for an upgrade, and started again."""
    process = sim.sites[node].process
    if process is not None:
        sim.story.tell(node, "supervisor is stopped")
        process.core.stop(shutting_down=False)
        sim.later(seconds, lambda: start_supervisor(sim.sites[node]))


@fault(survivable=True)
def kill_service(sim: SimCluster, node: str) -> None:
    _fail(sim, node, Service)


@fault(a_group, survivable=True)
def sicken(sim: SimCluster, node: str, group: str) -> None:
    """A service dies and cannot be started on this node any more; the other node is fine."""
    for resource in sim.cluster.group(group).resources:
        if isinstance(resource, Service):
            resources = sim.sites[node].resources
            resources.trouble["start", resource.id] = "fails"
            sim.story.tell(node, "{} dies, and cannot be started here any more", resource.id)
            resources.fail(resource)


@fault(lambda chance, cluster: (*a_group(chance, cluster), chance.choice(("service", "address"))), survivable=True)
def jam(sim: SimCluster, node: str, group: str, what: str) -> None:
    """Whoever runs the group is put in standby, and one of its resources cannot be stopped."""
    kind = Service if what == "service" else Address
    for resource in [r for r in sim.cluster.group(group).resources if isinstance(r, kind)][:1]:
        for here in sim.serving(group):
            sim.sites[here].resources.trouble["stop", resource.id] = "fails"
            sim.story.tell(here, "{} cannot be stopped any more", resource.id)
            wish(sim, node, SetStandby("", here, True), f"puts {here} in standby")


@fault()
def break_filesystem(sim: SimCluster, node: str) -> None:
    """A mounted file system cannot be read any more."""
    _fail(sim, node, Filesystem)


def _fail(sim: SimCluster, node: str, kind: type[Service] | type[Filesystem]) -> None:
    for group in sim.cluster.groups:
        for resource in group.resources:
            if resource.id in sim.sites[node].resources.on and isinstance(resource, kind):
                sim.story.tell(node, "{} fails", resource.id)
                sim.sites[node].resources.fail(resource)


@fault(
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


@fault(lambda chance, cluster: (*a_group(chance, cluster), round(chance.uniform(1.0, 25.0), 1)), unnoticed=True)
def blind(sim: SimCluster, node: str, group: str, seconds: float) -> None:
    """For a while the resources of a group cannot be looked at."""
    resources = sim.sites[node].resources
    sim.story.tell(node, "{} cannot be looked at for {} s", group, seconds)
    resources.blind.add(group)
    sim.later(seconds, lambda: resources.blind.discard(group))


# Operators ------------------------------------------------------------------------------------------


@fault(a_group, survivable=True)
def switchover(sim: SimCluster, node: str, group: str) -> None:
    if not sim.cluster.node(node).votes_only:
        wish(sim, node, Switchover("", group, node), f"orders {group} to {node}")


@fault(survivable=True)
def standby(sim: SimCluster, node: str) -> None:
    wish(sim, node, SetStandby("", node, True), f"puts {node} in standby")


@fault()
def online(sim: SimCluster, node: str) -> None:
    wish(sim, node, SetStandby("", node, False), f"puts {node} online")


@fault(one_of("switchover", "standby", "maintenance"))
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


def wish(sim: SimCluster, node: str, change: Change, words: str) -> bool:
    process = sim.sites[node].process
    if process is None or not sim.machines[node].running:
        return False
    try:
        process.core.wish(change)
    except InputError:
        return False
    sim.story.tell("person", "{}, on {}", words, node)
    return True
