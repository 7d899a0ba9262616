# SPDX-License-Identifier: GPL-2.0-or-later
"""What several tests need. Machines differ and are busy: no property test fails for being slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from appliance.joining import Candidate, Host
from tests.joining_site import ALPHA, Creator, Machine

settings.register_profile("pairkeep", deadline=None)
settings.load_profile("pairkeep")


@pytest.fixture
def create(tmp_path: Path) -> Iterator[Callable[..., Creator]]:
    hosts: list[Host] = []

    def make(admit: Callable[[Candidate], str | None] = lambda _: None, valid_s: float = 60.0) -> Creator:
        screen = Machine(tmp_path / "alpha")
        made = Host(ALPHA, admit=admit, port=0, valid_s=valid_s, folder=screen.folder)
        made.start(screen.on_event)
        hosts.append(made)
        return made, screen

    yield make
    for one in hosts:
        one.close()


@pytest.fixture
def beta(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "beta")


@pytest.fixture
def witness(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "witness")
