# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk is erased by the set-up of a blank machine only, however often its steps are done again."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from appliance.errors import InputError
from appliance.firstboot import steps
from appliance.firstboot.answers import Answers, Settings


class Asked:
    """As much of the answers as the step looks at."""

    settings = Settings(disk="/dev/vdb", wipe=True)


ANSWERS = cast(Answers, Asked())
# What a machine that was a node has kept.
RECORD = "record.json"


@pytest.fixture
def erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was run; the machine's files are below ``tmp_path``."""
    found: list[object] = []
    monkeypatch.setattr(steps, "run", found.append)
    monkeypatch.setattr(steps, "CLUSTER_TOML", tmp_path / "cluster.toml")
    monkeypatch.setattr(steps, "RECORD", tmp_path / RECORD)
    return found


def test_a_blank_machines_disk_is_erased_when_somebody_said_so(erased: list[object]) -> None:
    steps._wipe_disk(ANSWERS)
    assert erased == [["blkdiscard", "--zeroout", "/dev/vdb"]]


def test_a_node_s_disk_is_not_erased_though_the_answers_are_still_there(erased: list[object]) -> None:
    steps.CLUSTER_TOML.touch()
    steps._wipe_disk(ANSWERS)
    assert erased == []


def test_a_machine_that_has_been_a_node_is_asked_about(tmp_path: Path, erased: list[object]) -> None:
    (tmp_path / RECORD).touch()
    with pytest.raises(InputError, match="was a node"):
        steps._wipe_disk(ANSWERS)
    assert erased == []
