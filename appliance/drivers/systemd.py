# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd over D-Bus: jobs awaited by their signal, unit states, and changes as they happen.

The bus belongs to the main loop's thread. Worker threads ask it through here and wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import dbus
from gi.repository import GLib

from appliance.drivers.base import DriverError

NAME = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
SERVICE = "org.freedesktop.systemd1.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
# Values of ActiveState.
DOWN = ("inactive", "failed")
CALL_S = 20.0


class Systemd:
    """One for the process. dbus.mainloop.glib must be the default main loop when it is made."""

    def __init__(self) -> None:
        self._bus = dbus.SystemBus()
        self._manager = self._object("/org/freedesktop/systemd1", MANAGER)
        self._manager.Subscribe()
        self._paths: dict[str, str] = {}
        self._results: dict[str, str] = {}
        self._removed = threading.Condition()
        self._bus.add_signal_receiver(
            self._job_removed, signal_name="JobRemoved", dbus_interface=MANAGER, bus_name=NAME
        )

    def job(self, method: str, unit: str, timeout_s: float) -> str:
        """Queue a job (StartUnit, StopUnit, …) and wait for its end; returns its result, ``done`` when well.

        The results are those of org.freedesktop.systemd1(5), JobRemoved. From worker threads only.
        """
        path = str(self.call(self._manager, method, unit, "replace"))
        with self._removed:
            if not self._removed.wait_for(lambda: path in self._results, timeout_s):
                raise DriverError(f"{method} of {unit} took longer than {timeout_s:.0f} s")
            return self._results.pop(path)

    def active_state(self, unit: str) -> str:
        """The unit's ActiveState; ``inactive`` when it is not even loaded. From worker threads only."""
        return str(self._get(unit, UNIT, "ActiveState"))

    def program(self, unit: str) -> str:
        """The path of what a service starts; empty for units that start nothing. From worker threads only."""
        commands = self._get(unit, SERVICE, "ExecStart") if unit.endswith(".service") else ()
        return str(commands[0][0]) if commands else ""

    def watch(self, unit: str, changed: Callable[[bool], None]) -> None:
        """Call ``changed`` in the main loop whenever the unit's state may have changed; true when it is down."""
        path = self._manager.LoadUnit(unit)

        def told(interface: str, properties: dict[str, Any], _invalidated: list[str]) -> None:
            if interface == UNIT:
                changed(properties.get("ActiveState") in DOWN)

        self._bus.add_signal_receiver(
            told,
            signal_name="PropertiesChanged",
            dbus_interface=PROPERTIES,
            bus_name=NAME,
            path=path,
        )

    def call(self, target: Any, method: str, *arguments: object) -> Any:
        """Call from a worker thread; the main loop's thread sends it and takes the answer."""
        answered = threading.Event()
        answer: list[Any] = []
        failure: list[Exception] = []

        def send() -> bool:
            target.get_dbus_method(method)(*arguments, reply_handler=replied, error_handler=failed, timeout=CALL_S)
            return False

        def replied(*values: Any) -> None:
            answer.extend(values)
            answered.set()

        def failed(error: Exception) -> None:
            failure.append(error)
            answered.set()

        GLib.idle_add(send, priority=GLib.PRIORITY_DEFAULT)
        if not answered.wait(CALL_S + 5):
            raise DriverError(f"systemd does not answer {method}")
        if failure:
            raise DriverError(f"systemd refused {method}: {failure[0]}")
        return answer[0] if answer else None

    def _get(self, unit: str, interface: str, name: str) -> Any:
        if unit not in self._paths:
            self._paths[unit] = str(self.call(self._manager, "LoadUnit", unit))
        # The path is made of the unit's name and stays; asking for it loads the unit again where need be.
        return self.call(self._object(self._paths[unit], PROPERTIES), "Get", interface, name)

    def _object(self, path: str, interface: str) -> Any:
        return dbus.Interface(self._bus.get_object(NAME, path, introspect=False), interface)

    def _job_removed(self, _number: int, path: str, _unit: str, result: str) -> None:
        with self._removed:
            # Which jobs are awaited is known only a moment after they were queued, so all are kept for a while.
            self._results[str(path)] = str(result)
            while len(self._results) > 100:
                del self._results[next(iter(self._results))]
            self._removed.notify_all()
