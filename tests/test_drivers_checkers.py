# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking keepalived's checkers: what they write is read whole or not at all, and nothing else ends who asks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config.load import parse
from appliance.drivers import checkers
from appliance.drivers.base import DriverError
from appliance.drivers.checkers import Instance
from tests.test_config_virtual import PAIR, web

TEXT = (Path(__file__).parent / "ipvs/keepalived_check.data").read_text()
Write = Callable[[str], None]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    monkeypatch.setattr(checkers, "DUMP", tmp_path / "dump")
    monkeypatch.setattr(checkers, "DUMP_S", 1.0)
    monkeypatch.setattr(os, "kill", lambda _pid, _signal: None)
    for name in ("pid", "checkers"):
        (tmp_path / name).write_text("1\n")
    # In the tests nobody is root.
    stat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda handle: os.stat_result((*stat(handle)[:4], 0, *stat(handle)[5:])))
    return Instance("keepalived.service", tmp_path / "pid", tmp_path / "checkers")


def answering(monkeypatch: pytest.MonkeyPatch, *parts: str) -> None:
    """On the signal ``parts`` are written, further apart than two looks at the file."""

    def write() -> None:
        with checkers.DUMP.open("w") as file:
            for part in parts:
                file.write(part)
                file.flush()
                time.sleep(4 * checkers.POLL_S)

    monkeypatch.setattr(os, "kill", lambda _pid, _signal: threading.Thread(target=write).start())


def test_half_a_file_is_waited_for(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the middle of a server's address.
    cut = TEXT.index("RIP = 10.9.1.22") + 11
    answering(monkeypatch, TEXT[:cut], TEXT[cut:])
    assert len(checkers.health(instance)) == 6


def test_half_a_file_that_stays_so_is_an_error(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, TEXT[: TEXT.index("RIP = 10.9.1.22")])
    with pytest.raises(DriverError, match="does not say what it knows, or not all of it"):
        checkers.health(instance)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RIP = 10.9.1.22, ", ""),
        ("RIP = 10.9.1.22", "RIP = 10.9."),
        ("effective weight = 3", "effective weight = x"),
    ],
)
def test_what_is_not_understood_is_an_error(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    answering(monkeypatch, TEXT.replace(old, new))
    with pytest.raises(DriverError, match="what keepalived.service says of its servers is not understood"):
        checkers.health(instance)


def test_what_is_no_file_is_an_error(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda _pid, _signal: checkers.DUMP.symlink_to(instance.pid))
    with pytest.raises(DriverError, match="cannot be read"):
        checkers.health(instance)


def test_an_instance_that_asks_no_server_says_nothing_of_checks(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    (none,) = checkers.instances(parse(PAIR + web('check = "none"')))
    (some,) = checkers.instances(parse(PAIR + web()))
    assert (none.checks, some.checks) == (False, True)
    answering(monkeypatch, TEXT[: TEXT.index(checkers.LAST)])
    assert len(checkers.health(Instance("unit", instance.pid, instance.checkers, checks=False))) == 6


def test_what_does_not_run_knows_nothing(instance: Instance) -> None:
    instance.checkers.unlink()
    assert checkers.health(instance) == {}
