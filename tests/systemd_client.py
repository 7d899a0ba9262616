# SPDX-License-Identifier: GPL-2.0-or-later
"""What the supervisor asks of PID 1 while that executes itself anew; run by the system's Python on its own bus.

Prints what came of it as JSON. The argument names the folder in which PID 1's state is kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

DBusGMainLoop(set_as_default=True)

from appliance.drivers.systemd import Systemd  # noqa: E402

kept = Path(sys.argv[1]) / "state.json"


class PidOne:
    """The one that runs now; `execute_anew` puts another one in its place."""

    def __init__(self) -> None:
        self._process = self._begin(0.05)

    def _begin(self, seconds: float) -> subprocess.Popen[str]:
        argv = [sys.executable, str(Path(__file__).with_name("systemd_manager.py")), str(seconds), str(kept)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()

    def execute_anew(self, away_s: float = 0.0, seconds: float = 0.05) -> None:
        self.end()
        time.sleep(away_s)
        self._process = self._begin(seconds)


def talk(systemd: Systemd, pid_one: PidOne) -> dict[str, str]:
    said = {"before": systemd.job("StartUnit", "x.service", 30)}
    pid_one.execute_anew()
    said["after"] = systemd.job("StartUnit", "x.service", 30)
    pid_one.end()
    back = threading.Thread(target=pid_one.execute_anew, args=(1.0,))
    back.start()
    said["while it is away"] = systemd.job("StartUnit", "x.service", 30)
    back.join()
    # A job that takes long is under way when it goes, and has ended before anybody can be told.
    pid_one.execute_anew(seconds=600)
    again = threading.Timer(1.0, pid_one.execute_anew)
    again.start()
    said["ended unseen"] = systemd.job("StartUnit", "x.service", 30)
    again.join()
    return said


def main() -> None:
    pid_one = PidOne()
    systemd = Systemd()
    loop = GLib.MainLoop()

    def work() -> None:
        try:
            print(json.dumps(talk(systemd, pid_one)), flush=True)
        finally:
            pid_one.end()
            loop.quit()

    threading.Thread(target=work, daemon=True).start()
    loop.run()


main()
