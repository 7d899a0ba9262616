# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cluster leaves to a person: who is off, whose data counts, and what is thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from appliance.lab.machine import Machine
from appliance.lab.pair import CLUSTER_TOML
from appliance.lab.trial import POLL_S, UNTOUCHED_S, Status, Trial, events, reason
from appliance.lab.writer import longest_outage

Check = Callable[[], None]
# Two machines alone must not lose patience with each other, however long nobody says anything.
PATIENT_S = 30.0
# While the supervisor stands still nobody answers the handler; its watchdog leaves time for that.
KILL_THE_HANDLER = """\
supervisor=$(pgrep -P "$(systemctl show -P MainPID pairkeep.service)" -f appliance.supervisor)
kill -STOP $supervisor
for _ in $(seq 60); do
    pkill -KILL -f 'drbd-helpe[r] fence-peer' && echo killed && break
    sleep 0.1
done
kill -CONT $supervisor
"""
RECOVER = ["pairkeep", "recover", "split-brain", "shopdata"]


@pytest.mark.long
def test_a_silent_machine_is_waited_for_until_a_person_says_that_it_is_off(unwitnessed: Trial) -> None:
    lost, survivor = unwitnessed.begin(100)
    lost.power_off()
    order = f"pairkeep confirm-fenced {lost.name}"
    unwitnessed.wait("the survivor says what to do", lambda s: order in reason(s), machine=survivor.name)
    _waits(unwitnessed, survivor)
    assert order in survivor.exec(["pairkeep", "why", "shop"], check=False, timeout_s=60).stdout
    _confirm(survivor, lost)
    unwitnessed.wait_running(survivor.name)
    unwitnessed.wait_rows(50)
    lost.power_on()
    unwitnessed.wait_paired()
    assert unwitnessed.running_on() == survivor.name
    verdict = unwitnessed.finish()
    assert verdict.sound


@pytest.mark.long
def test_a_split_brain_that_a_person_made_is_shown_and_one_side_thrown_away(unwitnessed: Trial) -> None:
    first, second = unwitnessed.begin(50)
    _cut_off(second, plugged=False)
    for machine, other in ((first, second), (second, first)):
        order = f"pairkeep confirm-fenced {other.name}"
        unwitnessed.wait("it waits for a word", lambda s: order in reason(s), machine=machine.name)  # noqa: B023
    # Both are told of the other that it is off, and neither is. Nobody but a person could do that.
    _confirm(second, first)
    unwitnessed.wait("it runs there as well", lambda s: _runs(s, second), machine=second.name)
    second.exec(
        ["mariadb", "shop", "-e", "CREATE TABLE apart (id INT); INSERT INTO apart VALUES (1)"], timeout_s=60
    )
    _confirm(first, second)
    unwitnessed.wait_rows(50)
    _cut_off(second, plugged=True)
    found = unwitnessed.wait("it is told", _split)
    (kept,) = found["drbd"][0]["current"]
    gone = next(m for m in (first, second) if m.name != kept)
    unwitnessed.wait_running(kept)
    unwitnessed.wait_rows(20)
    since, server = time.time(), unwitnessed.lab[kept].main_pid("mariadb.service")
    shown = gone.exec(RECOVER, timeout_s=60).stdout
    assert "KiB changed alone, newest on record" in shown
    refused = gone.exec([*RECOVER, "--discard", kept, "--yes"], check=False, timeout_s=60)
    assert refused.returncode == 2
    gone.exec([*RECOVER, "--discard", gone.name, "--yes"], timeout_s=60)
    unwitnessed.wait_paired()
    assert unwitnessed.running_on() == kept
    assert unwitnessed.lab[kept].main_pid("mariadb.service") == server
    assert longest_outage(unwitnessed.rows, since=since).seconds < UNTOUCHED_S
    # What the side that was kept had acknowledged is there, and what the other had is nowhere.
    tables = unwitnessed.lab[kept].exec(["mariadb", "shop", "-e", "SHOW TABLES"], timeout_s=60).stdout
    assert ("apart" in tables) == (kept == second.name)
    verdict = unwitnessed.finish()
    assert kept == second.name or verdict.lost == ()
    assert not {row.row for row in unwitnessed.rows if row.at >= since} & set(verdict.lost)


@pytest.mark.long
def test_an_older_copy_is_used_on_a_persons_word_alone(pair: Trial) -> None:
    lost, left = pair.begin(50)
    left.unplug(2)
    pair.wait("one copy is known to be out of date", lambda s: s["drbd"][0]["current"] == [lost.name])
    both_have = {row.row for row in pair.rows[:50]}
    pair.wait_rows(50)
    lost.power_off()
    pair.wait("it says what is wrong", lambda s: "lacks newer writes" in reason(s), machine=left.name)
    _waits(pair, left)
    unsure = left.exec(["pairkeep", "recover", "force", "shopdata", left.name], check=False, timeout_s=60)
    assert unsure.returncode == 2
    left.exec(["pairkeep", "recover", "force", "shopdata", left.name, "--yes"], timeout_s=60)
    pair.wait_running(left.name)
    pair.wait_rows(20)
    left.plug(2)
    lost.power_on()
    # What it alone has is given up already, and yet nobody throws it away unasked.
    pair.wait("it is told", _split)
    since, server = time.time(), left.main_pid("mariadb.service")
    left.exec([*RECOVER, "--discard", lost.name, "--yes"], timeout_s=60)
    pair.wait_paired()
    assert pair.running_on() == left.name
    assert left.main_pid("mariadb.service") == server
    assert longest_outage(pair.rows, since=since).seconds < UNTOUCHED_S
    verdict = pair.finish()
    assert verdict.both_primary_s == 0
    # What was lost is what a person was told of, and nothing that had been on both disks.
    assert verdict.lost
    assert not both_have & set(verdict.lost)


@pytest.mark.long
def test_frozen_writes_for_which_nobody_asks_go_on(pair: Trial, survives: Check) -> None:
    """As when the kernel's handler falls victim to a lack of memory: the kernel calls no second one."""
    active, standby = pair.begin(20)
    standby.unplug(2)
    killed = active.exec(["sh", "-c", KILL_THE_HANDLER], timeout_s=60)
    assert killed.stdout.strip() == "killed"
    pair.wait_rows(20)
    assert any(e["kind"] == "resumed" for e in events(pair, active.name))
    standby.plug(2)
    pair.wait_paired()
    assert pair.running_on() == active.name
    survives()


@pytest.mark.long
def test_both_disks_are_compared_by_themselves_every_so_often(pair: Trial, survives: Check) -> None:
    active, _standby = pair.begin(20)
    text = CLUSTER_TOML.replace("link = 2\n", "link = 2\nverify_every_h = 0.01\n", 1)
    active.exec(["tee", "/etc/pairkeep/cluster.toml"], stdin=text)
    active.exec(["pairkeep", "apply", "--why", "compare often"], timeout_s=240)
    found = pair.wait("a comparison has ended", lambda s: _verified(s) == "done", machine=active.name)
    assert found["drbd"][0]["verify"]["out_of_sync_kib"] == 0
    assert any(e["kind"] == "verify" for e in events(pair, active.name))
    survives()


def _verified(status: Status) -> str:
    return str((status["drbd"][0]["verify"] or {}).get("state", "")) if status["drbd"] else ""


def _split(status: Status) -> bool:
    return any(side["split_brain"] for drbd in status["drbd"] for side in drbd["nodes"].values())


def _runs(status: Status, machine: Machine) -> bool:
    return any(g["state"] == "running" and g["node"] == machine.name for g in status["groups"])


def _waits(trial: Trial, machine: Machine) -> None:
    """It starts nothing itself for longer than a takeover from a silent machine ever waits."""
    until = time.monotonic() + PATIENT_S
    while time.monotonic() < until:
        # It may still take the other one for running, of which it has just lost sight.
        assert trial.running_on(machine.name) != machine.name
        time.sleep(POLL_S)


def _confirm(machine: Machine, other: Machine) -> None:
    machine.exec(["pairkeep", "confirm-fenced", other.name, "--yes"], timeout_s=60)


def _cut_off(machine: Machine, *, plugged: bool) -> None:
    for network in (1, 2):
        (machine.plug if plugged else machine.unplug)(network)
