# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon corosync notices that a machine is gone, and how often it is wrong about one that is only busy."""

from __future__ import annotations

import time
from collections.abc import Sequence

from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab import inside
from appliance.lab.bench import LAB, Figures, summary
from appliance.lab.trial import Trial, events, trial
from appliance.lab.watch import WORKERS

CONFIG = "/etc/corosync/corosync.conf"
NOTICED_S = 30.0


def detection(tokens: Sequence[int], runs: int, progress: Progress) -> Figures:
    """Seconds from a power cut to the witness's supervisor knowing of it, by corosync's token in milliseconds."""
    found: Figures = {}
    for token_ms in tokens:
        seconds: list[float] = []
        with progress.phase(f"a power cut with a token of {token_ms} ms, {runs} times"):
            for _ in range(runs):
                with trial(LAB, progress) as pair:
                    _set_token(pair, token_ms)
                    seconds.append(_noticed(pair))
        found[f"token_{token_ms}_ms"] = summary(seconds)
    return found


def alarms(tokens: Sequence[int], minutes: float, progress: Progress) -> Figures:
    """How often a machine was taken for lost, while a loop keeps each worker's one processor busy all the time."""
    found: Figures = {}
    for token_ms in tokens:
        with trial(LAB, progress) as pair:
            _set_token(pair, token_ms)
            for name in WORKERS:
                inside.hog_processor(pair.lab[name])
            began = time.time()
            with progress.phase(f"{minutes:g} minutes of load with a token of {token_ms} ms"):
                time.sleep(60 * minutes)
            left = [e for e in events(pair, "witness") if e["kind"] == "left" and e["at"] > began]
        found[f"token_{token_ms}_ms"] = {"alarms": len(left), "minutes": minutes}
    return found


def _set_token(pair: Trial, token_ms: int) -> None:
    """On the running cluster (corosync.conf(5): the token can be changed by a reload)."""
    consensus_ms = token_ms * 12 // 10
    edit = f"s/^( *)token: .*/\\1token: {token_ms}/; s/^( *)consensus: .*/\\1consensus: {consensus_ms}/"
    _ = pair.active
    for machine in pair.lab.machines:
        machine.exec(["sed", "-E", "-i", edit, CONFIG])
    pair.lab["witness"].exec(["corosync-cfgtool", "-R"], timeout_s=60)
    for machine in pair.lab.machines:
        said = machine.exec(["corosync-cmapctl", "-g", "runtime.config.totem.token"]).stdout
        if said.split()[-1] != str(token_ms):
            raise PairkeepError(f"{machine.name} did not take the token up: {said}")


def _noticed(pair: Trial) -> float:
    lost = pair.other(pair.active)
    cut_at = time.time()
    lost.power_off()
    deadline = time.monotonic() + NOTICED_S
    while time.monotonic() < deadline:
        for event in events(pair, "witness"):
            if event["kind"] == "left" and event["node"] == lost.name and event["at"] >= cut_at - 1:
                return float(event["at"]) - cut_at
        time.sleep(1)
    raise PairkeepError(f"nobody noticed within {NOTICED_S:g} s that {lost.name} has lost its power")
