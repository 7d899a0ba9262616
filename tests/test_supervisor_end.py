# SPDX-License-Identifier: GPL-2.0-or-later
"""What a supervisor that is told to end makes of it: whether services run on is for PID 1 to say."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FAKES: dict[str, dict[str, Any]] = {
    "dbus": {},
    "dbus.mainloop": {},
    "dbus.mainloop.glib": {"DBusGMainLoop": None},
    "gi": {},
    "gi.repository": {"GLib": None},
    "systemd": {"daemon": None},
    "appliance.supervisor.api": {"Api": None},
    "appliance.supervisor.operations": {"SupervisorOperations": None},
    "appliance.supervisor.service": {"SupervisorService": None},
}


@pytest.mark.parametrize(
    ("state", "ends"),
    [("running", False), ("degraded", False), ("starting", False), ("stopping", True), ("maintenance", True)],
)
def test_services_do_not_run_on_where_the_machine_ends_them(
    monkeypatch: pytest.MonkeyPatch, state: str, ends: bool
) -> None:
    for name, values in FAKES.items():
        module = ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "appliance.supervisor.__main__", raising=False)
    supervisor = importlib.import_module("appliance.supervisor.__main__")
    monkeypatch.delitem(sys.modules, "appliance.supervisor.__main__")
    monkeypatch.setattr(supervisor, "run", lambda *_argv, **_how: SimpleNamespace(stdout=f"{state}\n"))
    told: list[bool] = []
    supervisor._terminate(SimpleNamespace(stop=lambda *, shutting_down: told.append(shutting_down)))
    assert told == [ends]
