# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line's end of the supervisor's D-Bus interface."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from appliance.errors import InputError, PairkeepError

# The api module cannot be imported here: it would load the whole supervisor for a name.
NAME = "org.pairkeep.Supervisor1"
PATH = "/org/pairkeep/Supervisor1"
TIMEOUT_S = 30
# As long as a supervisor's restart may take on a slow machine; every apply restarts all of them.
RESTART_S = 60
POLL_S = 0.5


class NoAnswer(PairkeepError):
    """The supervisor does not run, is being restarted, or has too much to do."""


def call(method: str, *arguments: str | bool, timeout_s: float = TIMEOUT_S) -> Any:
    """Call the supervisor; its JSON answer as a value.

    Raises PairkeepError, NoAnswer when there was none, InputError when it refused.
    """
    try:
        import dbus
    except ImportError as error:
        raise InputError(
            "this command speaks to the supervisor and runs inside an appliance",
            hint="in the lab: pairkeep lab exec alpha -- pairkeep status",
        ) from error
    try:
        supervisor = dbus.Interface(dbus.SystemBus().get_object(NAME, PATH, introspect=False), NAME)
        answer = supervisor.get_dbus_method(method)(*arguments, timeout=timeout_s)
    except dbus.DBusException as error:
        name = error.get_dbus_name() or ""
        if name == "org.pairkeep.Error.Refused":
            raise InputError(error.get_dbus_message()) from error
        if name == "org.pairkeep.Error.Failed":
            raise PairkeepError(error.get_dbus_message()) from error
        if name == "org.freedesktop.DBus.Error.AccessDenied":
            raise InputError("only root may ask the supervisor", hint="sudo pairkeep …") from error
        if name == "org.freedesktop.DBus.Error.NoReply":
            raise NoAnswer(
                f"the supervisor has ended, or not answered within {timeout_s:.0f} s: "
                "what was asked of it may still come about",
                hint="pairkeep status shows it",
            ) from error
        raise NoAnswer(
            f"the supervisor does not answer ({name.rsplit('.', 1)[-1]})",
            hint="systemctl status pairkeep",
        ) from error
    return json.loads(answer) if isinstance(answer, str) and answer[:1] in ("{", "[") else answer


def patient_status() -> Any:
    """The status, of the next supervisor if the one that was asked before is being restarted."""
    deadline = time.monotonic() + RESTART_S
    while True:
        try:
            return call("Status")
        except NoAnswer:
            if time.monotonic() >= deadline:
                raise
        time.sleep(POLL_S)


@contextmanager
def goes_on(what: str) -> Iterator[None]:
    """Whoever interrupts this wait is told that it does not end ``what`` was ordered."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{what} goes on all the same; pairkeep status shows it", file=sys.stderr)
        raise


def follow() -> Any:
    """Yield events as values for ever, as they happen. Ends with the supervisor or with an interrupt."""
    import dbus
    from dbus.mainloop.glib import DBusGMainLoop
    from gi.repository import GLib

    bus = dbus.SystemBus(mainloop=DBusGMainLoop())
    waiting: list[Any] = []
    bus.add_signal_receiver(
        lambda text: waiting.append(json.loads(text)), signal_name="EventHappened", dbus_interface=NAME
    )
    context = GLib.MainContext.default()
    while True:
        context.iteration(True)
        while waiting:
            yield waiting.pop(0)
