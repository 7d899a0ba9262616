# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshot folders: what is pinned, laid out and thrown away; and a lab that is not there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import ClassVar
from unittest.mock import Mock

import pytest

from appliance.build.layers import locked
from appliance.build.progress import SILENT
from appliance.cli import fault as cli
from appliance.errors import InputError
from appliance.lab import cluster, keeper, snapshots
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.spec import BootImage, Disk, MachineSpec, Topology
from appliance.run import run

MACHINES = Topology((), (), {}, "tcg", ("qemu",), ("qemu-img",), "10")


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PAIRKEEP_BUILD", str(tmp_path))
    return tmp_path


def test_a_pinned_image_outlives_the_next_build(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("vmlinuz", "initrd", "root.raw")]
    for file in files:
        file.write_text(file.name)
    pinned = snapshots.pin(BootImage("k1", *files), tmp_path / "pinned")
    for file in files:
        file.unlink()
    assert pinned.root.read_text() == "root.raw"
    assert pinned.kernel.parent == tmp_path / "pinned/k1"


@pytest.mark.parametrize("links", [True, False])
def test_an_image_that_was_damaged_and_made_again_is_pinned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", Mock(side_effect=OSError))
    files = [tmp_path / name for name in ("vmlinuz", "initrd", "root.raw")]
    for file in files:
        file.write_text("damaged")
    image = BootImage("k1", *files)
    pinned = snapshots.pin(image, tmp_path / "pinned")
    before = pinned.root.stat().st_ino
    snapshots.pin(image, tmp_path / "pinned")
    assert pinned.root.stat().st_ino == before
    for file in files:
        file.unlink()
        file.write_text("wh ole.")
    snapshots.pin(image, tmp_path / "pinned")
    assert {file.read_text() for file in (pinned.kernel, pinned.initrd, pinned.root)} == {"wh ole."}


def test_a_saved_cluster_gets_its_name_when_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(keeper.TOPOLOGY).write_text(MACHINES.dumps())
    target = tmp_path / "saved"
    settled: list[bool] = []
    monkeypatch.setattr(
        keeper, "settle", lambda making: settled.append(not target.exists() and snapshots.load(making) == MACHINES)
    )
    monkeypatch.setattr(keeper, "networks", Mock())
    asyncio.run(keeper.Keeper()._snapshot(target))
    assert settled == [True]
    assert snapshots.load(target) == MACHINES


def test_a_restored_machine_gets_copies_of_the_empty_overlays(tmp_path: Path) -> None:
    source, folder = tmp_path / "saved", tmp_path / "alpha"
    source.mkdir()
    folder.mkdir()
    for node in ("root", "data"):
        (source / f"{node}.new.qcow2").write_text(node)
    snapshots.lay_out_disks(MachineSpec("alpha", "database", 768, (), (Disk("data", 1),)), source, folder)
    assert (folder / "data.qcow2").read_text() == "data"
    assert (folder / "root.qcow2").read_text() == "root"


def test_a_half_made_snapshot_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "alpha").mkdir()
    with pytest.raises(InputError, match="there is no snapshot"):
        snapshots.load(tmp_path)


def saved(folder: Path, age_s: float) -> Path:
    """A snapshot that was used so long ago."""
    folder.mkdir(parents=True)
    (folder / snapshots.DESCRIPTION).touch()
    os.utime(folder / snapshots.DESCRIPTION, (time.time() - age_s,) * 2)
    return folder


def test_the_snapshots_used_last_and_those_in_use_stay(tmp_path: Path) -> None:
    for age, name in enumerate(("newest.1", "newer.10", "used.1", "old.1")):
        saved(tmp_path / name, 10 * age)
    snapshots.prune(tmp_path, [tmp_path / "used.1"], 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newer.10", "newest.1", "used.1"]


def test_a_snapshot_that_was_replaced_goes_when_nobody_can_be_about_to_use_it(tmp_path: Path) -> None:
    for name, age in (("pair.9", 9999), ("pair.10", 9), ("pair.11", 9999), ("other.1", 9999), ("pair", 9999)):
        saved(tmp_path / name, age)
    assert snapshots.last_of(tmp_path, "pair") == tmp_path / "pair.11"
    assert snapshots.last_of(tmp_path, "third") is None
    snapshots.prune(tmp_path, [], 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.1", "pair.10", "pair.11"]


class FormedLab:
    """Takes the place of machines: what they would be restored from."""

    up_from: ClassVar[list[Path]] = []

    @staticmethod
    def names() -> list[str]:
        return []

    @classmethod
    def open(cls, _: str) -> FormedLab:
        return cls()

    def up(self, _: Topology, base: Path) -> FormedLab:
        assert base.is_dir()
        self.up_from.append(base)
        return self


def test_a_cluster_formed_anew_takes_nothing_away_from_labs_that_run_from_the_last_one(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def form(folder: Path, topology: Topology, *_: object) -> None:
        saved(folder, 9999)
        (folder / snapshots.DESCRIPTION).write_text(topology.dumps())

    monkeypatch.setattr(cluster, "Lab", FormedLab)
    monkeypatch.setattr(cluster, "_form", form)
    monkeypatch.setattr(FormedLab, "up_from", [])
    (build / "cache/lab-images").mkdir(parents=True)
    for anew in (False, False, True, False):
        cluster.formed("one", MACHINES, lambda _: None, SILENT, anew=anew)
    first, second = (build / f"cache/lab-formed/{MACHINES.key()}.{number}" for number in (1, 2))
    assert FormedLab.up_from == [first, first, second, second]
    # Each use counts, so it is not thrown away beside others that were formed later.
    assert first.is_dir()
    assert time.time() - (second / snapshots.DESCRIPTION).stat().st_mtime < 60


SESSION = """
import sys
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", sys.argv[1], sys.argv[1]]))
"""


def test_the_scenarios_run_once_at_a_time(build: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Their labs have names, and who begins ends what has such a name."""
    scenarios = tmp_path_factory.mktemp("scenarios")
    shutil.copy(Path(__file__).parent.parent / "vm-tests/conftest.py", scenarios)
    (scenarios / "test_one.py").write_text("def test_one(): pass\n")
    session = [sys.executable, "-c", SESSION, str(scenarios)]
    assert run(session, check=False).returncode == 0
    with locked(build / ".vm-tests.lock", SILENT):
        refused = run(session, check=False)
    assert refused.returncode == 2
    assert f"other scenarios are running in {build}" in refused.stdout + refused.stderr


def test_images_that_nothing_refers_to_go(tmp_path: Path) -> None:
    for name in ("used", "unused", "new"):
        (tmp_path / name).mkdir()
    for name in ("used", "unused"):
        os.utime(tmp_path / name, (1, 1))
    snapshots.prune_images(tmp_path, [tmp_path / "used"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "used"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b"])
def test_a_labs_name_is_plain(name: str) -> None:
    with pytest.raises(InputError, match="the name of a lab"):
        Lab.open(name)


def test_a_lab_that_is_not_up_says_so(build: Path) -> None:
    assert build.is_dir()
    with pytest.raises(InputError, match="the lab none is not up"):
        Lab.open("none").status()


def test_a_lab_whose_keeper_is_gone_is_told_apart_and_cleaned(build: Path) -> None:
    folder = build / "lab/crashed"
    folder.mkdir(parents=True)
    gone = {"pid": 2**22 - 1, "started": 1, "boot_id": "an earlier one"}
    (folder / keeper.STATE).write_text(json.dumps({"keeper": gone, "machines": {"alpha": gone}}))
    lab = Lab.open("crashed")
    with pytest.raises(InputError, match="the lab crashed has crashed"):
        lab.inside()
    lab.down()
    assert not folder.exists()


def test_ending_a_lab_twice_is_no_mistake(build: Path) -> None:
    assert build.is_dir()
    Lab.open("none").down()
    Lab.open("none").down()


@pytest.mark.parametrize(
    ("fault", "what", "message"),
    [
        ("kill", "", "kill: found 'nothing', expected PATTERN"),
        ("unplug", "4", "NETWORK: found '4', expected 1, 2 or 3"),
        ("plug", "", "plug: found 'nothing', expected NETWORK"),
        ("reset", "1", "reset: found '1', expected nothing more"),
        ("lose", "1:much", "found 'much', expected a number"),
        ("lose", "30", "found '', expected a number"),
        ("clock", "later", "found 'later', expected a number"),
    ],
)
def test_a_fault_that_does_not_fit_changes_nothing(fault: str, what: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        cli.inject(Machine(Lab("none"), "alpha"), fault, what)
    assert caught.value.message == message


EXAMPLES = {"": "", "NETWORK": "1", "PATTERN": "x", "SECONDS": "1", "NETWORK:PERCENT": "1:5", "NETWORK:MS": "1:5"}


@pytest.mark.parametrize("fault", cli.FAULTS)
def test_every_fault_is_something_a_machine_can_suffer(build: Path, fault: str) -> None:
    assert build.is_dir()
    # It gets as far as asking the lab, which is not up.
    with pytest.raises(InputError, match="the lab none is not up"):
        cli.inject(Machine(Lab("none"), "alpha"), fault, EXAMPLES[cli.FAULTS[fault].what])
