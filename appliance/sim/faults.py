# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong in a simulated cluster, and how it is put right again."""

from __future__ import annotations

from collections.abc import Callable

from appliance.config.model import Service
from appliance.decide.messages import Cleanup, SetMaintenance, SetStandby, Switchover
from appliance.errors import InputError
from appliance.sim.cluster import SimCluster
from appliance.sim.site import Site

Fault = Callable[[SimCluster, str], None]


def power_cut(sim: SimCluster, node: str) -> None:
    sim.machines[node].power_off("power cut")


def reset(sim: SimCluster, node: str) -> None:
    sim.machines[node].reset("is reset")


def cut_while_writing(sim: SimCluster, node: str) -> None:
    """The power cut comes when the node writes the record: just before, or before it can tell of it."""
    site = sim.sites[node]
    site.cut = "before" if sim.chance.random() < 0.5 else "after"
    sim.clock.after(20.0, site.spare)


def pause(sim: SimCluster, node: str) -> None:
    machine = sim.machines[node]
    machine.pause()
    seconds = sim.chance.choice((0.5, 2.0, 8.0, 14.0, 40.0))
    sim.clock.after(seconds * sim.chance.uniform(0.8, 1.2), machine.resume)


def pull_replication(sim: SimCluster, node: str) -> None:
    sim.plug(sim.pairs["shopdata"].link, node, plugged=False)


def pull_service(sim: SimCluster, node: str) -> None:
    sim.plug(1, node, plugged=False)


def pull_all(sim: SimCluster, node: str) -> None:
    for network in range(1, sim.network.networks + 1):
        sim.plug(network, node, plugged=False)


def blink(sim: SimCluster, node: str) -> None:
    """All cables of a node are out for a moment, about as long as it takes to be noticed."""
    pull_all(sim, node)
    sim.clock.after(sim.chance.uniform(0.2, 5.0), lambda: plug_all(sim, node))


def kill_supervisor(sim: SimCluster, node: str) -> None:
    sim.sites[node].kill_supervisor()


def restart_supervisor(sim: SimCluster, node: str) -> None:
    """Stopped for an upgrade, and started again."""
    process = sim.sites[node].process
    if process is not None:
        sim.story.tell(node, "supervisor is stopped")
        process.core.stop(shutting_down=False)
        sim.clock.after(sim.chance.uniform(3.0, 20.0), lambda: _start_supervisor(sim.sites[node]))


def shut_down(sim: SimCluster, node: str) -> None:
    process = sim.sites[node].process
    if process is not None:
        sim.story.tell(node, "shuts down")
        process.core.stop(shutting_down=True)
        # systemd's own time-out for what does not want to end.
        boots = sim.machines[node].boots
        sim.clock.after(60.0, lambda: _switch_off(sim, node, boots))


def kill_service(sim: SimCluster, node: str) -> None:
    for group in sim.cluster.groups:
        for resource in group.resources:
            if resource.id in sim.sites[node].resources.on and isinstance(resource, Service):
                sim.story.tell(node, f"{resource.id} dies")
                sim.sites[node].resources.fail(resource)


def trouble(sim: SimCluster, node: str) -> None:
    """A start or a stop of one resource fails or hangs."""
    group = sim.chance.choice(sim.cluster.groups)
    resource = sim.chance.choice(group.resources[1:])
    verb, what = sim.chance.choice(("start", "stop")), sim.chance.choice(("fails", "hangs"))
    sim.story.tell(node, f"from now on {verb} of {resource.id} {what}")
    sim.sites[node].resources.trouble[verb, resource.id] = "fails" if what == "fails" else "hangs"


def switchover(sim: SimCluster, node: str) -> None:
    if not sim.cluster.node(node).votes_only:
        _wish(sim, node, Switchover("", "shop", node), f"orders the group to {node}")


def standby(sim: SimCluster, node: str) -> None:
    _wish(sim, node, SetStandby("", node, True), f"puts {node} in standby")


def online(sim: SimCluster, node: str) -> None:
    _wish(sim, node, SetStandby("", node, False), f"puts {node} online")


# The node matters as the one that is hit. Those of the first kind need not be put right by anyone for
# the service to run again; a restarted supervisor must not even be noticed.
SURVIVABLE: tuple[Fault, ...] = (
    power_cut,
    reset,
    pause,
    pull_replication,
    pull_service,
    pull_all,
    blink,
    shut_down,
    kill_service,
    switchover,
    standby,
)
UNNOTICED: tuple[Fault, ...] = (kill_supervisor, restart_supervisor)
CHAOS: tuple[Fault, ...] = (*SURVIVABLE, *UNNOTICED, cut_while_writing, cut_while_writing, trouble, online)


def plug_all(sim: SimCluster, node: str) -> None:
    for network in range(1, sim.network.networks + 1):
        if (network, node) in sim.network.cut:
            sim.plug(network, node, plugged=True)


def heal(sim: SimCluster) -> None:
    """Put everything right that a person can put right."""
    sim.story.tell("person", "puts everything right")
    for name, site in sim.sites.items():
        plug_all(sim, name)
        site.spare()
        site.resources.trouble.clear()
        site.machine.resume()
    attend(sim)


def attend(sim: SimCluster) -> None:
    """Switch on what has ended since."""
    for site in sim.sites.values():
        site.machine.power_on()
        if site.process is None:
            site.machine.after(2.5, lambda site=site: _start_supervisor(site))  # type: ignore[misc]


def wish_for_health(sim: SimCluster) -> bool:
    """Ask for what `heal` cannot do without quorum; False while there is none."""
    for site in sim.sites.values():
        core = site.process.core if site.process is not None else None
        if core is not None and core.view.adopted and core.view.quorate:
            for node in core.view.record.standby:
                core.wish(SetStandby("", node, False))
            core.wish(Cleanup("", "shop"))
            return True
    return False


def set_maintenance(sim: SimCluster, on: bool) -> bool:
    """Ask for maintenance to be switched; False when no node has quorum."""
    return any(
        _wish(sim, node, SetMaintenance("", on), f"switches maintenance {'on' if on else 'off'}")
        for node in sim.sites
    )


def _wish(sim: SimCluster, node: str, change: Switchover | SetStandby | SetMaintenance, words: str) -> bool:
    process = sim.sites[node].process
    if process is None or not sim.machines[node].running:
        return False
    try:
        process.core.wish(change)
    except InputError:
        return False
    sim.story.tell("person", f"{words}, on {node}")
    return True


def _start_supervisor(site: Site) -> None:
    if site.machine.running and site.corosync.ring_of(site.machine.name):
        site.start_supervisor()


def _switch_off(sim: SimCluster, node: str, boots: int) -> None:
    if sim.machines[node].boots == boots:
        sim.machines[node].power_off("is switched off, as its shutdown took too long")
