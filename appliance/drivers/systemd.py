# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd over D-Bus: jobs awaited by their signal, unit states, and changes as they happen.

The bus belongs to the main loop's thread. Worker threads ask it through here and wait.
"""

from __future__ import annotations

import threading
import time
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
# While PID 1 executes itself anew (systemctl(1), daemon-reexec, as upgrades of systemd and libc do) nobody has its
# name, and what was under way is answered by the bus. All that is called here may be called twice.
AWAY = ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Spawn")
AGAIN_S = 0.2


class Systemd:
    """One for the process. dbus.mainloop.glib must be the default main loop when it is made."""

    def __init__(self) -> None:
        self._bus = dbus.SystemBus()
        self._manager = self._object("/org/freedesktop/systemd1", MANAGER)
        self._manager.Subscribe()
        self._paths: dict[str, str] = {}
        self._results: dict[str, str] = {}
        self._returns = 0
        self._removed = threading.Condition()
        self._bus.add_signal_receiver(
            self._job_removed, signal_name="JobRemoved", dbus_interface=MANAGER, bus_name=NAME
        )
        self._bus.watch_name_owner(NAME, self._owner_changed)

    def job(self, method: str, unit: str, timeout_s: float) -> str:
        """Queue a job (StartUnit, StopUnit, …) and wait for its end; returns its result, ``done`` when well.

        The results are those of org.freedesktop.systemd1(5), JobRemoved. From worker threads only.
        """
        deadline = time.monotonic() + timeout_s
        returns = self._returns
        path = str(self.call(self._manager, method, unit, "replace"))
        while self._hears_of(path, returns, deadline - time.monotonic()):
            returns = self._returns
            # Once PID 1 is back: it may have ended when nobody could be told.
            if path in self._results or str(self._get(unit, UNIT, "Job")[1]) != path:
                return self._results.pop(path, "") or self._outcome(method, unit)
        raise DriverError(f"{method} of {unit} took longer than {timeout_s:.0f} s")

    def _hears_of(self, path: str, returns: int, timeout_s: float) -> bool:
        """Wait until job ``path`` has ended, or PID 1 has come back more often than ``returns``."""
        with self._removed:
            return self._removed.wait_for(
                lambda: path in self._results or self._returns != returns, max(0.0, timeout_s)
            )

    def _outcome(self, method: str, unit: str) -> str:
        """The result of a job whose end was not seen."""
        wanted = ("active", "reloading") if method == "StartUnit" else DOWN
        return "done" if self.active_state(unit) in wanted else "failed"

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
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                return self._call_once(target, method, *arguments)
            except dbus.DBusException as error:
                away = str(error.get_dbus_name()).removeprefix("org.freedesktop.DBus.Error.").startswith(AWAY)
                if not away or time.monotonic() > deadline:
                    raise DriverError(f"systemd refused {method}: {error}") from error
            time.sleep(AGAIN_S)

    def _call_once(self, target: Any, method: str, *arguments: object) -> Any:
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
            raise failure[0]
        return answer[0] if answer else None

    def _get(self, unit: str, interface: str, name: str) -> Any:
        if unit not in self._paths:
            self._paths[unit] = str(self.call(self._manager, "LoadUnit", unit))
        # The path is made of the unit's name and stays; asking for it loads the unit again where need be.
        return self.call(self._object(self._paths[unit], PROPERTIES), "Get", interface, name)

    def _object(self, path: str, interface: str) -> Any:
        """By its well-known name: the bus knows PID 1 by another number after each time it executed itself anew."""
        found = self._bus.get_object(NAME, path, introspect=False, follow_name_owner_changes=True)
        return dbus.Interface(found, interface)

    def _owner_changed(self, owner: str) -> None:
        """Told once at first, then whenever PID 1 has left the bus (empty) or is back."""
        if owner:
            # It knows its subscribers again by itself, and then says that we are one already.
            self._manager.Subscribe(reply_handler=lambda: None, error_handler=lambda _error: None)
            with self._removed:
                self._returns += 1
                self._removed.notify_all()

    def _job_removed(self, _number: int, path: str, _unit: str, result: str) -> None:
        with self._removed:
            # Which jobs are awaited is known only a moment after they were queued, so all are kept for a while.
            self._results[str(path)] = str(result)
            while len(self._results) > 100:
                del self._results[next(iter(self._results))]
            self._removed.notify_all()
