# SPDX-License-Identifier: GPL-2.0-or-later
"""A systemd unit as a resource, asked by a probe of its own whether it really works."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from functools import partial

from appliance.decide.view import State
from appliance.drivers.base import DriverError
from appliance.drivers.systemd import DOWN, Systemd
from appliance.run import run

MYSQL_SOCKET = "/run/mysqld/mysqld.sock"
POLL_S = 0.1


def probe_mysql(timeout_s: float) -> str | None:
    """Ask MariaDB to compute something, as the system's root over its socket; None when it did."""
    import pymysql  # only the database image has it

    try:
        connection = pymysql.connect(
            unix_socket=MYSQL_SOCKET,
            user="root",
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            write_timeout=timeout_s,
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            answer = cursor.fetchone()
    except (pymysql.MySQLError, OSError) as error:
        return f"MariaDB does not answer: {error}"
    return None if answer == (1,) else f"MariaDB answered SELECT 1 with {answer!r}"


PROBES: dict[str, Callable[[float], str | None]] = {"mysql": probe_mysql}


class ServiceDriver:
    """``probe`` is a key of PROBES, or None when systemd's word is enough."""

    def __init__(
        self,
        systemd: Systemd,
        unit: str,
        probe: str | None = None,
        probe_timeout_s: float = 5.0,
        start_timeout_s: float = 120.0,
        stop_timeout_s: float = 60.0,
    ) -> None:
        self._systemd = systemd
        self._unit = unit
        self._probe = partial(PROBES[probe], probe_timeout_s) if probe is not None else None
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s

    def state(self) -> State:
        """Failed: neither up nor down, or up and not answering its probe."""
        active = self._systemd.active_state(self._unit)
        if active in DOWN:
            return "stopped"
        if active not in ("active", "reloading"):
            return "failed"
        return "started" if self._probe is None or self._probe() is None else "failed"

    def start(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        result = self._systemd.job("StartUnit", self._unit, self._start_timeout_s)
        if result != "done":
            raise DriverError(f"{self._unit} did not start ({result}): {self._last_words()}")
        while (complaint := self._complaint()) is not None:
            # A unit whose condition is not met counts as started without running (systemd.unit(5)).
            if self._systemd.active_state(self._unit) not in ("active", "reloading"):
                raise DriverError(f"{self._unit} did not start: {self._last_words()}")
            if time.monotonic() > deadline:
                raise DriverError(complaint)
            time.sleep(POLL_S)

    def stop(self) -> None:
        result = self._systemd.job("StopUnit", self._unit, self._stop_timeout_s)
        if result == "done":
            return
        state = self._systemd.active_state(self._unit)
        if state not in DOWN:
            raise DriverError(f"{self._unit} did not stop ({result}): it is {state}")

    def warm(self) -> None:
        """Have the program in memory before it is needed: a standby may never have run it."""
        with contextlib.suppress(OSError, DriverError):
            handle = os.open(self._systemd.program(self._unit), os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(handle)

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Call ``changed`` in the main loop when systemd says that something about the unit changed.

        Its argument: the unit has come down, so that there is nothing to wait for.
        """
        self._systemd.watch(self._unit, changed)

    def _complaint(self) -> str | None:
        if self._probe is not None:
            return self._probe()
        active = self._systemd.active_state(self._unit)
        return None if active in ("active", "reloading") else f"{self._unit} is {active}"

    def _last_words(self) -> str:
        done = run(["journalctl", "-u", self._unit, "-n", "5", "-o", "cat"], check=False, timeout_s=10)
        return " | ".join(done.stdout.splitlines())
