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
from appliance.config.virtual import Virtual
from appliance.drivers.base import DriverError
from appliance.lvs.checkers import Checked, parse_dump
from appliance.lvs.table import ServiceKey
from appliance.render.lvs import own

DUMP = Path("/tmp/keepalived_check.data")  # noqa: S108 (keepalived's own choice; what is not root's is not read)
# What comes after all services and servers.
LAST = "------< Health checkers >------"
DUMP_S = 5.0
POLL_S = 0.05
# All instances write to the same file.
_asking = threading.Lock()


@dataclass(frozen=True)
class Instance:
    """A keepalived. ``checkers``: the file with its checkers' number, which is there once signals do no harm.

    ``checks``: it asks some server, so that what it writes ends with how it does.
    """

    unit: str
    pid: Path
    checkers: Path
    checks: bool = True

    def running(self) -> bool:
        return self.checkers.exists() and self.pid.exists()


def instances(cluster: Cluster) -> tuple[Instance, ...]:
    """Those that may run on a director: one for VRRP, and one for each service that a group moves."""
    main = _checks(*own(cluster, "vrrp"))
    found = [Instance("keepalived.service", Path("/run/keepalived.pid"), Path("/run/checkers.pid"), main)]
    for virtual in own(cluster, "cluster"):
        base = f"/run/pairkeep/virtual-{virtual.name}"
        unit = f"pairkeep-virtual@{virtual.name}.service"
        found.append(Instance(unit, Path(f"{base}.pid"), Path(f"{base}-checkers.pid"), _checks(virtual)))
    return tuple(found)


def _checks(*virtuals: Virtual) -> bool:
    return any(real.check.kind != "none" for virtual in virtuals for real in virtual.reals)


def health(instance: Instance) -> dict[tuple[ServiceKey, str], Checked]:
    """The servers of its services as it sees them; none when it does not run. Raises DriverError."""
    try:
        return parse_dump(dump(instance))
    except (KeyError, ValueError) as error:
        raise DriverError(f"what {instance.unit} says of its servers is not understood: {error!r}") from error


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
        try:
            return _written(instance, time.monotonic() + DUMP_S)
        except OSError as error:
            raise DriverError(f"{DUMP} cannot be read: {error}") from error


def _written(instance: Instance, deadline: float) -> list[str]:
    """The file, once it is whole: a busy machine may stop in the middle of it for longer than between two looks."""
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
                    lines = file.read().splitlines()
                if LAST in lines or not instance.checks:
                    return lines
    raise DriverError(f"{instance.unit} does not say what it knows, or not all of it")
