# SPDX-License-Identifier: GPL-2.0-or-later
"""Which file systems are looked at before they are full."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest

from appliance.sim.cluster import lab_cluster


class Lanes:
    """Each job is done at once."""

    def put(self, _lane: str, job: Callable[[], Callable[[], None]]) -> None:
        job()()


@pytest.mark.parametrize(("left", "text"), [(11, ""), (10, "/ is 90 % full")])
def test_a_node_that_runs_nothing_warns_of_its_own_disk(
    monkeypatch: pytest.MonkeyPatch, left: int, text: str
) -> None:
    timers: list[Callable[[], bool]] = []
    loop = SimpleNamespace(timeout_add_seconds=lambda _seconds, call: timers.append(call))
    for name, values in {"gi": {}, "gi.repository": {"GLib": loop}}.items():
        module = ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "appliance.supervisor.health", raising=False)
    health = importlib.import_module("appliance.supervisor.health")
    monkeypatch.delitem(sys.modules, "appliance.supervisor.health")
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_blocks=100, f_bfree=left, f_bavail=left))
    told: dict[str, str] = {}
    local = SimpleNamespace(states=lambda _group: ("stopped",) * 4)
    core = SimpleNamespace(local=local, on_warning=told.__setitem__)
    health.Health(lab_cluster(), Lanes(), core, lambda _drbd, _hangs: None).start()
    timers[0]()
    assert told == {"/": text, "/srv/mysql": ""}
