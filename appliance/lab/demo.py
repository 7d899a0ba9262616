# SPDX-License-Identifier: GPL-2.0-or-later
"""`make demo`: a pair, a client, a power cut, and every acknowledged row on the other machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.build import folders
from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab.outage import PHASES, Breakdown, breakdown
from appliance.lab.timeline import Mark, svg
from appliance.lab.trial import Trial, Verdict, events, keep_evidence, paired, trial
from appliance.lab.writer import longest_outage

# Rows before the power is cut, and on the survivor before the lost machine returns.
ROWS_BEFORE = 1000
ROWS_AFTER = 200
GREEN, RED, GREY = "#1a7f37", "#c0392b", "#555555"


def run(progress: Progress) -> dict[str, Any]:
    """Run it; returns what is also left in ``build/demo/result.json``. Raises PairkeepError when a row is lost."""
    folder = folders.build_folder() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    with trial("demo", progress) as pair:
        try:
            result = _play(pair, folder, progress)
        except PairkeepError:
            keep_evidence(pair, folder / "failed")
            progress.note(f"logs of the machines: {folder / 'failed'}")
            raise
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    if result["rows_lost"] or result["both_primary_s"]:
        raise PairkeepError(f"acknowledged rows were lost or two machines wrote: {folder / 'result.json'}")
    return result


def _play(pair: Trial, folder: Path, progress: Progress) -> dict[str, Any]:
    active = pair.active
    survivor = pair.other(active)
    pair.start()
    with progress.phase(f"a client writes {ROWS_BEFORE} rows through the service address, to {active.name}"):
        pair.wait_rows(ROWS_BEFORE)
    cut_at = time.time()
    active.power_off()
    progress.note(f"the power of {active.name} is cut")
    with progress.phase(f"{survivor.name} takes over"):
        pair.wait_running(survivor.name)
        pair.wait_rows(ROWS_AFTER)
    with progress.phase(f"{active.name} gets its power back, boots and takes part again"):
        returned_at = time.time()
        active.power_on()
        pair.wait(f"{active.name} is back", lambda s: _online(s, active.name))
    with progress.phase("its disk catches up"):
        pair.wait("both disks are UpToDate", paired)
        synced_at = time.time()
    with progress.phase("looking for every acknowledged row"):
        verdict = pair.finish()
    rows = pair.rows
    told = events(pair, survivor.name)
    parts = breakdown(cut_at, active.name, rows, told)
    outage = longest_outage(rows, since=cut_at)
    marks = [
        Mark(cut_at, f"power of {active.name} cut", RED),
        *_taken_over(told, cut_at, survivor.name),
        Mark(returned_at, f"power of {active.name} back", GREY),
        Mark(synced_at, "both disks UpToDate", GREEN),
    ]
    title = (
        f"{verdict.acknowledged} rows acknowledged, {len(verdict.lost)} lost, {parts.total:.1f} s without service"
    )
    gap = (outage.last_before, outage.first_after)
    (folder / "timeline.svg").write_text(svg(title, [row.at for row in rows], marks, gap))
    return _result(pair, verdict, parts)


def _online(status: dict[str, Any], name: str) -> bool:
    return any(node["name"] == name and node["state"] == "online" for node in status["nodes"])


def _taken_over(told: list[dict[str, Any]], cut_at: float, survivor: str) -> list[Mark]:
    marks = []
    for event in told:
        if event["at"] < cut_at:
            continue
        if event["kind"] == "left":
            marks.append(Mark(event["at"], f"{survivor} notices", GREY))
        if event["kind"] == "step" and event.get("step") == "start":
            phase = PHASES[event["resource"].partition(":")[0]].replace("_", " ")
            if phase in ("promote", "address"):
                marks.append(Mark(event["at"], f"{survivor}: {phase}", GREEN))
    return marks[:3]


def _result(pair: Trial, verdict: Verdict, parts: Breakdown) -> dict[str, Any]:
    machines = pair.lab.topology
    return {
        "rows_acknowledged": verdict.acknowledged,
        "rows_lost": len(verdict.lost),
        "both_primary_s": verdict.both_primary_s,
        "outage_s": parts.as_json(),
        "disks": verdict.disks,
        "accelerator": machines.accelerator,
        "versions": {
            "pairkeep": __version__,
            "qemu": machines.qemu_version,
            "images": {name: image.key for name, image in machines.images.items()},
            "kernel": pair.lab["witness"].exec(["uname", "-r"]).stdout.strip(),
        },
    }
