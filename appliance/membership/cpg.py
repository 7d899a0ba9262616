# SPDX-License-Identifier: GPL-2.0-or-later
"""corosync's closed process group (cpg_overview(3)): members, and messages in the same order for all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_size_t, c_uint, c_uint32, c_void_p
from typing import Any

from appliance.errors import InputError
from appliance.membership.library import Busy, Connection, Handle, MembershipLost, RingId

__all__ = ["Busy", "Cpg", "Member", "MembershipLost"]

# (node id, process id)
Member = tuple[int, int]

# corosync/cpg.h
MODEL_V1 = 1
DELIVER_INITIAL_TOTEM_CONF = 1
AGREED = 2
NAME_SIZE = 128


class _Name(ctypes.Structure):
    _fields_ = (("length", c_uint32), ("value", c_char * NAME_SIZE))


class _Address(ctypes.Structure):
    _fields_ = (("nodeid", c_uint32), ("pid", c_uint32), ("reason", c_uint32))


class _IoVector(ctypes.Structure):
    _fields_ = (("base", c_void_p), ("length", c_size_t))


_Deliver = CFUNCTYPE(None, Handle, POINTER(_Name), c_uint32, c_uint32, c_void_p, c_size_t)
_ConfChg = CFUNCTYPE(
    None,
    Handle,
    POINTER(_Name),
    POINTER(_Address),
    c_size_t,
    POINTER(_Address),
    c_size_t,
    POINTER(_Address),
    c_size_t,
)
_TotemConfChg = CFUNCTYPE(None, Handle, RingId, c_uint32, POINTER(c_uint32))


class _ModelV1(ctypes.Structure):
    _fields_ = (
        ("model", c_int),
        ("deliver", _Deliver),
        ("confchg", _ConfChg),
        ("totem_confchg", _TotemConfChg),
        ("flags", c_uint),
    )


class Cpg(Connection):
    """A connection to the group ``name``; callbacks are called from within `dispatch` only.

    ``on_message(node id, pid, data)``: also for what this process sent itself.
    ``on_members(members, left, joined)``: after every change of the group, in order with the messages.
    ``on_ring(number, representative, node ids)``: the ring of nodes; its number only grows.
    Raises MembershipLost when corosync does not run, Busy while it forms a ring.
    """

    def __init__(
        self,
        name: str,
        on_message: Callable[[int, int, bytes], None],
        on_members: Callable[[tuple[Member, ...], tuple[Member, ...], tuple[Member, ...]], None],
        on_ring: Callable[[int, int, tuple[int, ...]], None] | None = None,
    ) -> None:
        super().__init__("libcpg.so.4", "cpg")
        encoded = name.encode()
        if len(encoded) >= NAME_SIZE:
            raise InputError(f"the group name {name!r} is longer than {NAME_SIZE - 1} bytes")
        self._name = _Name(len(encoded), encoded)

        def deliver(_handle: int, _name: Any, nodeid: int, pid: int, data: int, size: int) -> None:
            on_message(nodeid, pid, ctypes.string_at(data, size))

        def confchg(_handle: int, _name: Any, *lists: Any) -> None:
            now, now_size, left, left_size, joined, joined_size = lists
            on_members(_members(now, now_size), _members(left, left_size), _members(joined, joined_size))

        def totem_confchg(_handle: int, ring: RingId, size: int, nodes: Any) -> None:
            if on_ring is not None:
                on_ring(ring.seq, ring.nodeid, tuple(nodes[i] for i in range(size)))

        # C keeps pointers into this as long as the connection lives.
        self._model = _ModelV1(
            MODEL_V1,
            self.guarded(_Deliver, deliver),
            self.guarded(_ConfChg, confchg),
            self.guarded(_TotemConfChg, totem_confchg),
            DELIVER_INITIAL_TOTEM_CONF,
        )
        self.open("model_initialize", c_int(MODEL_V1), ctypes.byref(self._model), None)

    @property
    def local_nodeid(self) -> int:
        nodeid = c_uint(0)
        self.call("local_get", ctypes.byref(nodeid))
        return nodeid.value

    def join(self) -> None:
        """Take part. Raises Busy while corosync forms a ring."""
        self.call("join", ctypes.byref(self._name))

    def leave(self) -> None:
        self.call("leave", ctypes.byref(self._name))

    def mcast(self, data: bytes) -> None:
        """Send to all members, oneself included. Raises Busy; then nothing was sent."""
        buffer = ctypes.create_string_buffer(data, len(data))
        vector = _IoVector(ctypes.addressof(buffer), len(data))
        self.call("mcast_joined", c_int(AGREED), ctypes.byref(vector), c_uint(1))


def _members(addresses: Any, size: int) -> tuple[Member, ...]:
    return tuple((addresses[i].nodeid, addresses[i].pid) for i in range(size))
