# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs of PID 1, on a bus of their own, while it executes itself anew (systemctl(1), daemon-reexec)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"
HERE = Path(__file__).parent


def _has_dbus() -> bool:
    has = [PYTHON, "-c", "import dbus, gi"]
    return (
        bool(shutil.which("dbus-run-session") and Path(PYTHON).exists())
        and not subprocess.run(has, capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not _has_dbus(), reason="the system's Python has no D-Bus here")
def test_services_are_started_whenever_pid_1_has_executed_itself_anew(tmp_path: Path) -> None:
    # What the appliance imports besides is in plain Python.
    packages = os.pathsep.join((str(HERE.parent), sysconfig.get_path("purelib")))
    talk = f'DBUS_SYSTEM_BUS_ADDRESS="$DBUS_SESSION_BUS_ADDRESS" exec {PYTHON} tests/systemd_client.py {tmp_path}'
    done = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", talk],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=HERE.parent,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == dict.fromkeys(("before", "after", "while it is away", "ended unseen"), "done")
