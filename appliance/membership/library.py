# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bindings of corosync's libraries share: loading them, and their error codes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from appliance.errors import PairkeepError

# corosync/corotypes.h, cs_error_t and cs_dispatch_flags_t
OK = 1
TRY_AGAIN = 6
DISPATCH_ALL = 2
TRACK_CURRENT = 1
TRACK_CHANGES = 2

Handle = ctypes.c_uint64


class MembershipLost(PairkeepError):
    """corosync is not there, or no longer. Close the connection and begin anew."""


class Busy(PairkeepError):
    """corosync takes nothing at the moment (flow control, or a membership being formed): try again soon."""


class RingId(ctypes.Structure):
    """``struct cpg_ring_id`` and ``struct quorum_ring_id``."""

    _fields_ = (("nodeid", ctypes.c_uint32), ("seq", ctypes.c_uint64))


@cache
def library(name: str) -> ctypes.CDLL:
    """Raises MembershipLost when ``name`` is not installed."""
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise MembershipLost(f"corosync's library {name} is not installed") from error


def check(code: int, call: str) -> None:
    """Raises Busy or MembershipLost unless ``code`` says that ``call`` went well."""
    if code == OK:
        return
    describe = library("libcorosync_common.so.4").cs_strerror
    describe.restype = ctypes.c_char_p
    text = f"{call}: {describe(code).decode()}"
    raise Busy(text) if code == TRY_AGAIN else MembershipLost(text)


class Connection:
    """One open handle of ``library_name``, whose functions all begin with ``prefix``.

    Exceptions must not pass through C, so those of callbacks are kept and raised by `dispatch`.
    """

    def __init__(self, library_name: str, prefix: str) -> None:
        self._library = library(library_name)
        self._prefix = prefix
        self._handle = Handle()
        self._open = False
        self._failure: BaseException | None = None

    def fileno(self) -> int:
        """Readable when `dispatch` has something to do; hung up when corosync is gone."""
        descriptor = ctypes.c_int(-1)
        self.call("fd_get", ctypes.byref(descriptor))
        return descriptor.value

    def dispatch(self) -> None:
        """Deliver what has arrived, without waiting. Raises MembershipLost, and what callbacks raised."""
        try:
            self.call("dispatch", ctypes.c_int(DISPATCH_ALL))
        except Busy:
            return
        finally:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """May be called again, and after corosync went away."""
        if self._open:
            self._open = False
            self._function("finalize")(self._handle)

    def call(self, name: str, *arguments: Any) -> None:
        if not self._open:
            raise MembershipLost(f"{self._prefix}_{name}: the connection is closed")
        check(self._function(name)(self._handle, *arguments), f"{self._prefix}_{name}")

    def open(self, name: str, *arguments: Any) -> None:
        """Call the initialising function, which fills in the handle."""
        check(self._function(name)(ctypes.byref(self._handle), *arguments), f"{self._prefix}_{name}")
        self._open = True

    def guarded(self, prototype: Callable[[Any], Any], function: Callable[..., None]) -> Any:
        """``function`` as a C callback. Whoever passes it to C has to keep a reference to the result.

        After one callback has failed the rest of that dispatch is dropped: they may build on it.
        """

        def callback(*arguments: Any) -> None:
            if self._failure is not None or not self._open:
                return
            try:
                function(*arguments)
            except BaseException as error:
                self._failure = error

        return prototype(callback)

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self._prefix}_{name}")
