# SPDX-License-Identifier: GPL-2.0-or-later
"""What a director's supervisor waits for and does, with a loop and a journal as strict as the real ones."""

from __future__ import annotations

import enum
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from appliance.config.load import parse
from appliance.decide.view import BLANK
from appliance.render import lvs
from tests.test_config_virtual import PAIR, web

POLLIN = 1


class IOCondition(enum.IntFlag):
    """As GLib's."""

    IN = POLLIN


class Loop:
    """What PyGObject 3.50 has of GLib, as far as a director asks for it; time passes when the test says so."""

    PRIORITY_DEFAULT = 0
    IOCondition = IOCondition

    def __init__(self) -> None:
        self.timers: list[Callable[[], bool]] = []
        self.watched: dict[int, Callable[[], bool]] = {}

    def timeout_add_seconds(self, _seconds: int, call: Callable[[], bool]) -> int:
        self.timers.append(call)
        return len(self.timers)

    def unix_fd_add_full(
        self, _priority: int, fd: int, condition: object, call: Callable[..., bool], *data: object
    ) -> int:
        # In its words.
        if not isinstance(condition, IOCondition):
            raise TypeError(f"Expected a GLib.IOCondition, but got {type(condition).__name__}")
        self.watched[fd] = lambda: call(fd, condition, *data)
        return len(self.watched)

    def pass_time(self) -> None:
        """Until each timer has run once."""
        due, self.timers = self.timers, []
        self.timers += [call for call in due if call()]


class Journal:
    """The Reader of systemd's Python binding: its events are a bare number."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []
        self.fd = os.open("/dev/null", os.O_RDONLY)

    def add_match(self, **_fields: str) -> None: ...

    def seek_tail(self) -> None: ...

    def get_previous(self) -> None: ...

    def fileno(self) -> int:
        return self.fd

    def get_events(self) -> int:
        return POLLIN

    def process(self) -> None: ...

    def __iter__(self) -> Iterator[dict[str, str]]:
        while self.entries:
            yield self.entries.pop(0)


class Lanes:
    """Each job is done at once."""

    def put(self, _lane: str, job: Callable[[], Callable[[], None]]) -> None:
        job()()


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = Loop()
        self.journal = Journal()
        modules: dict[str, dict[str, Any]] = {
            "gi": {},
            "gi.repository": {"GLib": self.loop},
            "systemd": {"journal": SimpleNamespace(Reader=lambda: self.journal)},
        }
        for name, values in modules.items():
            module = ModuleType(name)
            module.__dict__.update(values)
            monkeypatch.setitem(sys.modules, name, module)
        for name in ("appliance.supervisor.director", "appliance.supervisor.notify"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        self.module = importlib.import_module("appliance.supervisor.director")
        # Nobody else is to find what has been made with this loop.
        for name in ("appliance.supervisor.director", "appliance.supervisor.notify"):
            monkeypatch.delitem(sys.modules, name)
        self.told: list[str] = []
        self.offered: list[str] = []
        self.view = SimpleNamespace(adopted=False, record=BLANK)
        core = SimpleNamespace(
            cluster=parse(PAIR + web()),
            me="alpha",
            view=self.view,
            world=SimpleNamespace(tell=lambda event: self.told.append(event.text)),
        )
        notifier = SimpleNamespace(offer=lambda _subject, text: self.offered.append(text))
        self.director = self.module.Director(core, Lanes(), notifier)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(monkeypatch)
    yield made
    os.close(made.journal.fd)


def written(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What keepalived is told to run by, from now on."""
    found: list[str] = []

    def write(files: dict[Path, str], _root: Path) -> bool:
        found.append(files[lvs.MAIN])
        return True

    monkeypatch.setattr(stage.module, "write", write)
    monkeypatch.setattr(stage.module.keepalived, "take_up", lambda: None)
    monkeypatch.setattr(stage.module.ipvs, "saved", list)
    return found


def test_a_drained_server_is_never_taken_out_and_gets_its_weight_back_before_it_may_be(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keepalived adds a server that is still in the kernel with weight 0, which changes nothing there."""
    found = written(stage, monkeypatch)
    stage.view.adopted = True
    stage.view.record = replace(BLANK, drained=("web/10.9.2.21",))
    stage.director.start()
    stage.loop.pass_time()
    stage.view.record = BLANK
    stage.loop.pass_time()
    stage.loop.pass_time()
    begins = [text[text.index("real_server") :].splitlines()[1:3] for text in found]
    assert [[line.strip() for line in lines] for lines in begins] == [
        ["weight 0", "inhibit_on_failure"],
        ["weight 1", "inhibit_on_failure"],
        ["weight 1", "TCP_CHECK {"],
    ]


def test_a_director_listens_to_keepalived_and_tells_what_it_hears(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.module.ipvs, "saved", list)
    stage.director.start()
    stage.loop.pass_time()
    stage.journal.entries.append({"MESSAGE": "(web) Entering MASTER STATE"})
    assert stage.loop.watched[stage.journal.fd]()
    assert stage.told == stage.offered == ["web: this director is active"]
