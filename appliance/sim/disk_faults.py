# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with the disks of a simulated cluster, and with the machines that hold them."""

from __future__ import annotations

from functools import partial

from appliance.decide.view import BLANK
from appliance.sim.cluster import SimCluster
from appliance.sim.fault import a_pair, fault, within
from appliance.sim.faults import pull_all
from appliance.sim.repair import plug_all


@fault(
    lambda chance, cluster: (
        *a_pair(chance, cluster),
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


@fault(
    lambda chance, cluster: (
        *a_pair(chance, cluster),
        round(chance.choice((5.0, 20.0, 60.0)) * chance.uniform(0.5, 1.5), 1),
    ),
    survivable=True,
)
def hang_disk(sim: SimCluster, node: str, pair: str, seconds: float) -> None:
    """The disk below DRBD gives no answer for ``seconds``; then a person has it attached where it is not."""
    if node in sim.pairs[pair].sides:
        sim.pairs[pair].disk_hangs(node)
        sim.later(seconds, lambda: _answer(sim, node, pair))


def _answer(sim: SimCluster, node: str, pair: str) -> None:
    disks = sim.pairs[pair]
    disks.disk_answers(node)
    if disks.sides[node].up and not disks.sides[node].attached:
        disks.attach(node)


@fault(within(5.0, 60.0), survivable=True)
def fill_up(sim: SimCluster, node: str, seconds: float) -> None:
    """The node's own disk takes no more writes, until a person makes room on it."""
    sim.story.tell(node, "its own disk is full for {} s", seconds)
    machine = sim.machines[node]
    machine.full = True
    sim.later(seconds, partial(setattr, machine, "full", False))


@fault(within(5.0, 60.0))
def cut_off_beside_a_full_disk(sim: SimCluster, node: str, seconds: float) -> None:
    """``node`` loses the other worker while what it needs for a majority takes no more writes."""
    third = next((n.name for n in sim.cluster.nodes if n.votes_only), node)
    fill_up(sim, third, seconds)
    pull_all(sim, sim.cluster.peer_of(node))


@fault(within(5.0, 60.0))
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


@fault(within(5.0, 60.0))
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
