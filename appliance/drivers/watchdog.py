# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's watchdog, which resets this machine when the supervisor no longer vouches for it.

Rules from Documentation/watchdog/watchdog-api.rst and drivers/watchdog/watchdog_dev.c: opening arms it;
WDIOC_KEEPALIVE gives it its full time again; and so does *closing* it, unless it was stopped before.
That last rule is why the descriptor outlives the supervisor: were it closed when a supervisor is killed,
the machine would live on longer than the others wait for its reset. The supervisor's parent keeps it, and
so does systemd (supervisor/parent.py).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from appliance.drivers.base import DriverError
from appliance.run import run

# include/uapi/linux/watchdog.h: _IOR('W', 4, int), _IOR('W', 5, int), _IOWR('W', 6, int)
WDIOC_SETOPTIONS = 0x80045704
WDIOC_KEEPALIVE = 0x80045705
WDIOC_SETTIMEOUT = 0xC0045706
WDIOS_DISABLECARD = 1
WDIOS_ENABLECARD = 2


class Watchdog:
    """``timeout_s``: the machine is reset so many seconds after the last `pet`.

    ``handle``: the open device that an earlier supervisor left, or None. Without one the device is opened
    by the first `pet`: opening counts as one, and a supervisor that has just been started has no right
    to vouch for anything yet. ``keep`` puts a new handle where it outlives this process.
    """

    def __init__(
        self,
        *,
        timeout_s: int,
        keep: Callable[[int], None],
        handle: int | None = None,
        path: Path = Path("/dev/watchdog"),
    ) -> None:
        self._timeout_s = timeout_s
        self._path = path
        self._keep = keep
        self._handle = handle
        self._armed = False

    def pet(self) -> None:
        """Raises DriverError when there is no watchdog that can be set to the wanted time."""
        if self._handle is None:
            self._open()
        elif self._armed:
            fcntl.ioctl(self._handle, WDIOC_KEEPALIVE, struct.pack("i", 0))
        else:
            self._arm(self._handle)

    def disarm(self) -> None:
        """Nothing here needs a reset any more. The device stays open, and the next `pet` arms it again."""
        if self._handle is not None:
            fcntl.ioctl(self._handle, WDIOC_SETOPTIONS, struct.pack("i", WDIOS_DISABLECARD))
            self._armed = False

    def _open(self) -> None:
        if not self._path.exists():
            run(["modprobe", "softdog"], timeout_s=30)
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DriverError(f"{self._path}: {error.strerror}", hint="the cluster is not safe without") from error
        self._handle = handle
        self._arm(handle)
        self._keep(handle)

    def _arm(self, handle: int) -> None:
        """Enabling what runs already changes nothing; setting the time-out pets it."""
        try:
            fcntl.ioctl(handle, WDIOC_SETOPTIONS, struct.pack("i", WDIOS_ENABLECARD))
            answer = fcntl.ioctl(handle, WDIOC_SETTIMEOUT, struct.pack("i", self._timeout_s))
        except OSError as error:
            raise DriverError(f"{self._path} cannot be armed: {error.strerror}") from error
        (granted,) = struct.unpack("i", answer)
        if granted != self._timeout_s:
            raise DriverError(
                f"{self._path}: cluster.watchdog_s is {self._timeout_s}, but the device grants {granted} seconds"
            )
        self._armed = True
