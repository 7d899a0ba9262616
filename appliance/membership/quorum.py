# SPDX-License-Identifier: GPL-2.0-or-later
"""corosync's own word on whether this node's ring is a majority (quorum_overview(3), votequorum(5))."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_int, c_uint, c_uint32
from typing import Any

from appliance.errors import PairkeepError
from appliance.membership.library import (
    TRACK_CHANGES,
    TRACK_CURRENT,
    Connection,
    Handle,
    MembershipLost,
    RingId,
)

# corosync/quorum.h: the model whose notification carries the whole ring id
MODEL_V1 = 1
QUORUM_SET = 1

_Notify = CFUNCTYPE(None, Handle, c_uint32, RingId, c_uint32, POINTER(c_uint32))
_NodeList = CFUNCTYPE(
    None,
    Handle,
    RingId,
    c_uint32,
    POINTER(c_uint32),
    c_uint32,
    POINTER(c_uint32),
    c_uint32,
    POINTER(c_uint32),
)


class _ModelV1(ctypes.Structure):
    _fields_ = (("model", c_int), ("quorum_notify", _Notify), ("nodelist_notify", _NodeList))


class Quorum(Connection):
    """``on_change(quorate, ring number, node ids)``: at the first `dispatch` and after every change.

    Raises MembershipLost when corosync does not run or counts no votes, Busy while it forms a ring.
    """

    def __init__(self, on_change: Callable[[bool, int, tuple[int, ...]], None]) -> None:
        super().__init__("libquorum.so.5", "quorum")

        def notify(_handle: int, quorate: int, ring: RingId, size: int, nodes: Any) -> None:
            on_change(bool(quorate), ring.seq, tuple(nodes[i] for i in range(size)))

        # C keeps pointers into this as long as the connection lives. Lists of nodes are not asked for.
        self._model = _ModelV1(MODEL_V1, self.guarded(_Notify, notify), _NodeList())
        kind = c_uint32(0)
        self.open("model_initialize", c_int(MODEL_V1), ctypes.byref(self._model), ctypes.byref(kind), None)
        try:
            if kind.value != QUORUM_SET:
                raise MembershipLost("corosync counts no votes: quorum.provider is not set in corosync.conf")
            self.call("trackstart", c_uint(TRACK_CURRENT | TRACK_CHANGES))
        except PairkeepError:
            # Whoever wanted it never gets to close it.
            self.close()
            raise
