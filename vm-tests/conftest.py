# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures: a pair of one's own for every scenario, restored from the one that was formed; evidence on failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from appliance.build import folders
from appliance.build.progress import Progress
from appliance.lab import topology
from appliance.lab.cluster import formed
from appliance.lab.lab import Lab
from appliance.lab.spec import Topology
from appliance.lab.trial import Trial, keep_evidence, waiting_for

LAB = "vm-tests"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lets fixtures see whether their test failed."""
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever forms a pair anew goes first, so that what it has formed serves all others."""
    items.sort(key=lambda item: "newly_formed" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def progress() -> Progress:
    return Progress(sys.__stderr__)


@pytest.fixture(scope="session")
def machines(progress: Progress) -> Topology:
    return topology.pair(progress)


@pytest.fixture
def pair(request: pytest.FixtureRequest, machines: Topology, progress: Progress) -> Iterator[Trial]:
    """A formed pair, as it was right after its first boot."""
    Lab.open(LAB).down()
    with formed(LAB, machines, waiting_for, progress) as lab:
        yield from _judged(Trial(lab), request)


@pytest.fixture(scope="session")
def fenced_machines(progress: Progress) -> Topology:
    return topology.fenced_pair(progress)


@pytest.fixture
def fenced(request: pytest.FixtureRequest, fenced_machines: Topology, progress: Progress) -> Iterator[Trial]:
    """As `pair`, of machines with BMCs, by which they fence each other."""
    Lab.open(LAB).down()
    with formed(LAB, fenced_machines, waiting_for, progress) as lab:
        yield from _judged(Trial(lab), request)


@pytest.fixture
def unwitnessed(request: pytest.FixtureRequest, progress: Progress) -> Iterator[Trial]:
    """As `pair`, of two machines alone: a person has to say that a silent one is off."""
    Lab.open(LAB).down()
    with formed(LAB, topology.unwitnessed_pair(progress), waiting_for, progress) as lab:
        yield from _judged(Trial(lab), request)


@pytest.fixture
def newly_formed(request: pytest.FixtureRequest, machines: Topology, progress: Progress) -> Iterator[Trial]:
    """A pair that has just become one: blank machines, blank disks and answers are all it began with."""
    Lab.open(LAB).down()
    with formed(LAB, machines, waiting_for, progress, anew=True) as lab:
        yield from _judged(Trial(lab), request)


def _judged(trial: Trial, request: pytest.FixtureRequest) -> Iterator[Trial]:
    yield trial
    report = getattr(request.node, "report_call", None)
    if report is None or report.failed:
        keep_evidence(trial, _evidence_folder(request.node.name))


def _evidence_folder(name: str) -> Path:
    return folders.build_folder() / "failed" / name.replace("/", "-")


@pytest.fixture
def survives(pair: Trial) -> Callable[[], None]:
    """Call it at the end: every acknowledged row is there, and never were two machines Primary."""

    def check() -> None:
        verdict = pair.finish()
        assert verdict.acknowledged > 0
        assert verdict.lost == ()
        assert verdict.both_primary_s == 0

    return check
