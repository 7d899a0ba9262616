# SPDX-License-Identifier: GPL-2.0-or-later
"""How a supervisor loses corosync and finds it again, with a daemon that knows who has joined."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from appliance.membership.library import MembershipLost

Call = Callable[..., object]


class Loop:
    """What Ring asks of GLib. Nothing runs by itself."""

    PRIORITY_HIGH, IO_IN, IO_HUP = -100, 1, 16

    def __init__(self) -> None:
        self.timers: list[Call] = []
        self.idle: list[Callable[[], object]] = []
        self.watched: dict[int, Call] = {}
        self._number = 0
        self._current: int | None = None

    def timeout_add(self, _ms: int, call: Call) -> None:
        self.timers.append(call)

    def idle_add(self, call: Call, *data: object) -> None:
        self.idle.append(lambda: call(*data))

    def unix_fd_add_full(self, _priority: int, _fd: int, _condition: int, call: Call) -> int:
        self._number += 1
        self.watched[self._number] = call
        return self._number

    def source_remove(self, source: int) -> None:
        del self.watched[source]

    def main_current_source(self) -> SimpleNamespace | None:
        return None if self._current is None else SimpleNamespace(get_id=lambda: self._current)

    def hang_up(self) -> None:
        """Every descriptor that is watched is told of it once."""
        for source in list(self.watched):
            if source in self.watched:
                self._current = source
                if not self.watched[source](0, self.IO_HUP):
                    del self.watched[source]
                self._current = None

    def pass_time(self) -> None:
        while self.idle:
            self.idle.pop(0)()
        due, self.timers = self.timers, []
        self.timers += [call for call in due if call()]


class Daemon:
    """corosync of one node. ``open``: connections that it still has; ``joined``: of those, members of the group.

    ``stale``: the next dispatch is one of a connection to the daemon that was here before.
    """

    def __init__(self) -> None:
        self.up = True
        self.stale = False
        self.open: list[object] = []
        self.joined: list[object] = []

    def crash(self) -> None:
        self.up = False
        self.open.clear()
        self.joined.clear()

    def library(self) -> tuple[type, type]:
        daemon = self

        class Connection:
            def __init__(self, *_callbacks: object, **_more: object) -> None:
                daemon.ask("initialize")
                daemon.open.append(self)

            def fileno(self) -> int:
                return 7

            def dispatch(self) -> None:
                daemon.ask("dispatch")

            def close(self) -> None:
                for known in (daemon.open, daemon.joined):
                    if self in known:
                        known.remove(self)

        class Cpg(Connection):
            def join(self) -> None:
                daemon.ask("join")
                if daemon.joined:
                    # One process may be a member once (exec/cpg.c).
                    raise MembershipLost("cpg_join: CS_ERR_EXIST")
                daemon.joined.append(self)

            def mcast(self, _data: bytes) -> None:
                daemon.ask("mcast")

        return Connection, Cpg

    def ask(self, what: str) -> None:
        stale, self.stale = self.stale and what == "dispatch", self.stale and what != "dispatch"
        if stale or not self.up:
            raise MembershipLost(f"{what}: CS_ERR_LIBRARY")


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = Loop()
        self.daemon = Daemon()
        for name, values in {"gi": {}, "gi.repository": {"GLib": self.loop}}.items():
            module = ModuleType(name)
            module.__dict__.update(values)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "appliance.supervisor.ring", raising=False)
        found: Any = importlib.import_module("appliance.supervisor.ring")
        monkeypatch.delitem(sys.modules, "appliance.supervisor.ring")
        found.Quorum, found.Cpg = self.daemon.library()
        self.told: list[tuple[object, ...]] = []
        core = SimpleNamespace(
            on_quorum=lambda quorate: self.told.append(("quorum", quorate)),
            on_members=lambda *members: self.told.append(("members", *members)),
        )
        self.ring = found.Ring(SimpleNamespace(nodes=()), core, lambda *_message: None)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(monkeypatch)
    made.ring.connect()
    assert len(made.daemon.joined) == 1
    return made


LOST = [("quorum", False), ("members", 0, (), ())]


def test_a_loss_that_several_sends_and_the_hang_up_notice_is_one_loss(stage: Stage) -> None:
    stage.daemon.crash()
    for _ in range(3):
        stage.ring.send(b"a beat")
    stage.loop.hang_up()
    stage.loop.pass_time()
    assert stage.told == LOST
    assert len(stage.loop.timers) == 1
    stage.daemon.up = True
    stage.loop.pass_time()
    assert (len(stage.daemon.open), len(stage.daemon.joined)) == (2, 1)
    assert not stage.loop.timers
    stage.loop.pass_time()
    assert stage.told == LOST


def test_a_failed_send_is_void_once_the_next_connection_is_there(stage: Stage) -> None:
    stage.daemon.crash()
    stage.ring.send(b"a beat")
    stage.daemon.up = True
    stage.daemon.stale = True
    stage.loop.hang_up()
    assert len(stage.daemon.joined) == 1
    stage.loop.pass_time()
    assert stage.told == LOST
    assert (len(stage.daemon.open), len(stage.daemon.joined)) == (2, 1)


def test_that_corosync_is_not_there_is_said_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pairkeep")
    stage.daemon.crash()
    stage.loop.hang_up()
    for _ in range(5):
        stage.loop.pass_time()
    assert [r.message for r in caplog.records].count("corosync is not there yet: initialize: CS_ERR_LIBRARY") == 1
