# SPDX-License-Identifier: GPL-2.0-or-later
"""Fencing for real: fence_ipmilan in the machines, a BMC for each of them outside."""

from __future__ import annotations

import json
from functools import partial
from itertools import count
from typing import Any

import pytest

from appliance.config.load import parse
from appliance.lab import pair
from appliance.lab.bmc import log_file
from appliance.lab.machine import Machine
from appliance.lab.trial import Trial, events

HEARTBEAT_NETWORKS = (1, 2)
# Devices are asked every five minutes (supervisor/fences.py), and one that is silent takes its time.
TOLD_S = 420.0
EDITED = "/etc/pairkeep/cluster.toml"


def test_after_a_power_cut_the_survivor_waits_for_the_device_and_not_for_the_watchdog(fenced: Trial) -> None:
    lost, survivor = fenced.begin(100)
    lost.power_off()
    fenced.wait_running(survivor.name)
    fenced.wait_rows(50)
    happened = events(fenced, survivor.name)
    off = next(e["at"] for e in happened if e["kind"] == "fenced" and e["node"] == lost.name)
    left, began = _left_and_taken_over(happened, lost)
    assert left < off < began
    # It was switched on again by the survivor, and takes part as one that has just booted.
    fenced.wait_paired()
    assert fenced.running_on() == survivor.name
    _sound(fenced)


@pytest.mark.long
def test_an_active_machine_that_is_cut_off_is_switched_off_and_shoots_nobody_when_it_is_back(fenced: Trial) -> None:
    active, survivor = fenced.begin(50)
    for network in HEARTBEAT_NETWORKS:
        active.unplug(network)
    fenced.wait_running(survivor.name)
    assert "off" in _asked(fenced, active)
    for network in HEARTBEAT_NETWORKS:
        active.plug(network)
    fenced.wait_paired()
    fenced.wait_rows(50)
    assert "off" not in _asked(fenced, survivor)
    assert fenced.running_on() == survivor.name
    _sound(fenced)


@pytest.mark.long
def test_a_device_that_does_not_answer_is_reported_and_the_watchdog_waited_for(fenced: Trial) -> None:
    lost, survivor = fenced.begin(50)
    lost.mute_bmc()
    lost.power_off()
    fenced.wait_running(survivor.name)
    fenced.wait_rows(50)
    happened = events(fenced, survivor.name)
    assert not any(e["text"].startswith(f"{lost.name} is off") for e in happened)
    # What it waits for begins when it sees the other one leave; times are told in milliseconds.
    left, began = _left_and_taken_over(happened, lost)
    assert began - left >= parse(pair.fenced()).safety_wait_s - 0.1
    # The attempt is given up, maybe later than that; and also when nobody needs a device it is asked now and then.
    for what, begins in (
        ("failed", f"{lost.name} could not be switched off by "),
        ("warning", f"the fence devices of {lost.name} "),
    ):
        told = partial(_tells, fenced, survivor, what, begins)
        fenced.lab.wait_for(f"{what}: {begins} …", told, timeout_s=TOLD_S, poll_s=5)
    _sound(fenced)


@pytest.mark.long
def test_when_the_first_device_does_not_answer_the_second_is_asked(fenced: Trial) -> None:
    lost, survivor = fenced.begin(50)
    # A device of its own for each node, and none of them there.
    silent = (f'agent = "fence_ipmilan", ip = "10.9.3.{n}", username = "x", timeout_s = 5' for n in count(250))
    text = lost.exec(["cat", EDITED]).stdout
    lines = [
        f"fence = [{{ {next(silent)} }}, {line.removeprefix('fence = ')}]" if line.startswith("fence = ") else line
        for line in text.splitlines()
    ]
    lost.exec(["tee", EDITED], stdin="\n".join(lines) + "\n")
    lost.exec(["pairkeep", "apply", "--why", "a second device"], timeout_s=240)
    fenced.wait("the dead one is told of", lambda s: "fence devices" in json.dumps(s))
    # One without power would only be asked for its status: the agent switches nothing off that is off.
    for network in HEARTBEAT_NETWORKS:
        lost.unplug(network)
    fenced.wait_running(survivor.name)
    assert "off" in _asked(fenced, lost)
    happened = events(fenced, survivor.name)
    assert any(e["kind"] == "fenced" and e["node"] == lost.name for e in happened)
    # To switch it on again the silent device is asked first, too.
    fenced.lab.wait_for("it is switched on again", lambda: lost.state() != "off", timeout_s=60, poll_s=1)
    for network in HEARTBEAT_NETWORKS:
        lost.plug(network)
    fenced.wait_paired()
    _sound(fenced)


@pytest.mark.long
def test_fencing_tried_on_purpose_moves_the_service(fenced: Trial) -> None:
    active, other = fenced.begin(50)
    refused = active.exec(["pairkeep", "fence", "test", active.name, "--yes"], check=False)
    assert refused.returncode == 2
    assert "does not switch itself off" in refused.stderr
    done = other.exec(["pairkeep", "fence", "test", active.name, "--yes"], timeout_s=120)
    assert done.stdout.strip() == f"{active.name} was switched off"
    fenced.wait_running(other.name)
    fenced.wait_rows(20)
    fenced.wait_paired()
    _sound(fenced)


def _asked(trial: Trial, machine: Machine) -> list[str]:
    """What the BMC of ``machine`` was asked since the pair was restored."""
    log = trial.lab.folder / log_file(machine.name)
    lines: list[dict[str, Any]] = (
        [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    )
    return [line["asked"] for line in lines]


def _tells(trial: Trial, machine: Machine, kind: str, begins: str) -> bool:
    return any(e["kind"] == kind and e["text"].startswith(begins) for e in events(trial, machine.name))


def _left_and_taken_over(happened: list[dict[str, Any]], lost: Machine) -> tuple[float, float]:
    """When the survivor saw ``lost`` leave, and when it began to take over after that."""
    left = next(e["at"] for e in happened if e["kind"] == "left" and e["node"] == lost.name)
    starts = (e for e in happened if e["kind"] == "step" and e["step"] == "start" and e["at"] > left)
    return left, next(start["at"] - start["seconds"] for start in starts)


def _sound(trial: Trial) -> None:
    verdict = trial.finish()
    assert verdict.lost == ()
    assert verdict.both_primary_s == 0
