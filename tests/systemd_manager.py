# SPDX-License-Identifier: GPL-2.0-or-later
"""PID 1 as far as a service's start asks for it, on the bus of the environment; run by the system's Python.

A job ends after SECONDS, the first argument. The second one says where its number and the unit's state are kept, so
that the next one knows them, as after `systemctl daemon-reexec`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dbus
import dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "/org/freedesktop/systemd1/unit/x"
JOB = "/org/freedesktop/systemd1/job/"

seconds, kept = float(sys.argv[1]), Path(sys.argv[2])
state = json.loads(kept.read_text()) if kept.exists() else {"number": 0, "active": "inactive", "pending": False}


class Manager(dbus.service.Object):  # type: ignore[misc]
    @dbus.service.method(MANAGER)  # type: ignore[misc]
    def Subscribe(self) -> None: ...

    @dbus.service.method(MANAGER, in_signature="s", out_signature="o")  # type: ignore[misc]
    def LoadUnit(self, _unit: str) -> dbus.ObjectPath:
        return dbus.ObjectPath(UNIT)

    @dbus.service.method(MANAGER, in_signature="ss", out_signature="o")  # type: ignore[misc]
    def StartUnit(self, _unit: str, _mode: str) -> dbus.ObjectPath:
        state.update(number=state["number"] + 1, pending=True)
        kept.write_text(json.dumps(state))
        GLib.timeout_add(int(seconds * 1000), self.end)
        return dbus.ObjectPath(f"{JOB}{state['number']}")

    @dbus.service.signal(MANAGER, signature="uoss")  # type: ignore[misc]
    def JobRemoved(self, number: int, path: str, unit: str, result: str) -> None: ...

    def end(self) -> bool:
        state.update(active="active", pending=False)
        self.JobRemoved(state["number"], f"{JOB}{state['number']}", "x.service", "done")
        return False


class Unit(dbus.service.Object):  # type: ignore[misc]
    @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="ss", out_signature="v")  # type: ignore[misc]
    def Get(self, _interface: str, name: str) -> object:
        if name == "ActiveState":
            return state["active"]
        number = state["number"] if state["pending"] else 0
        path = f"{JOB}{number}" if number else "/"
        return dbus.Struct((dbus.UInt32(number), dbus.ObjectPath(path)), signature="uo")


DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
if state["pending"]:
    # What was under way has ended before the name is taken again.
    state.update(active="active", pending=False)
name = dbus.service.BusName("org.freedesktop.systemd1", bus)
objects = (Manager(bus, "/org/freedesktop/systemd1"), Unit(bus, UNIT))
print("ready", flush=True)
GLib.MainLoop().run()
