# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk is erased by the set-up of a blank machine only, however often its steps are done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Literal, cast

import pytest

from appliance.errors import InputError
from appliance.firstboot import steps
from appliance.firstboot.answers import Answers, Settings


@dataclass(frozen=True)
class Asked:
    """As much of the answers as the step looks at."""

    settings: Settings
    drbd: tuple[str, ...] = ("data",)


def said(wipe: bool | Literal["drbd"]) -> Answers:
    return cast(Answers, Asked(Settings(disk="/dev/vdb", wipe=wipe)))


ANSWERS = said(wipe=True)
ERASED = ["blkdiscard", "--zeroout", "/dev/vdb"]
# What a machine that was a node has kept.
RECORD = "record.json"


@pytest.fixture
def erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was run; the machine's files are below ``tmp_path``. The disk is blank."""
    found: list[object] = []
    monkeypatch.setattr(steps, "run", found.append)
    monkeypatch.setattr(steps, "_was_replicated", lambda _disk: False)
    monkeypatch.setattr(steps, "CLUSTER_TOML", tmp_path / "cluster.toml")
    monkeypatch.setattr(steps, "RECORD", tmp_path / RECORD)
    return found


def test_a_blank_machines_disk_is_erased_when_somebody_said_so(erased: list[object]) -> None:
    steps._wipe_disk(ANSWERS)
    assert erased == [ERASED]


def test_a_node_s_disk_is_not_erased_though_the_answers_are_still_there(erased: list[object]) -> None:
    steps.CLUSTER_TOML.touch()
    steps._wipe_disk(ANSWERS)
    assert erased == []


def test_a_machine_that_has_been_a_node_is_asked_about(tmp_path: Path, erased: list[object]) -> None:
    (tmp_path / RECORD).touch()
    with pytest.raises(InputError, match="was a node"):
        steps._wipe_disk(ANSWERS)
    assert erased == []


@pytest.fixture
def replicated(erased: list[object], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """As ``erased``, with a node's data on the second partition of the disk, and a system disk that is new."""
    done = erased.append

    def run(argv: Sequence[str], **_more: object) -> CompletedProcess[str]:
        if argv[0] == "lsblk":
            return CompletedProcess(argv, 0, "/dev/vdb\n/dev/vdb1\n/dev/vdb2\n", "")
        if argv[0] == "blkid":
            assert argv[-3:] == ["/dev/vdb", "/dev/vdb1", "/dev/vdb2"]
            return CompletedProcess(argv, 0, "vfat\ndrbd\n", "")
        done(list(argv))
        return CompletedProcess(argv, 0, "", "")

    monkeypatch.undo()
    monkeypatch.setattr(steps, "CLUSTER_TOML", Path("/nowhere/cluster.toml"))
    monkeypatch.setattr(steps, "RECORD", Path("/nowhere/record.json"))
    monkeypatch.setattr(steps, "run", run)
    monkeypatch.setattr(steps, "Drbd", lambda config: Metadata(config, fresh=False))
    return erased


@dataclass(frozen=True)
class Metadata:
    """What DRBD's says: whether any data ever came to the disk."""

    resource: str
    fresh: bool

    def just_created(self) -> bool:
        return self.fresh


def test_what_drbd_has_replicated_is_not_erased_by_answers_that_have_stayed_attached(
    replicated: list[object],
) -> None:
    with pytest.raises(InputError, match="DRBD has replicated /dev/vdb, so it may hold the newest data") as refused:
        steps._wipe_disk(ANSWERS)
    assert 'wipe = "drbd"' in str(refused.value)
    assert replicated == []
    steps._wipe_disk(said(wipe=False))
    assert replicated == []


def test_it_is_erased_when_the_answers_ask_for_just_that(replicated: list[object]) -> None:
    steps._wipe_disk(said(wipe="drbd"))
    assert replicated == [ERASED]


def test_metadata_that_this_set_up_has_made_before_power_went_hold_nothing_up(
    replicated: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "Drbd", lambda config: Metadata(config, fresh=True))
    steps._wipe_disk(ANSWERS)
    assert replicated == [ERASED]


def test_a_disk_of_which_nothing_can_be_learnt_is_not_erased(
    erased: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(steps, "CLUSTER_TOML", Path("/nowhere/cluster.toml"))
    monkeypatch.setattr(steps, "RECORD", Path("/nowhere/record.json"))
    monkeypatch.setattr(steps, "run", lambda argv, **_: CompletedProcess(argv, 4, "", "usage"))
    with pytest.raises(InputError, match="blkid cannot tell what is on it, so it is not erased: usage"):
        steps._wipe_disk(ANSWERS)
    assert erased == []
