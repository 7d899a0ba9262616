# SPDX-License-Identifier: GPL-2.0-or-later
"""When disks are compared: once in their time, however often supervisors start and wherever the clock jumps."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from appliance.decide.view import DrbdReport
from appliance.errors import PairkeepError
from appliance.sim.cluster import lab_cluster

PAIRED = DrbdReport("Primary", "UpToDate", "Connected", "UpToDate", "Secondary")
WEEK = 168 * 3600.0


class Lanes:
    """Each job is done at once."""

    def put(self, _lane: str, job: Callable[[], Callable[[], None]]) -> None:
        job()()


class Stage:
    """A machine whose supervisors come and go. ``wall`` is its clock, ``uptime`` the one that does not jump."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.wall, self.uptime = 1_800_000_000.0, 50.0
        self.verified = 0
        self.fails = False
        self._looks: list[Callable[[], bool]] = []
        loop = SimpleNamespace(timeout_add_seconds=lambda _seconds, call: self._looks.append(call))
        fakes: dict[str, dict[str, Any]] = {
            "gi": {},
            "gi.repository": {"GLib": loop},
            "appliance.supervisor.service": {"SupervisorService": object},
        }
        for name, values in fakes.items():
            module = ModuleType(name)
            module.__dict__.update(values)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "appliance.supervisor.verify", raising=False)
        self._module: Any = importlib.import_module("appliance.supervisor.verify")
        monkeypatch.delitem(sys.modules, "appliance.supervisor.verify")
        monkeypatch.setattr(self._module, "KEPT", folder / "verify.json")
        monkeypatch.setattr(time, "time", lambda: self.wall)

    def supervisor(self) -> Any:
        cluster = lab_cluster()
        drbd = tuple(replace(d, verify_every_h=168) for d in cluster.drbd)
        core = SimpleNamespace(
            cluster=replace(cluster, drbd=drbd),
            local=SimpleNamespace(drbd={"shopdata": PAIRED}),
            view=SimpleNamespace(record=SimpleNamespace(maintenance=False)),
        )
        executor = SimpleNamespace(drbd={"shopdata": SimpleNamespace(verify=self._verify)})
        self._looks.clear()
        service = SimpleNamespace(
            core=core, executor=executor, lanes=Lanes(), now=lambda: self.uptime, tell=lambda _event: None
        )
        return self._module.Verifier(service)

    def _verify(self, _progress: object) -> SimpleNamespace:
        if self.fails:
            raise PairkeepError("the connection is lost")
        self.verified += 1
        return SimpleNamespace(out_of_sync_kib=0)

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds
        for look in self._looks:
            look()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    return Stage(monkeypatch, tmp_path)


def test_supervisors_that_live_for_a_day_compare_once_a_week(stage: Stage) -> None:
    for _ in range(29):
        stage.supervisor()
        stage.pass_time(WEEK / 7)
        stage.pass_time(60)
    assert stage.verified == 4


def test_how_the_last_one_ended_is_known_after_a_restart(stage: Stage) -> None:
    stage.supervisor()
    stage.pass_time(WEEK)
    assert stage.supervisor().results["shopdata"]["text"].startswith("no difference found")


@pytest.mark.parametrize("kept", ["", "[]", '{"shopdata": 7}', '{"shopdata": {"last": null, "result": null}}'])
def test_what_cannot_be_read_of_it_keeps_no_supervisor_from_starting(
    stage: Stage, tmp_path: Path, kept: str
) -> None:
    (tmp_path / "verify.json").write_text(kept)
    stage.supervisor()
    stage.pass_time(WEEK)
    assert stage.verified == 1


def test_one_that_failed_is_tried_again_by_the_next_supervisor(stage: Stage) -> None:
    stage.supervisor()
    stage.fails = True
    stage.pass_time(WEEK)
    stage.pass_time(60)
    stage.fails = False
    assert stage.supervisor().results["shopdata"]["state"] == "failed"
    stage.pass_time(60)
    assert stage.verified == 1


@pytest.mark.parametrize("jump", [30 * 365 * 24 * 3600.0, -30 * 365 * 24 * 3600.0])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_clock_that_jumps_costs_one_verify_or_puts_one_off_once(
    stage: Stage, jump: float, restarted: bool
) -> None:
    stage.supervisor()
    stage.pass_time(WEEK)
    assert stage.verified == 1
    stage.wall += jump
    for _ in range(3):
        if restarted:
            stage.supervisor()
        stage.pass_time(60)
    assert stage.verified == (2 if jump > 0 and restarted else 1)
    stage.wall -= jump
    if restarted:
        stage.supervisor()
    stage.pass_time(60)
    before = stage.verified
    stage.pass_time(WEEK)
    assert stage.verified == before + 1


def test_a_file_that_cannot_be_read_is_begun_anew(stage: Stage) -> None:
    stage._module.KEPT.write_text("{")
    stage.supervisor()
    stage.pass_time(WEEK)
    assert stage.verified == 1
