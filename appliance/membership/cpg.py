# SPDX-License-Identifier: GPL-2.0-or-later
"""corosync's closed process groups: who takes part, and messages in one order for all (cpg_overview(3))."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from appliance.membership.cs import CS_DISPATCH_ALL, MembershipLost, check, file_descriptor

# corosync/cpg.h of 3.1, on LP64
CPG_MODEL_V1 = 1
CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF = 1
CPG_TYPE_AGREED = 2

Process = tuple[int, int]


class _Name(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint32), ("value", ctypes.c_char * 128))


class _Address(ctypes.Structure):
    _fields_ = (("nodeid", ctypes.c_uint32), ("pid", ctypes.c_uint32), ("reason", ctypes.c_uint32))


class _RingId(ctypes.Structure):
    _fields_ = (("nodeid", ctypes.c_uint32), ("seq", ctypes.c_uint64))


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


_Deliver = ctypes.CFUNCTYPE(
    None,
    ctypes.c_uint64,
    ctypes.POINTER(_Name),
    ctypes.c_uint32,
    ctypes.c_uint32,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
_Addresses = ctypes.POINTER(_Address)
_Changed = ctypes.CFUNCTYPE(
    None,
    ctypes.c_uint64,
    ctypes.POINTER(_Name),
    _Addresses,
    ctypes.c_size_t,
    _Addresses,
    ctypes.c_size_t,
    _Addresses,
    ctypes.c_size_t,
)
_Totem = ctypes.CFUNCTYPE(None, ctypes.c_uint64, _RingId, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))


class _Model(ctypes.Structure):
    _fields_ = (
        ("model", ctypes.c_int),
        ("deliver", _Deliver),
        ("changed", _Changed),
        ("totem", _Totem),
        ("flags", ctypes.c_uint),
    )


class Cpg:
    """A member of process group ``group``. The callbacks run inside `dispatch`.

    ``on_message(node id, pid, bytes)``; ``on_members(processes)`` with all (node id, pid) of the group;
    ``on_ring(sequence, node ids)``. Every call raises MembershipLost when corosync is gone.
    """

    def __init__(
        self,
        group: str,
        *,
        on_message: Callable[[int, int, bytes], None],
        on_members: Callable[[tuple[Process, ...]], None],
        on_ring: Callable[[int, tuple[int, ...]], None],
    ) -> None:
        self._on_message = on_message
        self._on_members = on_members
        self._on_ring = on_ring
        self._failure: Exception | None = None
        try:
            self._library = ctypes.CDLL("libcpg.so.4")
        except OSError as error:
            raise MembershipLost(f"corosync's library cannot be loaded: {error}") from error
        for name in ("fd_get", "dispatch", "join", "leave", "mcast_joined", "finalize", "local_get"):
            getattr(self._library, f"cpg_{name}").restype = ctypes.c_int
        self._name = _Name(len(group), group.encode())
        # Kept, since the library goes on calling them.
        self._model = _Model(
            CPG_MODEL_V1,
            _Deliver(self._deliver),
            _Changed(self._changed),
            _Totem(self._totem),
            CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
        )
        self._handle = ctypes.c_uint64()
        check(
            self._library.cpg_model_initialize(
                ctypes.byref(self._handle), CPG_MODEL_V1, ctypes.byref(self._model), None
            ),
            "cpg_model_initialize",
        )

    def fileno(self) -> int:
        return file_descriptor(self._library, "cpg_fd_get", self._handle)

    def join(self) -> None:
        check(self._library.cpg_join(self._handle, ctypes.byref(self._name)), "cpg_join")

    def dispatch(self) -> None:
        """Run the callbacks of all that has come; an exception of theirs is raised from here."""
        code = self._library.cpg_dispatch(self._handle, CS_DISPATCH_ALL)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        check(code, "cpg_dispatch")

    def mcast(self, data: bytes) -> None:
        """Send to all, this process included. Raises Busy when the ring takes no more for the moment."""
        vector = _Iovec(data, len(data))
        check(
            self._library.cpg_mcast_joined(self._handle, CPG_TYPE_AGREED, ctypes.byref(vector), 1),
            "cpg_mcast_joined",
        )

    def close(self) -> None:
        self._library.cpg_finalize(self._handle)

    def _guarded(self, call: Callable[[], None]) -> None:
        """An exception must not cross the C frames between a callback and `dispatch`."""
        if self._failure is None:
            try:
                call()
            except Exception as error:  # raised again by dispatch
                self._failure = error

    def _deliver(self, _handle: int, _group: object, node_id: int, pid: int, data: int, length: int) -> None:
        message = ctypes.string_at(data, length)
        self._guarded(lambda: self._on_message(node_id, pid, message))

    def _changed(
        self,
        _handle: int,
        _group: object,
        members: ctypes._Pointer[_Address],
        count: int,
        *_left_and_joined: object,
    ) -> None:
        processes = tuple((members[i].nodeid, members[i].pid) for i in range(count))
        self._guarded(lambda: self._on_members(processes))

    def _totem(self, _handle: int, ring: _RingId, count: int, members: ctypes._Pointer[ctypes.c_uint32]) -> None:
        sequence, nodes = ring.seq, tuple(members[i] for i in range(count))
        self._guarded(lambda: self._on_ring(sequence, nodes))
