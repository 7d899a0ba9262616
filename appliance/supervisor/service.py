# SPDX-License-Identifier: GPL-2.0-or-later
"""The real world around `core.Core`: corosync, the kernel, systemd, D-Bus and the clock, on one GLib loop."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gi.repository import GLib
from systemd import daemon

from appliance.config.model import Cluster
from appliance.decide.messages import Check, Checked, Message
from appliance.decide.steps import Fence, Start, Step, Stop, lane
from appliance.decide.view import Configuration, Record, State
from appliance.drivers import lio, rtnetlink
from appliance.drivers.initiator import InitiatorDriver
from appliance.drivers.service import ServiceDriver
from appliance.drivers.systemd import Systemd
from appliance.drivers.watchdog import Watchdog
from appliance.errors import PairkeepError
from appliance.membership.codec import CodecError, decode, encode
from appliance.supervisor import store
from appliance.supervisor.ballot import Ballot
from appliance.supervisor.core import BEAT_S, Core
from appliance.supervisor.director import Director
from appliance.supervisor.disks import Disks
from appliance.supervisor.exclusions import PEER_FENCED, PEER_OUTDATED
from appliance.supervisor.executor import Executor
from appliance.supervisor.fences import Fences
from appliance.supervisor.health import Health
from appliance.supervisor.lanes import Lanes
from appliance.supervisor.links import Links
from appliance.supervisor.mounts import Mounts
from appliance.supervisor.notify import Notifier
from appliance.supervisor.parent import Keep
from appliance.supervisor.ring import Ring
from appliance.supervisor.world import Event
from appliance.upkeep.versions import Versions

log = logging.getLogger("pairkeep")

# How often resources are looked at whether or not something told of a change, and services are asked.
MONITOR_S = 10
# After something told of a change.
LOOK_AFTER_MS = 200
KEPT_EVENTS = 500
# The name under which the parent and systemd keep the watchdog's descriptor from one supervisor to the next.
WATCHDOG = "watchdog"
# Before a configuration that could not be taken up, for want of room on the disk perhaps, is tried again.
TAKE_UP_AGAIN_S = 30
# How long a supervisor that is stopped tries to tell the others that its services run on.
GOODBYE_S = 8


class SupervisorService:
    """Implements `world.World` for real and feeds Core with what happens."""

    def __init__(
        self, cluster: Cluster, me: str, loop: GLib.MainLoop, record: Record, config: Configuration, keep: Keep
    ) -> None:
        """``config``: what ``cluster`` was made from; ``record``: what this node has on disk."""
        self.cluster = cluster
        self.me = me
        self.loop = loop
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self.publish: Callable[[str], None] = lambda _event: None
        self.executor = Executor(cluster, me, Systemd())
        self._own = self.executor.cluster
        self.lanes = Lanes(lambda then: GLib.idle_add(_once(then), priority=GLib.PRIORITY_DEFAULT))
        self._watchdog = Watchdog(
            timeout_s=cluster.watchdog_s,
            keep=partial(keep.leave, WATCHDOG),
            handle=keep.handle(WATCHDOG),
        )
        self._answers: dict[str, list[Callable[[int], None]]] = {}
        self._unseen: set[str] = set()
        self._looks: dict[str, int] = {}
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.core = Core(cluster, me, boot_id, record, self, config)
        self._ring = Ring(cluster, self.core, self._received)
        self.ballot = Ballot(self.core, self.lanes)
        self.fences = Fences(cluster, self.executor, self.lanes, self.core)
        self.disks = Disks(self.executor, self.lanes, self.core, self.tell)
        self.health = Health(self._own, self.lanes, self.core, self.disks.hangs)
        self._links = Links(self._own, self.executor, self.lanes, self.core)
        self._mounts = Mounts(self._own, self.executor, self._observe)
        notifier = Notifier(cluster, me, self.lanes, self.now)
        self._director = Director(self.core, self.lanes, notifier)

    # World: what Core asks for ------------------------------------------------------------------

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def multicast(self, message: Message) -> None:
        self._ring.send(encode(message))

    def persist(self, record: Record) -> None:
        store.save(record)

    def begin(self, step: Step) -> None:
        began = self.now()

        def job() -> Callable[[], None]:
            if isinstance(step, Fence) and not self.core.wants(step):
                # It had to wait in its lane, and whom it was meant for may be back and in service.
                return lambda: self.core.on_step_dropped(step)
            error: str | None = None
            try:
                self.executor.do(step)
            except PairkeepError as failure:
                error = failure.message
            # What succeeded is known; only after a failure is it worth the time to look at the whole group.
            states: tuple[State, ...] | None = None
            if error is not None and isinstance(step, Start | Stop):
                with contextlib.suppress(PairkeepError):
                    states = self.executor.states(step.group)
            return lambda: self._step_done(step, began, error, states)

        self.lanes.put(lane(step), job)

    def pet(self) -> None:
        self._watchdog.pet()

    def disarm(self) -> None:
        self._watchdog.disarm()

    def answer(self, drbd: str, code: int) -> None:
        replies = self._answers.pop(drbd, [])
        for reply in replies:
            reply(code)
        if not replies and code in (PEER_OUTDATED, PEER_FENCED):
            # Nobody waits for it, so the kernel has to be told otherwise.
            self.lanes.put(f"drbd:{drbd}", partial(self._thaw, drbd))

    def _thaw(self, drbd: str) -> Callable[[], None]:
        try:
            self.executor.drbd[drbd].resume_io()
        except PairkeepError as error:
            log.warning("%s", error)
        return lambda: None

    def tell(self, event: Event) -> None:
        value = {"at": round(time.time(), 3), "seen_by": self.me, "kind": event.kind, "text": event.text}
        value |= event.data
        self.events.append(value)
        log.info("%s", event.text)
        self.publish(json.dumps(value))

    def take_up(self, config: Configuration) -> None:
        """The next supervisor finds services and the watchdog as this one left them."""

        def job() -> Callable[[], None]:
            try:
                Versions().put_in_force(config, self.me, self.core.view.record.drained)
            except (PairkeepError, OSError) as error:
                text = f"version {config.version} of cluster.toml cannot be taken up: {error}"
                return lambda: self._not_taken_up(config, text)
            return self.finished

        self.tell(Event("config", f"version {config.version} of cluster.toml is taken up"))
        self.lanes.put("config", job)

    def _not_taken_up(self, config: Configuration, text: str) -> None:
        self.core.on_warning("config", text)
        GLib.timeout_add_seconds(TAKE_UP_AGAIN_S, _once(partial(self.take_up, config)))

    def _catch_up(self) -> None:
        def job() -> Callable[[], None]:
            try:
                behind = Versions().catch_up()
            except OSError as error:  # no room to write down what is behind
                behind = str(error)
            return lambda: self._caught_up(behind)

        self.lanes.put("config", job)

    def _caught_up(self, behind: str) -> None:
        text = f"not all programs run by the cluster.toml in force: {behind}" if behind else ""
        self.core.on_warning("behind", text)
        if behind:
            GLib.timeout_add_seconds(TAKE_UP_AGAIN_S, _once(self._catch_up))

    def finished(self) -> None:
        self.loop.quit()

    # What happens -------------------------------------------------------------------------------

    def start(self) -> None:
        """Look at everything once, then take part. Nothing is started or stopped by this."""
        self.disks.start()
        self._unseen = {group.name for group in self._own.groups}
        for group in self._own.groups:
            self.lanes.put(group.name, partial(self._first_look, group.name))
            for index in range(len(group.resources)):
                driver = self.executor.driver(group.name, index)
                if isinstance(driver, ServiceDriver):
                    driver.watch(partial(self._unit_changed, group.name))
        GLib.timeout_add(int(BEAT_S * 1000), self._tick)
        GLib.timeout_add_seconds(MONITOR_S, self._monitor)
        self.fences.start()
        self.health.start()
        self._links.start()
        self._director.start()
        self._mounts.start()
        self._catch_up()
        if not self._unseen:
            self._take_part()

    def _first_look(self, group: str) -> Callable[[], None]:
        # What cannot be seen may run. A failure ends this process, and the next one looks again; to take the
        # group for stopped would let another node start it.
        wrong = ""
        try:
            self.executor.adopt(group)
        except PairkeepError as error:
            wrong = f"{group} could not take up the configuration: {error.message}"
        states = self.executor.states(group)

        def then() -> None:
            self.core.on_warning(f"adopt:{group}", wrong)
            self.core.local.observed(group, states, count=False)
            self._unseen.discard(group)
            if not self._unseen:
                self._take_part()

        return then

    def _take_part(self) -> None:
        self.core.ready()
        self._ring.connect()
        daemon.notify("READY=1")
        if self._own.groups:
            self.lanes.put("preload", self._preload)

    def _preload(self) -> Callable[[], None]:
        """Load now what a takeover will need, so that neither the start nor the takeover waits for it."""
        rtnetlink.load()
        with contextlib.suppress(ImportError):  # only images with a database have it
            importlib.import_module("pymysql")
        if self._own.targets:
            with contextlib.suppress(PairkeepError):  # the start of a target says what is missing
                lio.library()
        for group in self._own.groups:
            for index in range(len(group.resources)):
                driver = self.executor.driver(group.name, index)
                if isinstance(driver, ServiceDriver | InitiatorDriver):
                    driver.warm()
        return lambda: None

    def fence_peer(self, drbd: str, reply: Callable[[int], None]) -> None:
        self._answers.setdefault(drbd, []).append(reply)
        self.core.on_fence_request(drbd)

    def stop(self, *, shutting_down: bool) -> None:
        daemon.notify("STOPPING=1")
        self.core.stop(shutting_down=shutting_down)
        if not shutting_down:
            GLib.timeout_add_seconds(GOODBYE_S, self._gave_up)

    def _gave_up(self) -> bool:
        log.error("the others could not be told that services run on here: the watchdog stays armed")
        self.loop.quit()
        return False

    def _received(self, sender: str, data: bytes) -> None:
        try:
            message = decode(data)
        except CodecError as error:
            log.warning("from %s: %s", sender, error)
            return
        if isinstance(message, Check | Checked):
            self.ballot.heard(sender, message)
            return
        self.core.on_message(sender, message)

    def _step_done(self, step: Step, began: float, error: str | None, states: tuple[State, ...] | None) -> None:
        if error is None:
            self._tell_done(step, self.now() - began)
        if isinstance(step, Fence):
            (self.fences.switch_on if error is None else self.fences.failed)(step.node)
        if states is None and isinstance(step, Start | Stop):
            known = list(self.core.local.states(step.group))
            known[step.index] = "started" if isinstance(step, Start) else "stopped"
            if error is not None:
                # Neither done nor to be seen: it must not pass for stopped, or it may be started elsewhere.
                known[step.index] = "failed"
            states = tuple(known)
        self.core.on_step_done(step, error, states)

    def _tell_done(self, step: Step, seconds: float) -> None:
        if isinstance(step, Start | Stop):
            resource = self.cluster.group(step.group).resources[step.index].id
            what = f"{'started' if isinstance(step, Start) else 'stopped'} {resource}"
        else:
            resource, what = lane(step), f"{type(step).__name__} of {lane(step)}"
        data: dict[str, str | float] = {
            "step": type(step).__name__.lower(),
            "resource": resource,
            "seconds": round(seconds, 3),
        }
        self.tell(Event("step", f"{what} in {seconds:.1f} s", data))

    def _look(self, group: str) -> tuple[State, ...]:
        try:
            return self.executor.states(group)
        except PairkeepError as error:
            log.warning("%s could not be looked at: %s", group, error)
            return self.core.local.states(group)

    def _unit_changed(self, group: str, down: bool) -> None:
        self._observe(group, after_ms=0 if down else LOOK_AFTER_MS)

    def _observe(self, group: str, after_ms: int = LOOK_AFTER_MS) -> None:
        """Look at a group soon: not at each of several changes, and not in the way of a step."""
        pending = self._looks.get(group)
        if pending is not None and after_ms > 0:
            return
        if pending is not None:
            GLib.source_remove(pending)
        self._looks[group] = GLib.timeout_add(after_ms, self._look_now, group)

    def _look_now(self, group: str) -> bool:
        del self._looks[group]
        if self.core.works_on(group):
            self._observe(group)
            return False

        def job() -> Callable[[], None]:
            states = self._look(group)
            return lambda: self.core.on_states(group, states)

        self.lanes.put(group, job)
        return False

    def _tick(self) -> bool:
        daemon.notify("WATCHDOG=1")
        self.core.on_tick()
        return True

    def _monitor(self) -> bool:
        for group in self._own.groups:
            self._observe(group.name)
        return True


def _once(then: Callable[[], None]) -> Callable[[], bool]:
    def call() -> bool:
        then()
        return False

    return call
