# SPDX-License-Identifier: GPL-2.0-or-later
"""An upgrade takes one node out at a time, only while nothing is wrong, and stops where something goes wrong."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import InputError, PairkeepError
from appliance.run import RunError
from appliance.upkeep.upgrade import Tools, check, look, obstacles, pending, upgrade

KERNEL = """\
Inst linux-image-6.12.63+deb13-cloud-amd64 (6.12.63-1 Debian-Security:13/stable-security [amd64])
Inst linux-image-cloud-amd64 [6.12.57-1] (6.12.63-1 Debian-Security:13/stable-security [amd64])
"""
SIMULATED = f"""\
Reading package lists...
Inst libssl3t64 [3.5.1-1] (3.5.4-1~deb13u1 Debian-Security:13/stable-security [amd64])
Inst corosync [3.1.9-2] (3.1.9-2+deb13u1 Debian:13.2/stable [amd64]) []
{KERNEL}\
Conf libssl3t64 (3.5.4-1~deb13u1 Debian-Security:13/stable-security [amd64])
"""


APT = ("-f", "install", "update", "--simulate", "upgrade", "autoremove", "purge", "clean")
WORDS = ("dpkg", "--configure", "-a", *APT, "systemctl", "restart", "pairkeep.service")
OLD = "linux-image-6.12.48+deb13-cloud-amd64"
UNNEEDED = f"""\
Remv libssl1.1 [1.1.1] []
Remv {OLD} [6.12.48-1]
"""


class PowerCut(Exception):
    """In the middle of it."""


class Pair:
    """A cluster as its status shows it, with apt on node ``me``.

    ``breaks`` is called when apt has unpacked everything and configured nothing, which is ``half_done``.
    """

    def __init__(self, me: str, folder: Path, runs_on: str = "alpha") -> None:
        self.me = me
        self.standby: set[str] = set()
        self.runs_on = runs_on
        self.done: list[str] = []
        self.boot_id = "boot 1"
        self.offers = SIMULATED
        self.breaks: Callable[[], None] = lambda: None
        self.half_done: list[str] = []
        # What happens while the wish to stand aside is on its way.
        self.crosses: Callable[[], None] = lambda: None
        self.broken: dict[str, Any] = {}
        self.folder = folder

    @property
    def tools(self) -> Tools:
        begun = self.folder / "begun"
        ask = (self.status, self.stand_aside, self.take_part)
        return Tools(self.me, self.boot_id, *ask, self.run, self.run, self.done.append, self.wait, begun)

    def status(self) -> dict[str, Any]:
        sides = {n: {"disk": "UpToDate", "connection": "Connected"} for n in ("alpha", "beta")}
        status: dict[str, Any] = {
            "quorate": True,
            "maintenance": False,
            "settled": True,
            "nodes": [
                {
                    "name": name,
                    "state": "standby" if name in self.standby else "online",
                    "votes_only": name == "witness",
                    "up_to_date": True,
                }
                for name in ("alpha", "beta", "witness")
            ],
            "groups": [
                {
                    "name": "shop",
                    "state": "running",
                    "node": self.runs_on,
                    "reason": "runs",
                    "resources": [{"id": "service:mariadb.service", "fails": {"alpha": 0, "beta": 0}}],
                }
            ],
            "drbd": [{"name": "shopdata", "current": ["alpha", "beta"], "nodes": sides}],
        }
        return status | copy.deepcopy(self.broken)

    def stand_aside(self) -> None:
        self.done.append("stand aside")
        self.crosses()
        if self.standby <= {self.me}:
            self.standby.add(self.me)
            if self.runs_on == self.me:
                self.runs_on = "beta" if self.me == "alpha" else "alpha"

    def take_part(self) -> None:
        self.done.append("take part")
        self.standby.discard(self.me)

    def run(self, argv: Sequence[str]) -> str:
        words = [word for word in argv if word in WORDS or word == OLD]
        self.done.append(" ".join(words))
        # What needs a package that is not installed yet is kept back unless apt is told otherwise.
        offered = self.offers if "--with-new-pkgs" in argv else self.offers.replace(KERNEL, "")
        if words == ["upgrade"]:
            self.offers = self.offers.replace(offered, "")
            self.half_done.append("all")
            self.breaks()
            self.half_done.clear()
        if words == ["dpkg", "--configure", "-a"]:
            self.half_done.clear()
        if words == ["--simulate", "autoremove"]:
            return UNNEEDED
        return offered if "--simulate" in words else ""

    @staticmethod
    def wait(reached: Callable[[], bool]) -> bool:
        return reached()


def test_what_apt_would_install_is_read_from_its_own_words() -> None:
    assert [(u.package, u.old, u.new) for u in pending(SIMULATED)] == [
        ("libssl3t64", "3.5.1-1", "3.5.4-1~deb13u1"),
        ("corosync", "3.1.9-2", "3.1.9-2+deb13u1"),
        ("linux-image-6.12.63+deb13-cloud-amd64", "", "6.12.63-1"),
        ("linux-image-cloud-amd64", "6.12.57-1", "6.12.63-1"),
    ]


def test_one_node_is_upgraded_while_the_other_serves(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    pair.offers = SIMULATED.splitlines()[1]
    check(pair.tools, hand_over=False)
    assert upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert pair.done == [
        "update",
        "--simulate upgrade",
        "beta hands over",
        "stand aside",
        "1 packages are upgraded",
        "upgrade",
        # Before it takes part: what was loaded by then is not to look after services.
        "systemctl restart pairkeep.service",
        "take part",
        "clean",
        "--simulate autoremove",
        f"removed, as nothing needs it any more: {OLD}",
        f"purge {OLD}",
    ]
    assert not pair.standby
    assert not pair.tools.begun.exists()


def test_the_one_with_the_service_comes_last_and_hands_over(tmp_path: Path) -> None:
    pair = Pair("alpha", tmp_path)
    with pytest.raises(InputError, match="shop runs here: begin with beta"):
        check(pair.tools, hand_over=False)
    check(pair.tools, hand_over=True)
    pair.offers = SIMULATED.splitlines()[1]
    assert upgrade(pair.tools, look(pair.tools), hand_over=True)
    assert pair.runs_on == "beta"


def test_a_new_kernel_needs_a_restart_after_which_it_goes_on(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    assert not upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert pair.standby == {"beta"}
    # Not restarted yet: it still has to be.
    check(pair.tools, hand_over=False)
    assert not upgrade(pair.tools, look(pair.tools), hand_over=False)
    pair.boot_id = "boot 2"
    check(pair.tools, hand_over=False)
    assert upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert not pair.standby


def _cut() -> None:
    raise PowerCut


def test_what_dpkg_was_cut_in_is_mended_before_the_node_takes_part_again(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    pair.offers, pair.breaks = SIMULATED.splitlines()[1], _cut
    with pytest.raises(PowerCut):
        upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert pair.half_done
    # All that is missing is to be configured: apt's simulation has no line of what it would install.
    pair.boot_id, pair.done = "boot 2", []
    check(pair.tools, hand_over=False)
    assert upgrade(pair.tools, [], hand_over=False)
    assert not pair.half_done
    mended = ["dpkg --configure -a", "-f install", "update", "--simulate upgrade"]
    after = ["systemctl restart pairkeep.service", "take part"]
    assert [each for each in pair.done if each in mended + after] == mended + after
    assert not pair.standby


def test_what_cannot_be_mended_keeps_the_node_in_standby(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    pair.offers, pair.breaks = SIMULATED.splitlines()[1], _cut
    with pytest.raises(PowerCut):
        upgrade(pair.tools, look(pair.tools), hand_over=False)

    def fail(argv: Sequence[str]) -> str:
        raise RunError(argv, 1, "error processing package corosync")

    for _ in range(2):
        with pytest.raises(RunError, match="error processing package corosync"):
            upgrade(replace(pair.tools, install=fail), [], hand_over=False)
        assert pair.standby == {"beta"}


def test_a_kernel_that_power_was_lost_in_needs_one_more_restart(tmp_path: Path) -> None:
    """The boot after the power cut was by the old one, since the new one was not configured yet."""
    pair = Pair("beta", tmp_path)
    pair.breaks = _cut
    with pytest.raises(PowerCut):
        upgrade(pair.tools, look(pair.tools), hand_over=False)
    pair.boot_id = "boot 2"
    assert not upgrade(pair.tools, [], hand_over=False)
    pair.boot_id = "boot 3"
    assert upgrade(pair.tools, [], hand_over=False)


def test_what_came_out_during_the_restart_asks_for_no_other_one(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    assert not upgrade(pair.tools, look(pair.tools), hand_over=False)
    pair.boot_id, pair.offers = "boot 2", SIMULATED.splitlines()[1]
    assert upgrade(pair.tools, [], hand_over=False)
    assert not pair.offers


def test_a_witness_stands_aside_too_so_that_no_other_node_does(tmp_path: Path) -> None:
    pair = Pair("witness", tmp_path)
    pair.breaks = lambda: pair.done.append(f"out: {pair.standby}")
    pair.offers = SIMULATED.splitlines()[1]
    check(pair.tools, hand_over=False)
    assert upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert "out: {'witness'}" in pair.done
    assert not pair.standby


def test_what_has_happened_while_a_person_thought_about_it_stops_it(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    check(pair.tools, hand_over=False)
    updates = look(pair.tools)
    pair.standby.add("alpha")
    with pytest.raises(InputError, match="alpha is standby"):
        upgrade(pair.tools, updates, hand_over=False)
    pair.standby.clear()
    pair.runs_on = "beta"
    with pytest.raises(InputError, match="shop runs here"):
        upgrade(pair.tools, updates, hand_over=False)
    assert "stand aside" not in pair.done
    assert not pair.tools.begun.exists()


def test_of_two_that_are_upgraded_at_once_one_goes_out(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    pair.crosses = lambda: pair.standby.add("alpha")
    with pytest.raises(PairkeepError, match="beta could not hand over and takes part again") as stopped:
        upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert "alpha is standby" in str(stopped.value)
    assert pair.standby == {"alpha"}
    assert "upgrade" not in pair.done
    assert not pair.tools.begun.exists()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            {"groups": [{"name": "shop", "state": "stopped", "node": None, "reason": "no node", "resources": []}]},
            "shop is stopped: no node",
        ),
        ({"quorate": False}, "there is no quorum"),
    ],
)
def test_who_cannot_hand_over_takes_part_again(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    pair = Pair("alpha", tmp_path)
    pair.crosses = lambda: pair.broken.update(broken)
    with pytest.raises(PairkeepError, match=message):
        upgrade(pair.tools, look(pair.tools), hand_over=True)
    assert pair.done[-1] == "take part"
    assert not pair.standby
    pair.broken.clear()
    pair.crosses = lambda: None
    check(pair.tools, hand_over=False)


def _status(*groups: str, beta: str = "online") -> dict[str, Any]:
    nodes = [{"name": "alpha", "state": "standby"}, {"name": "beta", "state": beta}]
    found: list[dict[str, Any]] = [
        {"name": state, "state": state, "node": None, "reason": "so", "resources": []} for state in groups
    ]
    said = {"quorate": True, "maintenance": False, "settled": True, "drbd": [], "groups": found}
    return said | {"nodes": [node | {"up_to_date": True} for node in nodes]}


@pytest.mark.parametrize(
    ("status", "decided"),
    [
        (_status("running", "running"), True),
        (_status("running", "stopping"), False),
        # What runs after another group waits for that one.
        (_status("starting", "stopped"), False),
        (_status("running", "stopped"), True),
        # Its supervisor has just been restarted.
        (_status("running", beta="silent"), False),
        (_status("stopping", beta="offline"), True),
    ],
)
def test_the_handing_over_is_waited_for_as_long_as_it_can_end_well(
    tmp_path: Path, status: dict[str, Any], decided: bool
) -> None:
    pair = Pair("alpha", tmp_path)
    pair.crosses = lambda: pair.broken.update(status)
    found: list[bool] = []

    def wait(reached: Callable[[], bool]) -> bool:
        found.append(reached())
        return found[-1]

    with contextlib.suppress(PairkeepError):
        upgrade(replace(pair.tools, wait=wait), [], hand_over=True)
    assert found[0] == decided


def test_what_goes_wrong_on_the_way_leaves_the_node_in_standby_and_can_be_gone_on_with(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    pair.offers = SIMULATED.splitlines()[1]
    stale = {"disk": "Inconsistent", "connection": "SyncTarget"}
    good = {"disk": "UpToDate", "connection": "Connected"}
    drbd = [{"name": "shopdata", "current": ["alpha"], "nodes": {"alpha": good, "beta": stale}}]
    pair.breaks = lambda: pair.broken.update(drbd=drbd)
    with pytest.raises(PairkeepError, match="the copy of shopdata on beta is Inconsistent, SyncTarget"):
        upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert pair.standby == {"beta"}
    said = [text for text in pair.done if text.startswith("waiting until all is well again")]
    assert said == [f"{said[0].splitlines()[0]}\n  the copy of shopdata on beta is Inconsistent, SyncTarget"]
    with pytest.raises(InputError, match="not now"):
        check(pair.tools, hand_over=False)
    pair.broken.clear()
    check(pair.tools, hand_over=False)
    assert upgrade(pair.tools, look(pair.tools), hand_over=False)
    assert not pair.standby


def test_power_lost_before_the_standby_begins_anew(tmp_path: Path) -> None:
    pair = Pair("beta", tmp_path)
    pair.tools.begun.write_text('{"boot_id": "boot 1", "kernel": false}')
    pair.boot_id, pair.offers = "boot 2", SIMULATED.splitlines()[1]
    check(pair.tools, hand_over=False)
    assert upgrade(pair.tools, look(pair.tools), hand_over=False)


WHOLE = {"disk": "UpToDate", "connection": "Connected"}


def _beta(state: str, *, up_to_date: bool = True) -> dict[str, Any]:
    return {"name": "beta", "state": state, "votes_only": False, "up_to_date": up_to_date}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"quorate": False}, "there is no quorum"),
        ({"maintenance": True}, "the cluster is in maintenance"),
        ({"settled": False}, "not on a majority of the disks yet"),
        (
            {"nodes": [{"name": "beta", "state": "offline", "votes_only": False, "up_to_date": False}]},
            "beta is offline",
        ),
        (
            {"nodes": [{"name": "beta", "state": "standby", "votes_only": False, "up_to_date": True}]},
            "beta is standby",
        ),
        (
            {"nodes": [_beta("online", up_to_date=False)]},
            "beta does not run by the cluster.toml in force",
        ),
        (
            {"groups": [{"name": "shop", "state": "stopped", "node": None, "reason": "so", "resources": []}]},
            "shop is stopped: so",
        ),
        (
            {
                "groups": [
                    {
                        "name": "shop",
                        "state": "running",
                        "node": "alpha",
                        "resources": [{"id": "address:x", "fails": {"beta": 1}}],
                    }
                ]
            },
            "address:x has failed on beta",
        ),
        (
            {
                "drbd": [
                    {
                        "name": "d",
                        "current": ["alpha"],
                        "nodes": {"beta": {"disk": "UpToDate", "connection": "Connected"}},
                    }
                ]
            },
            "does not count as newest yet",
        ),
    ],
)
def test_nothing_may_be_wrong_while_a_node_is_out(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    pair = Pair("beta", tmp_path)
    assert obstacles(pair.status()) == []
    assert any(message in each for each in obstacles(pair.status() | broken))
