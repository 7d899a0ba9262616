# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pair has to survive, on real machines. Each scenario reads like the sentence that names it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from appliance.config.model import Cluster
from appliance.errors import PairkeepError
from appliance.lab.machine import Machine
from appliance.lab.trial import UNTOUCHED_S, Status, Trial, events
from appliance.lab.writer import longest_outage

Check = Callable[[], None]


def test_blank_machines_become_a_pair(newly_formed: Trial) -> None:
    # It was saved and restored, so the ring may be forming again.
    newly_formed.wait_running()
    newly_formed.wait_paired()
    # The first sync was skipped, since both disks were blank: nothing was ever copied.
    for name in ("alpha", "beta"):
        journal = newly_formed.lab[name].exec(["journalctl", "-k", "-o", "cat"]).stdout
        assert "new current UUID" in journal or "pdsk( Inconsistent -> UpToDate )" in journal
        assert "Began resync" not in journal


def test_switchover_there_and_back(pair: Trial, survives: Check) -> None:
    pair.begin(50)
    for target in ("beta", "alpha"):
        done = pair.lab["witness"].exec(["pairkeep", "switchover", "shop", target], timeout_s=120)
        assert f"shop runs on {target}" in done.stdout
        pair.wait_rows(50)
    pair.wait_paired()
    survives()


@pytest.mark.long
def test_switchover_after_systemd_has_executed_itself_anew(pair: Trial, survives: Check) -> None:
    # As its own upgrade does, and that of libc.
    active, other = pair.begin(50)
    for machine in (active, other):
        machine.exec(["systemctl", "daemon-reexec"], timeout_s=120)
    done = pair.lab["witness"].exec(["pairkeep", "switchover", "shop", other.name], timeout_s=120)
    assert f"shop runs on {other.name}" in done.stdout
    pair.wait_rows(50)
    pair.wait_paired()
    survives()


def test_power_cut_of_the_active_machine(pair: Trial, survives: Check) -> None:
    lost, _ = pair.begin(100)
    lost.power_off()
    survivor = pair.wait_running(pair.other(lost).name)
    pair.wait_rows(50)
    lost.power_on()
    pair.wait_paired()
    # It comes back without taking the service with it: failback is off.
    assert pair.running_on() == survivor
    survives()


@pytest.mark.long
def test_power_cut_of_the_standby_and_its_return(pair: Trial, survives: Check) -> None:
    active, standby = pair.begin(50)
    standby.power_off()
    pair.wait_rows(100)
    assert pair.running_on() == active.name
    standby.power_on()
    pair.wait_paired()
    survives()


@pytest.mark.parametrize("first", ["alpha", pytest.param("beta", marks=pytest.mark.long)])
def test_both_lost_and_started_again(pair: Trial, survives: Check, first: str) -> None:
    active, _ = pair.begin(50)
    pair.lab["beta"].power_off()
    pair.lab["alpha"].power_off()
    one = pair.lab[first]
    one.power_on()
    # Alone it must wait, for the other one may hold newer acknowledged writes; and it says so.
    status = pair.wait(
        f"{first} says why it waits", lambda s: "may hold newer acknowledged writes" in _against(s, first)
    )
    assert status["groups"][0]["state"] in ("unknown", "stopped")
    pair.other(one).power_on()
    pair.wait_running()
    pair.wait_rows(50)
    pair.wait_paired()
    assert active.name in ("alpha", "beta")
    survives()


@pytest.mark.long
def test_panic_of_the_active_machine(pair: Trial, survives: Check) -> None:
    active, _ = pair.begin(50)
    active.panic()
    pair.wait_running(pair.other(active).name)
    pair.wait_rows(50)
    # The kernel restarts by itself after a panic, so it comes back without being told.
    pair.wait_paired()
    survives()


def test_mariadbd_killed_is_restarted_in_place(pair: Trial, survives: Check) -> None:
    active, _ = pair.begin(50)
    active.kill_process("mariadbd")
    pair.wait_rows(50)
    assert pair.running_on() == active.name
    survives()


@pytest.mark.long
def test_mariadbd_killed_again_and_again_moves(pair: Trial, survives: Check) -> None:
    active, _ = pair.begin(20)
    for _ in range(3):
        active.kill_process("mariadbd")
        pair.wait_rows(20)
    pair.wait_running(pair.other(active).name)
    pair.wait_rows(20)
    why = pair.lab["witness"].exec(["pairkeep", "why", "shop"]).stdout
    assert f"not on {active.name}: service:mariadb.service has failed there too often" in why
    pair.wait_paired()
    survives()


def test_supervisor_killed_costs_nothing(pair: Trial, survives: Check) -> None:
    active, _ = pair.begin(50)
    before = active.main_pid("mariadb.service")
    supervisor = _supervisor(active)
    killed_at = time.time()
    active.kill_process("appliance.supervisor", parent=active.main_pid("pairkeep.service"))
    pair.wait("a new supervisor takes part", lambda _: _supervisor(active) != supervisor)
    pair.wait_running(active.name)
    pair.wait_rows(100)
    assert active.main_pid("mariadb.service") == before
    # The same server, and no pause beyond what the new process takes from the client's one processor.
    assert longest_outage(pair.rows, since=killed_at).seconds < UNTOUCHED_S
    survives()


def test_standby_outlasts_a_restart_of_its_supervisor(pair: Trial, survives: Check) -> None:
    active, other = pair.begin(20)
    pair.lab["witness"].exec(["pairkeep", "standby", active.name])
    pair.wait_running(other.name)
    active.exec(["systemctl", "restart", "pairkeep.service"], timeout_s=120)
    pair.wait(f"{active.name} is in standby", lambda s: _node(s, active.name) == "standby")
    assert pair.running_on() == other.name
    pair.lab["witness"].exec(["pairkeep", "online", active.name])
    pair.wait(f"{active.name} is online", lambda s: _node(s, active.name) == "online")
    pair.wait_rows(20)
    pair.wait_paired()
    survives()


@pytest.mark.long
def test_maintenance_outlasts_a_restart_and_nothing_is_touched(pair: Trial, survives: Check) -> None:
    active, _ = pair.begin(20)
    pair.lab["witness"].exec(["pairkeep", "maintenance", "on"])
    active.exec(["systemctl", "restart", "pairkeep.service"], timeout_s=120)
    pair.wait("maintenance is on", lambda s: s["maintenance"])
    active.exec(["systemctl", "stop", "mariadb.service"], timeout_s=60)
    pair.wait("it is seen that the database is down", lambda s: s["groups"][0]["state"] != "running")
    time.sleep(5)
    assert active.exec(["systemctl", "is-active", "mariadb.service"], check=False).stdout.strip() == "inactive"
    pair.lab["witness"].exec(["pairkeep", "maintenance", "off"])
    pair.wait_running(active.name)
    pair.wait_rows(20)
    survives()


def test_active_machine_loses_both_networks(pair: Trial, survives: Check, shop: Cluster) -> None:
    active, other = pair.begin(50)
    boot = active.exec(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    for network in (1, 2):
        active.unplug(network)
    unplugged_at = time.time()
    pair.wait_running(other.name)
    # Cut off, it stopped in time: its frozen disk could not be released, so the watchdog has reset it.
    pair.lab.wait_for(f"{active.name} has booted again", lambda: _boot_id(active) not in ("", boot), timeout_s=180)
    took_over = next(
        e["at"] - e["seconds"] for e in events(pair, other.name) if e["kind"] == "step" and e["at"] > unplugged_at
    )
    assert took_over - unplugged_at >= shop.watchdog_s
    pair.wait_rows(50)
    for network in (1, 2):
        active.plug(network)
    pair.wait_paired()
    assert pair.running_on() == other.name
    survives()


def test_replication_network_alone_unplugged_and_plugged(pair: Trial, survives: Check) -> None:
    active, standby = pair.begin(50)
    standby.unplug(2)
    pair.wait("the copy is known to be out of date", lambda s: s["drbd"][0]["current"] == [active.name])
    pair.wait_rows(100)
    assert pair.running_on() == active.name
    standby.plug(2)
    pair.wait_paired()
    assert pair.running_on() == active.name
    survives()


@pytest.mark.long
def test_verify_finds_a_block_changed_underneath_and_repairs_it(pair: Trial, survives: Check) -> None:
    pair.begin(50)
    standby = pair.other(pair.active)
    # In the middle of the disk, behind DRBD's back.
    garbage = ["dd", "if=/dev/urandom", "of=/dev/disk/by-id/virtio-data", "bs=4096", "count=1", "seek=65536"]
    standby.exec([*garbage, "oflag=direct", "conv=notrunc"])
    done = standby.exec(["pairkeep", "verify", "shopdata", "--json"], timeout_s=300)
    assert '"out_of_sync_kib": 4' in done.stdout
    pair.wait_paired()
    again = standby.exec(["pairkeep", "verify", "shopdata", "--json"], timeout_s=300)
    assert '"out_of_sync_kib": 0' in again.stdout
    survives()


@pytest.fixture
def shop() -> Cluster:
    from appliance.config.load import parse
    from appliance.lab.pair import CLUSTER_TOML

    return parse(CLUSTER_TOML)


def _against(status: Status, node: str) -> str:
    return str(status["groups"][0]["nodes"].get(node, "")) if status["groups"] else ""


def _node(status: Status, name: str) -> str:
    return next((n["state"] for n in status["nodes"] if n["name"] == name), "")


def _supervisor(machine: Machine) -> str:
    parent = machine.main_pid("pairkeep.service")
    return machine.exec(["pgrep", "--parent", str(parent), "--full", "appliance.supervisor"]).stdout.strip()


def _boot_id(machine: Machine) -> str:
    try:
        return machine.exec(["cat", "/proc/sys/kernel/random/boot_id"], timeout_s=2).stdout
    except PairkeepError:
        return ""
