# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells people what happened: at once, but of each thing once a minute, and in a storm by a digest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from gi.repository import GLib

from appliance.config.model import Cluster
from appliance.drivers import notify
from appliance.errors import PairkeepError
from appliance.lvs.damping import Damper
from appliance.supervisor.lanes import Lanes

log = logging.getLogger("pairkeep")


class Notifier:
    def __init__(self, cluster: Cluster, me: str, lanes: Lanes, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._me = me
        self._lanes = lanes
        self._now = now
        self._damper = Damper()
        self._timer: int | None = None

    def offer(self, subject: str, text: str) -> None:
        """Something happened to ``subject``."""
        if not (self._cluster.notify.mail or self._cluster.notify.program):
            return
        if (line := self._damper.offer(self._now(), subject, text)) is not None:
            self._send((line,))
        self._wake()

    def _wake(self) -> None:
        due = self._damper.next_due()
        if self._timer is None and due is not None:
            self._timer = GLib.timeout_add(max(100, int((due - self._now()) * 1000)), self._digest)

    def _digest(self) -> bool:
        self._timer = None
        if lines := self._damper.due(self._now()):
            self._send(lines)
        self._wake()
        return False

    def _send(self, lines: Sequence[str]) -> None:
        self._lanes.put("notify", partial(self._told, tuple(lines)))

    def _told(self, lines: Sequence[str]) -> Callable[[], None]:
        try:
            notify.tell(self._cluster.notify, self._cluster.name, self._me, lines)
        except PairkeepError as error:
            log.warning("nobody could be told: %s", error.message)
        return lambda: None
