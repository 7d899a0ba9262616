# SPDX-License-Identifier: GPL-2.0-or-later
"""What a supervisor does on a director: listens to keepalived, and puts right what others did to its table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gi.repository import GLib

from appliance.drivers import checkers, ipvs, keepalived
from appliance.errors import PairkeepError
from appliance.lvs.checkers import Checked
from appliance.lvs.drain import with_drained
from appliance.lvs.drift import Difference, confirmed, differences
from appliance.lvs.table import ServiceKey
from appliance.lvs.words import Words
from appliance.render import render_all, write
from appliance.render.lvs import KEEPALIVED, is_director
from appliance.supervisor.core import Core
from appliance.supervisor.lanes import Lanes
from appliance.supervisor.notify import Notifier
from appliance.supervisor.world import Event

log = logging.getLogger("pairkeep")
LOOK_S = 10
# What keepalived was about to do when it was looked at is done after this.
LOOK_AGAIN_S = 2
# A table that has not changed is compared all the same once in so many looks: keepalived may mean another one by
# now, and limits are not seen before.
WHOLE_LOOKS = 6


class Director:
    """Of this node; without virtual services it does nothing."""

    def __init__(self, core: Core, lanes: Lanes, notifier: Notifier) -> None:
        cluster = core.cluster
        self._core = core
        self._virtuals = cluster.virtuals if is_director(cluster, cluster.node(core.me)) else ()
        self._instances = checkers.instances(cluster)
        self._lanes = lanes
        self._notifier = notifier
        self._words = Words(self._virtuals)
        self._good: list[str] | None = None
        self._seen: list[Difference] = []
        self._looks = 0
        self._complaint = ""
        self._drained: tuple[str, ...] | None = None
        # Files are in place that keepalived has not read yet.
        self._behind = False

    def start(self) -> None:
        if self._virtuals:
            GLib.timeout_add_seconds(LOOK_S, self._look)
            GLib.timeout_add_seconds(1, self._listen)
            GLib.timeout_add_seconds(1, self._drain)

    def _drain(self) -> bool:
        """Let keepalived run by what the record says of servers, when that is another thing than before."""
        view = self._core.view
        if view.adopted and view.record.drained != self._drained:
            enabled = set(self._drained or ()) - set(view.record.drained)
            self._drained = view.record.drained
            self._run_by(self._drained, enabled)
        return True

    def _run_by(self, drained: Collection[str], enabled: Collection[str] = ()) -> None:
        files = render_all(with_drained(self._core.cluster, drained, enabled), self._core.me)
        own = {path: text for path, text in files.items() if path.is_relative_to(KEEPALIVED)}
        done = self._enabled if enabled else lambda: None
        self._lanes.put("director", lambda: self._take_up(own, done))

    def _enabled(self) -> None:
        def run_by() -> bool:
            self._run_by(self._core.view.record.drained)
            return False

        GLib.timeout_add_seconds(LOOK_AGAIN_S, run_by)

    def _take_up(self, files: Mapping[Path, str], done: Callable[[], None]) -> Callable[[], None]:
        try:
            if write(files, Path("/")) or self._behind:
                self._behind = True
                keepalived.take_up()
                self._behind = False
        except (PairkeepError, OSError) as error:
            log.warning("drained servers are not taken up: %s", error)
            return lambda: self._drain_again()
        return done

    def _drain_again(self) -> None:
        def forget() -> bool:
            self._drained = None
            return False

        GLib.timeout_add_seconds(LOOK_S, forget)

    def _listen(self) -> bool:
        from systemd import journal  # what no director needs is not loaded

        reader = journal.Reader()
        for instance in self._instances:
            reader.add_match(_SYSTEMD_UNIT=instance.unit)
        reader.seek_tail()
        reader.get_previous()
        # A bare number is not taken for what to wait for.
        condition = GLib.IOCondition(reader.get_events())
        GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, reader.fileno(), condition, self._heard, reader)
        return False

    def _heard(self, _fd: int, _condition: object, reader: Any) -> bool:
        reader.process()
        for entry in reader:
            change = self._words.heard(str(entry.get("MESSAGE", "")))
            if change is not None:
                self._core.world.tell(Event(change.kind, change.text, change.data))
                self._notifier.offer(change.subject, change.text)
        return True

    def _look(self) -> bool:
        self._lanes.put("director", self._compare)
        return True

    def _compare(self) -> Callable[[], None]:
        """In its lane, which alone uses what is remembered of the last look."""
        try:
            keepalived.find_networks()
            return self._compared()
        except PairkeepError as error:
            text = f"this director's services cannot be looked after: {error.message}"
            if text != self._complaint:
                log.warning("%s", text)
            self._complaint = text
            return lambda: None

    def _compared(self) -> Callable[[], None]:
        saved = ipvs.saved()
        self._looks += 1
        if saved == self._good and self._looks % WHOLE_LOOKS:
            return lambda: None
        found = ipvs.table(saved)
        health: dict[tuple[ServiceKey, str], Checked] = {}
        for instance in self._instances:
            health |= checkers.health(instance)
        now = differences(self._virtuals, found, health)
        sure = confirmed(now, self._seen)
        self._seen, self._good, self._complaint = now, (None if now else saved), ""
        ipvs.carry_out(difference.repair for difference in sure if difference.repair)
        repaired = [difference for difference in sure if difference.repair]
        again = len(sure) < len(now)
        return lambda: self._told(repaired, again=again)

    def _told(self, repaired: Sequence[Difference], *, again: bool) -> None:
        for difference in repaired:
            text = f"{difference}; put right"
            self._core.world.tell(Event("drift", text, {"virtual": difference.virtual}))
            self._notifier.offer(f"drift {difference.virtual}", text)
        if again:
            GLib.timeout_add_seconds(LOOK_AGAIN_S, self._look_once)

    def _look_once(self) -> bool:
        self._look()
        return False
