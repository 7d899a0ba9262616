# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's watchdog, which resets this machine when the supervisor no longer vouches for it.

Rules from Documentation/watchdog/watchdog-api.rst: opening arms it; every write, or WDIOC_KEEPALIVE,
gives it its full time again; closing without the letter V leaves it armed.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from appliance.drivers.base import DriverError
from appliance.run import run

# include/uapi/linux/watchdog.h: _IOWR('W', 6, int), _IOR('W', 5, int)
WDIOC_SETTIMEOUT = 0xC0045706
WDIOC_KEEPALIVE = 0x80045705


class Watchdog:
    """``timeout_s``: the machine is reset so many seconds after the last `pet`.

    The device is opened by the first `pet` only: opening counts as one, and a supervisor that has
    just been started has no right to vouch for anything yet.
    """

    def __init__(self, *, timeout_s: int, path: Path = Path("/dev/watchdog")) -> None:
        self._timeout_s = timeout_s
        self._path = path
        self._handle: int | None = None

    def pet(self) -> None:
        """Raises DriverError when there is no watchdog that can be set to the wanted time."""
        if self._handle is None:
            self._open()
        else:
            fcntl.ioctl(self._handle, WDIOC_KEEPALIVE, struct.pack("i", 0))

    def disarm(self) -> None:
        if self._handle is not None:
            os.write(self._handle, b"V")
            os.close(self._handle)
            self._handle = None

    def close_armed(self) -> None:
        """The machine is reset unless another supervisor takes the watchdog up in time."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> None:
        if not self._path.exists():
            run(["modprobe", "softdog"], timeout_s=30)
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DriverError(f"{self._path}: {error.strerror}", hint="the cluster is not safe without") from error
        self._handle = handle
        try:
            answer = fcntl.ioctl(handle, WDIOC_SETTIMEOUT, struct.pack("i", self._timeout_s))
        except OSError as error:
            self.disarm()
            raise DriverError(f"{self._path} takes no time-out: {error.strerror}") from error
        (granted,) = struct.unpack("i", answer)
        if granted != self._timeout_s:
            self.disarm()
            raise DriverError(
                f"{self._path}: cluster.watchdog_s is {self._timeout_s}, but the device grants {granted} seconds"
            )
