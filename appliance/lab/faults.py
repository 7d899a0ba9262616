# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pair has to survive, as a table: each fault, when it strikes, and what must come of it.

Whatever is expected, no acknowledged row may be lost, no two machines may be Primary at one time, and
after the fault is undone the service must run and both disks be UpToDate again (suite.py).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from appliance.lab import inside
from appliance.lab.machine import Machine
from appliance.lab.scenes import Case, Fault, Moment, Outcome, Scene

IDLE, WRITES, RESYNC, SWITCHOVER = Moment
MOVES, STAYS, RUNS, STOPS, WAITS = Outcome


def _always(outcome: Outcome) -> dict[Moment, Outcome]:
    return dict.fromkeys(Moment, outcome)


# While it is being copied to, a disk holds a mixture of old and new: nobody can take over from the active one.
_MOVES_WITH_DATA = {**_always(MOVES), RESYNC: WAITS}
_LACKS = "lacks newer writes"


def _both(action: Callable[[Machine, int], object], *machines: Machine) -> None:
    """Do ``action`` to both of the cluster's networks of each machine."""
    for machine in machines:
        for network in (1, 2):
            action(machine, network)


def _unplug_both(machine: Machine) -> None:
    _both(Machine.unplug, machine)


def _pause_briefly(scene: Scene) -> None:
    """For less than corosync's token."""
    scene.active.pause()
    time.sleep(0.4)
    scene.active.resume()


def _hold_and_order(scene: Scene) -> None:
    inside.hold_mount(scene.active)
    scene.pair.order_switchover(scene.standby.name)


def _impair(scene: Scene, **how: float) -> None:
    _both(lambda machine, network: inside.impair(machine, network, **how), *scene.workers, scene.witness)


def _repair(scene: Scene) -> None:
    _both(inside.repair, *scene.workers, scene.witness)


def _take_disk_up(machine: Machine) -> None:
    """What a person does after a failed disk has been repaired."""
    machine.exec(["pairkeep", "recover", "disk", "shopdata"], timeout_s=150)


def _power_cord(scene: Scene) -> None:
    """The machine and its BMC have one power cord."""
    scene.active.mute_bmc()
    scene.active.power_off()


def _mute_bmcs(scene: Scene) -> None:
    for machine in scene.workers:
        machine.mute_bmc()


def _slow_and_cut(scene: Scene) -> None:
    scene.active.slow_bmc(0.5)
    _unplug_both(scene.active)


FAULTS: tuple[Fault, ...] = (
    # -- a machine is lost, or comes back at once
    Fault(
        "power-cut-active",
        "the active machine loses its power",
        lambda s: s.active.power_off(),
        _MOVES_WITH_DATA,
        says=_LACKS,
    ),
    Fault("power-cut-standby", "the standby loses its power", lambda s: s.standby.power_off(), _always(STAYS)),
    Fault(
        "power-cut-witness",
        "the witness loses its power",
        lambda s: s.witness.power_off(),
        {WRITES: STAYS, SWITCHOVER: MOVES},
    ),
    Fault("reset-active", "the active machine is reset", lambda s: s.active.reset(), {WRITES: MOVES}, bound_s=120),
    Fault("panic-active", "the active machine's kernel panics", lambda s: s.active.panic(), {WRITES: MOVES}),
    Fault(
        "pause-active",
        "the active machine stands still, and goes on later",
        lambda s: s.active.pause(),
        {IDLE: MOVES, WRITES: MOVES},
    ),
    Fault(
        "pause-active-briefly",
        "the active machine stands still for less than corosync's token",
        _pause_briefly,
        {IDLE: STAYS, WRITES: STAYS, RESYNC: STAYS, SWITCHOVER: MOVES},
    ),
    Fault(
        "pause-standby", "the standby stands still, and goes on later", lambda s: s.standby.pause(), {WRITES: STAYS}
    ),
    # -- networks
    Fault(
        "cut-off-active",
        "the active machine loses the cables of both networks",
        lambda s: _unplug_both(s.active),
        _MOVES_WITH_DATA,
        says=_LACKS,
    ),
    Fault(
        "cut-off-standby",
        "the standby loses the cables of both networks",
        lambda s: _unplug_both(s.standby),
        {WRITES: STAYS, SWITCHOVER: STAYS},
    ),
    Fault("cut-off-witness", "the witness loses both cables", lambda s: _unplug_both(s.witness), {WRITES: STAYS}),
    Fault(
        "no-service-network",
        "the active machine loses the cable of the network with the clients",
        lambda s: s.active.unplug(1),
        {WRITES: MOVES},
    ),
    Fault(
        "no-replication",
        "the cable of the replication network is pulled",
        lambda s: s.standby.unplug(2),
        {IDLE: STAYS, WRITES: STAYS, RESYNC: STAYS, SWITCHOVER: RUNS},
    ),
    Fault(
        "deaf-active",
        "nothing reaches the active machine, which still sends",
        lambda s: _both(lambda m, n: m.drop(n, "in"), s.active),
        {WRITES: MOVES},
    ),
    Fault(
        "dumb-active",
        "nothing that the active machine sends arrives",
        lambda s: _both(lambda m, n: m.drop(n, "out"), s.active),
        {WRITES: MOVES},
    ),
    Fault(
        "half-replication",
        "on the replication network nothing that the standby sends arrives",
        lambda s: s.standby.drop(2, "out"),
        {WRITES: STAYS},
    ),
    Fault(
        "workers-apart",
        "the two workers do not see each other, the witness sees both",
        lambda s: s.pair.lab.partition(s.active.name, s.standby.name),
        {WRITES: RUNS, SWITCHOVER: RUNS},
    ),
    Fault(
        "active-and-witness-apart",
        "the active machine and the witness do not see each other, the standby sees both",
        lambda s: s.pair.lab.partition(s.active.name, "witness"),
        {WRITES: RUNS},
    ),
    Fault(
        "standby-and-witness-apart",
        "the standby and the witness do not see each other, the active machine sees both",
        lambda s: s.pair.lab.partition(s.standby.name, "witness"),
        {WRITES: RUNS},
    ),
    Fault(
        "lossy",
        "a tenth of all packets is lost, for half a minute",
        lambda s: _impair(s, loss_percent=10),
        {WRITES: STAYS},
        undo=_repair,
        lasts_s=30,
    ),
    Fault(
        "slow-networks",
        "each packet takes 60 ms, for half a minute",
        lambda s: _impair(s, delay_ms=60),
        {WRITES: STAYS},
        undo=_repair,
        lasts_s=30,
    ),
    Fault(
        "very-lossy",
        "three of ten packets are lost, for half a minute",
        lambda s: _impair(s, loss_percent=30),
        {WRITES: RUNS},
        undo=_repair,
        lasts_s=30,
        bound_s=120,
    ),
    Fault(
        "very-slow-networks",
        "each packet takes 200 ms, for half a minute",
        lambda s: _impair(s, delay_ms=200),
        {WRITES: RUNS},
        undo=_repair,
        lasts_s=30,
        bound_s=120,
    ),
    # -- disks
    Fault(
        "disk-errors-active",
        "each read and write of the active machine's data disk fails",
        lambda s: s.active.break_disk("errors"),
        {IDLE: MOVES, WRITES: MOVES, RESYNC: WAITS},
        undo=lambda s: _take_disk_up(s.active),
        says=_LACKS,
    ),
    Fault(
        "disk-errors-standby",
        "each read and write of the standby's data disk fails",
        lambda s: s.standby.break_disk("errors"),
        {IDLE: STAYS, WRITES: STAYS, RESYNC: STAYS},
        undo=lambda s: _take_disk_up(s.standby),
    ),
    Fault(
        "disk-hangs-active",
        "no read or write of the active machine's data disk ends",
        lambda s: s.active.break_disk("hang"),
        {WRITES: MOVES},
        bound_s=90,
    ),
    Fault(
        "disk-hangs-standby",
        "no read or write of the standby's data disk ends",
        lambda s: s.standby.break_disk("hang"),
        {WRITES: STAYS},
        bound_s=90,
    ),
    Fault(
        "disk-full",
        "the data disk is full for 15 s",
        lambda s: inside.fill_disk(s.active),
        {WRITES: STAYS},
        undo=lambda s: inside.empty_disk(s.active),
        lasts_s=15,
        bound_s=120,
    ),
    Fault(
        "filesystem-error",
        "ext4 meets an error on the active machine and takes no more writes",
        lambda s: inside.upset_filesystem(s.active),
        {IDLE: STAYS, WRITES: STAYS},
    ),
    # -- inside the machines
    Fault(
        "clock-ahead",
        "the active machine's clock leaps an hour ahead",
        lambda s: inside.shift_clock(s.active, inside.HOUR_S),
        {WRITES: STAYS, SWITCHOVER: MOVES},
        undo=lambda s: inside.shift_clock(s.active, 0),
    ),
    Fault(
        "clock-behind",
        "the active machine's clock leaps an hour back",
        lambda s: inside.shift_clock(s.active, -inside.HOUR_S),
        {WRITES: STAYS, SWITCHOVER: MOVES},
        undo=lambda s: inside.shift_clock(s.active, 0),
    ),
    Fault(
        "no-memory",
        "the active machine has no memory left, for half a minute",
        lambda s: inside.hog_memory(s.active),
        {WRITES: RUNS},
        undo=lambda s: inside.release_memory(s.active),
        lasts_s=30,
        bound_s=120,
    ),
    Fault(
        "held-mount",
        "a process that ignores SIGTERM works below the mount point when a switchover is ordered",
        _hold_and_order,
        {WRITES: MOVES},
        undo=lambda s: inside.release_mount(s.active),
    ),
    Fault(
        "database-killed",
        "mariadbd is killed",
        lambda s: s.active.kill_process("mariadbd"),
        {IDLE: STAYS, WRITES: STAYS, RESYNC: STAYS},
    ),
    Fault(
        "database-stopped",
        "mariadbd stands still",
        lambda s: s.active.kill_process("mariadbd", signal.SIGSTOP),
        {WRITES: RUNS, SWITCHOVER: MOVES},
        bound_s=150,
    ),
    Fault(
        "corosync-killed-active",
        "corosync is killed on the active machine",
        lambda s: s.active.kill_process("^/usr/sbin/corosync"),
        {WRITES: RUNS, SWITCHOVER: RUNS},
        bound_s=120,
    ),
    Fault(
        "corosync-killed-standby",
        "corosync is killed on the standby",
        lambda s: s.standby.kill_process("^/usr/sbin/corosync"),
        {WRITES: STAYS},
    ),
    Fault(
        "supervisor-killed",
        "the active machine's supervisor is killed",
        lambda s: s.active.kill_process("appliance.supervisor", parent=s.active.main_pid("pairkeep.service")),
        {WRITES: STAYS, RESYNC: STAYS, SWITCHOVER: MOVES},
        bound_s=120,
    ),
    Fault(
        "supervisor-and-parent",
        "the active machine's supervisor is killed together with its parent",
        lambda s: s.active.kill_process("appliance.supervisor"),
        {WRITES: STAYS},
        bound_s=120,
    ),
    Fault(
        "supervisor-stopped",
        "the active machine's supervisor stands still: the watchdog has to end it",
        lambda s: s.active.kill_process("appliance.supervisor", signal.SIGSTOP),
        {WRITES: MOVES, SWITCHOVER: MOVES},
        bound_s=120,
    ),
    # -- fence devices
    Fault(
        "power-cord",
        "the active machine and its BMC lose their power together",
        _power_cord,
        {WRITES: MOVES},
        bound_s=120,
        fenced=True,
    ),
    Fault(
        "bmc-slow",
        "the active machine loses its networks, and its BMC takes seconds for each answer",
        _slow_and_cut,
        {WRITES: MOVES},
        bound_s=120,
        fenced=True,
    ),
    Fault(
        "bmcs-mute",
        "both BMCs fall silent, and nothing else happens",
        _mute_bmcs,
        {WRITES: STAYS},
        fenced=True,
    ),
)


def cases(
    patterns: Sequence[str], moments: Sequence[Moment] = tuple(Moment), *, fenced: bool = False
) -> list[Case]:
    """Those whose name (FAULT@MOMENT) contains one of ``patterns``; with ``fenced`` those for BMCs too."""
    found = [Case(fault, moment) for fault in FAULTS for moment in fault.expected if moment in moments]
    wanted = [case for case in found if any(pattern in case.name for pattern in patterns)]
    return [case for case in wanted if fenced or not case.fault.fenced]
