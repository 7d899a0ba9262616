# SPDX-License-Identifier: GPL-2.0-or-later
"""corosync's word on whether this node belongs to a majority (quorum_overview(3))."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from appliance.membership.cs import CS_DISPATCH_ALL, MembershipLost, check, file_descriptor

CS_TRACK_CURRENT_AND_CHANGES = 0x01 | 0x02  # corosync/corotypes.h

_Notify = ctypes.CFUNCTYPE(
    None, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)
)


class _Callbacks(ctypes.Structure):
    _fields_ = (("notify", _Notify),)


class Quorum:
    """``on_change(quorate)`` is called from `dispatch`, first with the state at the beginning."""

    def __init__(self, on_change: Callable[[bool], None]) -> None:
        self._on_change = on_change
        self._failure: Exception | None = None
        try:
            self._library = ctypes.CDLL("libquorum.so.5")
        except OSError as error:
            raise MembershipLost(f"corosync's library cannot be loaded: {error}") from error
        self._callbacks = _Callbacks(_Notify(self._notify))
        self._handle = ctypes.c_uint64()
        kind = ctypes.c_uint32()
        check(
            self._library.quorum_initialize(
                ctypes.byref(self._handle), ctypes.byref(self._callbacks), ctypes.byref(kind)
            ),
            "quorum_initialize",
        )
        check(self._library.quorum_trackstart(self._handle, CS_TRACK_CURRENT_AND_CHANGES), "quorum_trackstart")

    def fileno(self) -> int:
        return file_descriptor(self._library, "quorum_fd_get", self._handle)

    def dispatch(self) -> None:
        """Run the callbacks of all that has come. Raises MembershipLost when corosync is gone."""
        code = self._library.quorum_dispatch(self._handle, CS_DISPATCH_ALL)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        check(code, "quorum_dispatch")

    def close(self) -> None:
        self._library.quorum_finalize(self._handle)

    def _notify(self, _handle: int, quorate: int, _ring: int, _count: int, _members: object) -> None:
        try:
            self._on_change(bool(quorate))
        except Exception as error:  # raised again by dispatch
            self._failure = self._failure or error
