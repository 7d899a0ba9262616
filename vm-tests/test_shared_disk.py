# SPDX-License-Identifier: GPL-2.0-or-later
"""A database pair on a disk of a foreign iSCSI target (Debian's tgt): the reservation lets one machine write."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from appliance.errors import PairkeepError
from appliance.lab import shared_disk
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.trial import Trial

# As long as writes wait for a target that is away, and longer than that by what the rest may take.
TIMEOUT_S, LONGER_S = 60, 40
RECOVERED_S = 300.0

Check = Callable[[], None]


@pytest.fixture
def shared(restored: Callable[..., Lab]) -> Trial:
    """A formed pair on a shared disk."""
    return Trial(restored(shared_disk.shared_disk_pair, shared_disk.waiting_for))


@pytest.fixture
def survives(shared: Trial) -> Check:
    """Call it at the end: every acknowledged row is there, and one machine has the disk, and the right to write."""

    def check() -> None:
        here = shared.wait_running(timeout_s=RECOVERED_S)
        assert shared_disk.mounted_on(shared.lab) == [here]
        assert shared_disk.disk_at(shared.lab[here])["reservation"] == f"reserved by {here}, registered: {here}"
        verdict = shared.finish()
        assert verdict.acknowledged > 0
        assert verdict.lost == ()

    return check


def kernel_log(machine: Machine) -> str:
    return machine.exec(["journalctl", "--dmesg", "--boot", "--output=cat"], timeout_s=60).stdout


def boot_id(machine: Machine) -> str:
    return machine.read_text("/proc/sys/kernel/random/boot_id").strip()


def refused(machine: Machine, boot: str) -> bool:
    """Writes of ``machine`` have been refused, or it is not the same any more as in its life ``boot``."""
    try:
        return "reservation conflict" in kernel_log(machine) or boot_id(machine) != boot
    except PairkeepError:
        return False


@pytest.mark.long
def test_a_machine_that_stood_still_while_the_other_took_over_cannot_write(shared: Trial, survives: Check) -> None:
    frozen, other = shared.begin(50)
    before = boot_id(frozen)
    frozen.pause()
    shared.wait_running(other.name)
    shared.wait_rows(20)
    frozen.resume()
    # It goes on with the writes that it was about to do, and the target refuses them; its watchdog may be faster.
    shared.lab.wait_for("its writes are refused", lambda: refused(frozen, before), timeout_s=90, poll_s=2)
    shared.lab.wait_for("it lets go", lambda: shared_disk.mounted_on(shared.lab) == [other.name], timeout_s=120)
    assert shared.running_on() == other.name
    survives()


@pytest.mark.long
def test_switchover_of_a_shared_disk_there_and_back(shared: Trial, survives: Check) -> None:
    shared.begin(50)
    for target in ("beta", "alpha"):
        done = shared.lab["witness"].exec(["pairkeep", "switchover", "shop", target], timeout_s=180)
        assert f"shop runs on {target}" in done.stdout
        shared.wait_rows(50)
        left = shared_disk.disk_at(shared.other(shared.lab[target]))
        assert (left["session"], left["device"]) == ("", None)
    survives()


@pytest.mark.long
def test_power_cut_of_the_machine_with_the_shared_disk(shared: Trial, survives: Check) -> None:
    lost, other = shared.begin(100)
    lost.power_off()
    shared.wait_running(other.name)
    shared.wait_rows(50)
    lost.power_on()
    shared.wait(f"{lost.name} is back", lambda s: all(n["state"] == "online" for n in s["nodes"]))
    assert shared.running_on() == other.name
    survives()


@pytest.mark.long
def test_supervisor_killed_on_a_shared_disk_costs_nothing(shared: Trial, survives: Check) -> None:
    active, _ = shared.begin(50)
    before = active.main_pid("mariadb.service"), shared_disk.disk_at(active)["session"]
    active.kill_process("appliance.supervisor", parent=active.main_pid("pairkeep.service"))
    shared.wait_running(active.name)
    shared.wait_rows(100)
    assert (active.main_pid("mariadb.service"), shared_disk.disk_at(active)["session"]) == before
    survives()


@pytest.mark.long
def test_the_target_is_restarted(shared: Trial, survives: Check) -> None:
    shared.begin(50)
    shared.lab["store"].exec(["systemctl", "restart", "tgt.service"], timeout_s=120)
    shared.wait_rows(50, timeout_s=RECOVERED_S)
    survives()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [10, TIMEOUT_S + LONGER_S])
def test_the_target_is_gone_for(shared: Trial, survives: Check, seconds: int) -> None:
    """For less than writes wait, and for longer than everything waits."""
    shared.begin(50)
    shared.lab["store"].unplug(1)
    time.sleep(seconds)
    shared.lab["store"].plug(1)
    shared.wait_rows(50, timeout_s=RECOVERED_S)
    survives()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [10, TIMEOUT_S + LONGER_S])
def test_the_path_of_the_active_machine_is_lost_and_found_after(
    shared: Trial, survives: Check, seconds: int
) -> None:
    """The other one sees the target all the time, and takes over when writes have failed."""
    active, other = shared.begin(50)
    shared.lab.partition("store", active.name)
    time.sleep(seconds)
    if seconds > TIMEOUT_S:
        shared.wait_running(other.name, timeout_s=RECOVERED_S)
    shared.lab.rejoin()
    shared.wait_rows(50, timeout_s=RECOVERED_S)
    survives()


@pytest.mark.long
def test_a_wrong_password_is_told_and_is_seen_nowhere(shared: Trial) -> None:
    shared.begin(20)
    active = shared.active
    standby = shared.other(active)
    wrong = "not-the-password"
    standby.exec(["tee", "/etc/pairkeep/store.password"], stdin=f"{wrong}\n")
    shared.order_switchover(standby.name)
    shared.lab.wait_for(
        "the refused login is told",
        lambda: "authorization failure" in standby.exec(["pairkeep", "events"], timeout_s=60).stdout,
        timeout_s=120,
        poll_s=2,
    )
    shared.wait_running(active.name, timeout_s=RECOVERED_S)
    for machine in shared.lab.machines[1:]:
        journal = machine.exec(["journalctl", "--boot", "--output=cat"], timeout_s=120).stdout
        assert wrong not in journal
        assert shared_disk.SECRETS["store.password"] not in journal
