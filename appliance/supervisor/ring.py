# SPDX-License-Identifier: GPL-2.0-or-later
"""corosync for the supervisor: its callbacks become Core's, and a lost connection is taken up again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from gi.repository import GLib

from appliance.config.model import Cluster
from appliance.errors import PairkeepError
from appliance.membership.cpg import Cpg
from appliance.membership.library import Busy, MembershipLost
from appliance.membership.quorum import Quorum
from appliance.supervisor.core import Core

log = logging.getLogger("pairkeep")

GROUP = "pairkeep"
RECONNECT_MS = 500
# corosync's flow control lets messages in again within milliseconds (cpg_mcast_joined(3), CS_ERR_TRY_AGAIN).
RETRY_MS = 5


class Ring:
    """``received`` gets (node name, bytes) in the order in which all members get them."""

    def __init__(self, cluster: Cluster, core: Core, received: Callable[[str, bytes], None]) -> None:
        self._names = {node.id: node.name for node in cluster.nodes}
        self._core = core
        self._received = received
        self._cpg: Cpg | None = None
        self._quorum: Quorum | None = None
        self._sources: list[int] = []
        self._reconnects = False
        self._complaint = ""
        self._ring = 0
        self._nodes: tuple[str, ...] = ()
        self._processes: tuple[tuple[str, int], ...] = ()
        self._waiting: deque[bytes] = deque()

    def connect(self) -> None:
        """Join; when corosync is not there, try until it is."""
        if not self._try_connect() and not self._reconnects:
            self._reconnects = True
            GLib.timeout_add(RECONNECT_MS, self._reconnect)

    def send(self, data: bytes) -> None:
        """Queue ``data``; dropped without a ring, since a message means nothing outside its membership."""
        if self._cpg is not None:
            self._waiting.append(data)
            if len(self._waiting) == 1:
                self._drain()

    def _reconnect(self) -> bool:
        """The return value asks GLib to call again."""
        self._reconnects = not self._try_connect()
        return self._reconnects

    def _try_connect(self) -> bool:
        try:
            self._quorum = Quorum(self._quorum_changed)
            self._watch(self._quorum)
            self._cpg = Cpg(GROUP, on_message=self._message, on_members=self._members, on_ring=self._rings)
            self._watch(self._cpg)
            self._cpg.join()
        except PairkeepError as error:
            if error.message != self._complaint:
                self._complaint = error.message
                log.info("corosync is not there yet: %s", error.message)
            self._close()
            return False
        self._complaint = ""
        return True

    def _watch(self, service: Cpg | Quorum) -> None:
        def dispatch(_fd: int, _condition: int) -> bool:
            try:
                service.dispatch()
            except MembershipLost as error:
                log.error("corosync is gone: %s", error.message)
                self._lost(service)
                return False
            return True

        self._sources.append(
            GLib.unix_fd_add_full(GLib.PRIORITY_HIGH, service.fileno(), GLib.IO_IN | GLib.IO_HUP, dispatch)
        )

    def _lost(self, service: Cpg | Quorum) -> None:
        """More than one may notice; one that is dealt with already is none of the connections that came after."""
        if service not in (self._cpg, self._quorum):
            return
        self._close()
        self._core.on_quorum(False)
        self._core.on_members(self._ring, (), ())
        self.connect()

    def _close(self) -> None:
        for source in self._sources:
            # The source whose callback is running ends with that callback's return value.
            current = GLib.main_current_source()
            if current is None or current.get_id() != source:
                GLib.source_remove(source)
        self._sources.clear()
        for service in (self._cpg, self._quorum):
            if service is not None:
                service.close()
        self._cpg = self._quorum = None
        self._waiting.clear()
        self._processes = ()

    def _drain(self) -> bool:
        """Send what waits; the return value asks GLib to call again."""
        while self._waiting and self._cpg is not None:
            try:
                self._cpg.mcast(self._waiting[0])
            except Busy:
                GLib.timeout_add(RETRY_MS, self._drain)
                return False
            except PairkeepError as error:
                log.error("corosync is gone: %s", error.message)
                self._waiting.clear()
                # Not from in here: whoever sends is in the middle of something.
                GLib.idle_add(self._lost, self._cpg)
                return False
            self._waiting.popleft()
        return False

    def _message(self, node_id: int, _pid: int, data: bytes) -> None:
        self._received(self._names[node_id], data)

    def _members(self, members: tuple[tuple[int, int], ...], *_changes: object) -> None:
        self._processes = tuple((self._names[node_id], pid) for node_id, pid in members)
        self._core.on_members(self._ring, self._processes, self._nodes)

    def _rings(self, ring: int, _representative: int, node_ids: tuple[int, ...]) -> None:
        self._nodes = tuple(self._names[node_id] for node_id in node_ids)
        if ring != self._ring:
            self._ring = ring
            self._core.on_members(ring, self._processes, self._nodes)

    def _quorum_changed(self, quorate: bool, *_rest: object) -> None:
        self._core.on_quorum(quorate)
