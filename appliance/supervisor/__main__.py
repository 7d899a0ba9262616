# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 -m appliance.supervisor`: the service `pairkeep.service`."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import traceback

import dbus
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib
from systemd import daemon

from appliance.config.load import parse
from appliance.drivers import rtnetlink
from appliance.errors import PairkeepError
from appliance.membership import codec
from appliance.run import run
from appliance.supervisor import store
from appliance.supervisor.api import Api
from appliance.supervisor.operations import SupervisorOperations
from appliance.supervisor.parent import Parent
from appliance.supervisor.service import SupervisorService
from appliance.upkeep.versions import Versions


def main() -> int:
    handles = {name: handle for handle, name in daemon.listen_fds_with_names().items()}
    keep = Parent(handles, _keep_in_systemd, _prepare).fork()
    _end_on_any_surprise()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    DBusGMainLoop(set_as_default=True)
    loop = GLib.MainLoop()
    try:
        me, record = os.uname().nodename, store.load()
        config, text = Versions().start(record, me)
        service = SupervisorService(parse(text), me, loop, record, config, keep)
        api = Api(dbus.SystemBus(), SupervisorOperations(service, text))
        service.publish = api.EventHappened
        service.start()
    except PairkeepError as error:
        logging.getLogger("pairkeep").error("%s", error)
        return error.exit_code
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, _terminate, service)
    loop.run()
    return 0


def _keep_in_systemd(name: str, handle: int) -> None:
    """sd_pid_notify_with_fds(3): the next parent finds it, whatever ends this one."""
    daemon.notify(f"FDSTORE=1\nFDNAME={name}", fds=[handle])


def _prepare() -> None:
    codec.prepare()
    with contextlib.suppress(ImportError):  # only images with a database have the second
        rtnetlink.load()
        importlib.import_module("pymysql")


def _end_on_any_surprise() -> None:
    """A supervisor that went wrong must not go on: its parent starts another, which looks at everything afresh.

    GLib prints an exception of a callback and carries on; a worker thread just ends.
    """

    def end(*failure: object) -> None:
        traceback.print_exception(*failure)  # type: ignore[call-overload]
        os._exit(70)

    sys.excepthook = end
    threading.excepthook = lambda args: end(args.exc_type, args.exc_value, args.exc_traceback)


def _terminate(service: SupervisorService) -> bool:
    # systemd answers "stopping" from the moment a shutdown has begun, and "maintenance" from when rescue or
    # emergency mode was asked for, which end services as well (systemctl(1), is-system-running).
    state = run(["systemctl", "is-system-running"], check=False, timeout_s=5).stdout.strip()
    service.stop(shutting_down=state in ("stopping", "maintenance"))
    return True


if __name__ == "__main__":
    sys.exit(main())
