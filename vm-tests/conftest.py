# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures: a pair of one's own for every scenario, restored from the one that was formed; evidence on failure."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import sys
from collections.abc import Callable, Generator, Iterator

import pytest

from appliance.build import folders
from appliance.build.progress import Progress
from appliance.lab import director, topology
from appliance.lab.cluster import Readiness, formed
from appliance.lab.lab import Lab
from appliance.lab.spec import Topology
from appliance.lab.trial import Trial, keep_evidence, waiting_for

LAB = "vm-tests"
Make = Callable[[Progress], Topology]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lets fixtures see whether their test failed."""
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever forms a pair anew goes first, so that what it has formed serves all others."""
    items.sort(key=lambda item: "newly_formed" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def alone() -> Iterator[None]:
    """Labs have names, and who begins ends what an earlier run has left by that name: so one run at a time."""
    build = folders.build_folder()
    build.mkdir(parents=True, exist_ok=True)
    with (build / ".vm-tests.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit(
                f"other scenarios are running in {build}; PAIRKEEP_BUILD names another folder", returncode=2
            )
        yield


@pytest.fixture(scope="session")
def progress() -> Progress:
    return Progress(sys.__stderr__)


@pytest.fixture(scope="session")
def machines_of(progress: Progress) -> Callable[[Make], Topology]:
    """A topology, made once."""
    return functools.cache(lambda make: make(progress))


@pytest.fixture
def restored(
    request: pytest.FixtureRequest, machines_of: Callable[[Make], Topology], progress: Progress
) -> Iterator[Callable[..., Lab]]:
    """Call it with what makes a topology, and what it waits for: a cluster of one's own, as after its first boot.

    When the test fails, what may tell why is kept.
    """
    with contextlib.ExitStack() as stack:

        def restore(make: Make, ready: Readiness = waiting_for, *, anew: bool = False) -> Lab:
            Lab.open(LAB).down()
            lab = stack.enter_context(formed(LAB, machines_of(make), ready, progress, anew=anew))
            stack.callback(_keep_evidence, request.node, lab)
            return lab

        yield restore


def _keep_evidence(item: pytest.Item, lab: Lab) -> None:
    report = getattr(item, "report_call", None)
    if report is None or report.failed:
        keep_evidence(Trial(lab), folders.build_folder() / "failed" / item.name.replace("/", "-"))


@pytest.fixture
def pair(restored: Callable[..., Lab]) -> Trial:
    """A formed pair with a witness."""
    return Trial(restored(topology.pair))


@pytest.fixture
def newly_formed(restored: Callable[..., Lab]) -> Trial:
    """A pair that has just become one: blank machines, blank disks and answers are all it began with."""
    return Trial(restored(topology.pair, anew=True))


@pytest.fixture
def fenced(restored: Callable[..., Lab]) -> Trial:
    """As `pair`, of machines with BMCs, by which they fence each other."""
    return Trial(restored(topology.fenced_pair))


@pytest.fixture
def unwitnessed(restored: Callable[..., Lab]) -> Trial:
    """As `pair`, of two machines alone: a person has to say that a silent one is off."""
    return Trial(restored(topology.unwitnessed_pair))


@pytest.fixture
def directors(restored: Callable[..., Lab]) -> Lab:
    """Two directors and their real servers."""
    lab = restored(director.directors, director.waiting_for)
    lab.wait_for("connections work", lambda: director.waiting_for(lab) is None, timeout_s=120)
    return lab


@pytest.fixture
def survives(pair: Trial) -> Callable[[], None]:
    """Call it at the end: every acknowledged row is there, and never were two machines Primary."""

    def check() -> None:
        verdict = pair.finish()
        assert verdict.acknowledged > 0
        assert verdict.lost == ()
        assert verdict.both_primary_s == 0

    return check
