# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking keepalived's checkers what they know: on a signal they write it to a file, as text."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from appliance.config.model import Cluster
from appliance.drivers.base import DriverError

DUMP = Path("/tmp/keepalived_check.data")  # noqa: S108 (keepalived's own choice; what is not root's is not read)
DUMP_S = 5.0
POLL_S = 0.05
# All instances write to the same file.
_asking = threading.Lock()


@dataclass(frozen=True)
class Instance:
    """A keepalived. ``checkers``: the file with its checkers' number, which is there once signals do no harm."""

    unit: str
    pid: Path
    checkers: Path

    def running(self) -> bool:
        return self.checkers.exists() and self.pid.exists()


def instances(cluster: Cluster) -> tuple[Instance, ...]:
    """Those that may run on a director: one for VRRP, and one for each service that a group moves."""
    found = [Instance("keepalived.service", Path("/run/keepalived.pid"), Path("/run/checkers.pid"))]
    for virtual in cluster.virtuals:
        if virtual.failover == "cluster":
            base = f"/run/pairkeep/virtual-{virtual.name}"
            unit = f"pairkeep-virtual@{virtual.name}.service"
            found.append(Instance(unit, Path(f"{base}.pid"), Path(f"{base}-checkers.pid")))
    return tuple(found)


def dump(instance: Instance) -> list[str]:
    """What its checkers know; nothing when it does not run. Raises DriverError when it does not answer."""
    if not instance.running():
        return []
    with _asking:
        DUMP.unlink(missing_ok=True)
        try:
            os.kill(int(instance.pid.read_text()), signal.SIGUSR1)
        except (ProcessLookupError, FileNotFoundError):
            return []
        return _written(instance.unit, time.monotonic() + DUMP_S)


def _written(unit: str, deadline: float) -> list[str]:
    """The file, once it is there and grows no more."""
    size = -1
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        with contextlib.suppress(FileNotFoundError):
            before, size = size, DUMP.lstat().st_size
            if size > 0 and size == before:
                handle = os.open(DUMP, os.O_RDONLY | os.O_NOFOLLOW)
                with os.fdopen(handle, encoding="utf-8", errors="replace") as file:
                    if os.fstat(handle).st_uid != 0:
                        raise DriverError(f"{DUMP} is not keepalived's")
                    return file.read().splitlines()
    raise DriverError(f"{unit} does not say what it knows")
