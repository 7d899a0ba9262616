# SPDX-License-Identifier: GPL-2.0-or-later
"""How a person puts a simulated cluster right again."""

from __future__ import annotations

from functools import partial

from appliance.decide.messages import Cleanup, Discard, Force, SetMaintenance, SetStandby, Switchover
from appliance.sim.cluster import SimCluster
from appliance.sim.disks import Pair
from appliance.sim.site import Site
from appliance.supervisor.core import Core


def plug_all(sim: SimCluster, node: str) -> None:
    for network in range(1, sim.network.networks + 1):
        if (network, node) in sim.network.cut:
            sim.plug(network, node, plugged=True)


def heal(sim: SimCluster) -> None:
    """Put everything right that a person can put right."""
    sim.story.tell("person", "puts everything right")
    sim.healed()
    sim.network.deaf.clear()
    sim.network.slow.clear()
    for device in sim.devices.values():
        device.mood = "works"
    for name, site in sim.sites.items():
        plug_all(sim, name)
        site.spare()
        site.resources.trouble.clear()
        site.resources.blind.clear()
        site.machine.full = False
        site.machine.resume()
    for pair in sim.pairs.values():
        for node in pair.sides:
            pair.disk_answers(node)
    sim.reachability_changed()
    attend(sim)


def attend(sim: SimCluster) -> None:
    """Switch on what has ended since, and see to disks that are not in use."""
    for site in sim.sites.values():
        site.machine.power_on()
        if site.process is None:
            site.machine.after(2.5, partial(start_supervisor, site))
    for pair in sim.pairs.values():
        for node, side in pair.sides.items():
            if side.machine.running and side.up and not side.attached:
                pair.replace_disk(node, blank=False)
                pair.attach(node)
            elif side.dead and not side.up:
                pair.replace_disk(node, blank=False)


def wish_for_health(sim: SimCluster) -> bool:
    """Ask for what `heal` cannot do without quorum; False while there is none."""
    for site in sim.sites.values():
        core = site.process.core if site.process is not None else None
        if core is not None and core.view.adopted and core.view.quorate:
            for node in core.view.record.standby:
                core.wish(SetStandby("", node, False))
            if core.view.record.maintenance:
                core.wish(SetMaintenance("", False))
            for pair in sim.pairs.values():
                _settle_split_brain(core, pair)
                _settle_loss(sim, core, pair)
            for group in sim.cluster.groups:
                core.wish(Cleanup("", group.name))
                if group.name in core.view.record.wanted:
                    core.wish(Switchover("", group.name, None))
            return True
    return False


def _settle_split_brain(core: Core, pair: Pair) -> None:
    """A person gives up the copy that the cluster does not count on."""
    current = core.view.record.current.get(pair.name, ())
    for node, side in pair.sides.items():
        if side.split and current and node not in current and pair.name not in core.view.record.discard:
            core.wish(Discard("", pair.name, node))


def _settle_loss(sim: SimCluster, core: Core, pair: Pair) -> None:
    """No copy is whole any more, and the cluster says so: a person takes what there is, and knows what is gone."""
    if core.view.record.current.get(pair.name) != ():
        return
    whole = [
        side for side in pair.sides.values() if side.up and side.disk in ("UpToDate", "Outdated", "Consistent")
    ]
    if whole and core.view.record.forced.get(pair.name) is None:
        best = max(whole, key=lambda side: len(side.disk_md.writes))
        sim.judge.given_up(pair.name, best.disk_md.writes)
        core.wish(Force("", pair.name, best.name))


def start_supervisor(site: Site) -> None:
    if site.machine.running and site.corosync.ring_of(site.machine.name):
        site.start_supervisor()
