# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's side of D-Bus over a Core that a test leads by the hand; its lanes do all at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from appliance.config.load import parse
from appliance.lab.pair import CLUSTER_TOML
from appliance.supervisor.core import Core
from tests.test_core import Desk

OURS = "appliance.supervisor."


class DBusException(Exception):
    """As dbus-python's: a class may have a name for the bus."""

    _dbus_error_name = ""

    def get_dbus_name(self) -> str:
        return self._dbus_error_name

    def get_dbus_message(self) -> str:
        return str(self)


def _decorator(*_how: object, **_more: object) -> Callable[[Any], Any]:
    return lambda method: method


class _Exported:
    def __init__(self, **_where: object) -> None: ...


class Lanes:
    """Each job is done at once."""

    def put(self, _lane: str, job: Callable[[], Callable[[], None]]) -> None:
        job()()


class Bus:
    """``call`` as a command does it; ``service``: what operations have of the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, core: Core, desk: Desk) -> None:
        glib = SimpleNamespace(timeout_add_seconds=lambda *_: 0, IO_PRI=0, IO_ERR=0)
        export = {"Object": _Exported, "BusName": lambda *_, **__: None, "method": _decorator, "signal": _decorator}
        modules: dict[str, dict[str, Any]] = {
            "gi": {},
            "gi.repository": {"GLib": glib},
            "systemd": {"daemon": None, "journal": None},
            "dbus": {"DBusException": DBusException, "Bus": object, "SystemBus": object},
            "dbus.service": export,
        }
        for name, values in modules.items():
            module = ModuleType(name)
            module.__dict__.update(values)
            monkeypatch.setitem(sys.modules, name, module)
        sys.modules["dbus"].service = sys.modules["dbus.service"]  # type: ignore[attr-defined]
        had = set(sys.modules)
        api, operations = (importlib.import_module(OURS + name) for name in ("api", "operations"))
        # Nobody else is to find what has been made with these.
        for name in {name for name in sys.modules if name.startswith("appliance.")} - had:
            package, _, last = name.rpartition(".")
            del sys.modules[name]
            sys.modules.get(package, SimpleNamespace()).__dict__.pop(last, None)
        self.answers: list[dict[str, tuple[str, ...]]] = []
        self.core, self.desk = core, desk
        core.cluster = parse(CLUSTER_TOML)
        self.service = SimpleNamespace(
            core=core,
            lanes=Lanes(),
            now=desk.now,
            events=[],
            executor=SimpleNamespace(drbd={}),
            ballot=SimpleNamespace(ask=lambda _text, done: done(self.answers.pop())),
        )
        self.operations = operations.SupervisorOperations(self.service, CLUSTER_TOML)
        self.api = api.Api(None, self.operations)

    def call(self, method: str, *arguments: Any) -> list[tuple[str, str]]:
        """Begin ``method``, which answers later; returns its answers so far: (error's name, text), or nothing."""
        answers: list[tuple[str, str]] = []

        def failed(error: DBusException) -> None:
            answers.append((error.get_dbus_name().rsplit(".", 1)[-1], error.get_dbus_message()))

        def done(value: object = "") -> None:
            answers.append(("", str(value)))

        getattr(self.api, method)(*arguments, done, failed)
        return answers
