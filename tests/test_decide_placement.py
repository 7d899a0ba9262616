# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a group runs and why, and the steps there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.config.target import TargetRole
from appliance.decide import decide, decide_without_quorum
from appliance.decide.steps import Connect, ForceUpToDate, Outdate, SkipFirstSync, Start, Step, Stop, Up
from appliance.decide.view import ClusterView, DrbdReport, GroupReport, Record, Report, Stamp, State
from appliance.sim.cluster import lab_cluster

CLUSTER = lab_cluster()
UP: tuple[State, ...] = ("started",) * 4
OFF: tuple[State, ...] = ("stopped",) * 4
PAIRED = DrbdReport("Secondary", "UpToDate", "Connected", "UpToDate", "Secondary")
ALONE = DrbdReport("Secondary", "UpToDate", "WFConnection")
BOTH = Record(Stamp(1, 0), current={"shopdata": ("alpha", "beta")}, formatted=("filesystem:/srv/mysql",))


def report(node: str, states: tuple[State, ...] = OFF, drbd: DrbdReport = PAIRED, **more: object) -> Report:
    share = GroupReport(states, (0, 0, 0, 0))
    worker = not CLUSTER.node(node).votes_only
    made = Report(node, "boot", "1", True, {"shop": share}, {"shopdata": drbd} if worker else {}, BOTH)
    return replace(made, **more)  # type: ignore[arg-type]


def view(*reports: Report, record: Record = BOTH, **more: object) -> ClusterView:
    members = tuple(r.node for r in reports)
    holder = next((r.node for r in reports if r.groups["shop"].holds), None)
    claims = {} if holder is None else {"shop": holder}
    made = ClusterView(CLUSTER, "1", 1, members, {r.node: r for r in reports}, record, adopted=True, claims=claims)
    return replace(made, **more)  # type: ignore[arg-type]


def failing(node: str, fails: tuple[int, ...], states: tuple[State, ...] = OFF, stuck: str = "") -> Report:
    return report(node, groups={"shop": GroupReport(states, fails, stuck)})


DOWN = ("alpha",)
STALE = replace(BOTH, current={"shopdata": ("alpha",)})

PLACEMENTS = [
    pytest.param(
        view(report("alpha"), report("beta"), report("witness")), "alpha", "starts on alpha", id="preferred"
    ),
    pytest.param(
        view(report("alpha"), report("beta", UP), report("witness")), "beta", "runs on beta", id="no failback"
    ),
    pytest.param(
        view(report("beta", drbd=ALONE), report("witness")),
        None,
        "waiting for alpha: it has left the cluster and may still be running",
        id="not surely down",
    ),
    pytest.param(
        view(report("beta", drbd=ALONE, down=DOWN), report("witness")), None, "waiting for alpha", id="one doubts"
    ),
    pytest.param(
        view(report("beta", drbd=ALONE, down=DOWN), report("witness", down=DOWN)),
        "beta",
        "starts on beta",
        id="surely down",
    ),
    pytest.param(
        view(report("beta", drbd=ALONE, down=DOWN), report("witness", down=DOWN), record=STALE),
        None,
        "no node can run it",
        id="stale by the record",
    ),
    pytest.param(
        view(
            report("beta", drbd=replace(ALONE, disk="Consistent"), down=DOWN),
            report("witness", down=DOWN),
        ),
        None,
        "no node can run it",
        id="stale by the disk",
    ),
    pytest.param(
        view(
            report("beta", drbd=ALONE),
            report("witness"),
            record=replace(BOTH, detached=("alpha",)),
        ),
        None,
        "waiting for alpha: its supervisor was stopped while services ran on",
        id="detached",
    ),
    pytest.param(view(report("alpha", UP)), None, "no quorum: 1 of 3 nodes are here", id="alone"),
    pytest.param(
        view(report("alpha", UP), report("beta", quorate=False)),
        None,
        "no quorum: corosync on beta does not see a majority yet",
        id="corosync behind",
    ),
    pytest.param(
        view(report("alpha", UP), report("beta"), record=replace(BOTH, standby=("alpha",))),
        "beta",
        "moving to beta; alpha: it is in standby",
        id="standby",
    ),
    pytest.param(
        view(report("alpha", UP), report("beta"), record=replace(BOTH, wanted={"shop": "beta"})),
        "beta",
        "moving to beta as ordered",
        id="switchover",
    ),
    pytest.param(
        view(report("alpha", UP, leaving=True), report("beta")),
        "beta",
        "moving to beta; alpha: it is shutting down",
        id="shutdown",
    ),
    pytest.param(
        view(report("alpha", UP, stopping=True), report("beta")),
        "alpha",
        "runs on alpha, left as it is while the supervisor there is stopped",
        id="supervisor stops",
    ),
    pytest.param(
        view(failing("alpha", (0, 0, 3, 0), UP), report("beta")),
        "beta",
        "moving to beta; alpha: service:mariadb.service has failed there too often",
        id="worn out",
    ),
    pytest.param(
        view(failing("alpha", (0, 0, 3, 0), UP), failing("beta", (0, 0, 0, 3))),
        "alpha",
        "stays on alpha although",
        id="both worn out",
    ),
    pytest.param(
        view(failing("alpha", (0, 0, 3, 0)), failing("beta", (0, 0, 0, 3))),
        "alpha",
        "tries alpha again although",
        id="both worn out and off",
    ),
    pytest.param(
        view(failing("alpha", (0, 0, 0, 0), UP, "it hangs"), report("beta")),
        "alpha",
        "it hangs; nothing can start elsewhere until alpha is reset",
        id="stuck",
    ),
    pytest.param(
        view(failing("alpha", (0, 0, 0, 0), UP, "it hangs"), report("beta", UP)),
        "beta",
        "found on alpha and beta at once",
        id="stuck and running elsewhere",
    ),
    pytest.param(
        view(report("alpha", UP), report("beta", UP), record=replace(BOTH, current={"shopdata": ("beta",)})),
        "beta",
        "found on alpha and beta at once",
        id="twice: the newer data stay",
    ),
    pytest.param(
        view(report("alpha", UP), report("beta"), record=replace(BOTH, maintenance=True)),
        "alpha",
        "maintenance: runs on alpha, left as it is",
        id="maintenance",
    ),
    pytest.param(
        view(
            report("alpha"),
            report("beta", groups={"shop": GroupReport(OFF, (0, 0, 0, 0), claimed=True)}),
        ),
        "beta",
        "starts on beta",
        id="a begun start goes on",
    ),
]


@pytest.mark.parametrize(("seen", "node", "reason"), PLACEMENTS)
def test_a_group_is_placed_for_a_reason(seen: ClusterView, node: str | None, reason: str) -> None:
    placement = decide(seen).placements["shop"]
    assert (placement.node, placement.reason[: len(reason)]) == (node, reason)


def test_the_reasons_against_the_other_nodes_are_told() -> None:
    seen = view(report("beta", drbd=replace(ALONE, disk="Outdated")), report("witness"), record=STALE)
    against = dict(decide(seen).placements["shop"].nodes)
    assert against["beta"] == "its copy of shopdata lacks newer writes that alpha has"
    assert against["alpha"].startswith("it has left the cluster and may still be running")


def steps(seen: ClusterView) -> dict[str, tuple[Step, ...]]:
    return {node: todo for node, todo in decide(seen).steps.items() if todo}


def states(text: str) -> tuple[State, ...]:
    words: dict[str, State] = {"+": "started", "-": "stopped", "!": "failed"}
    return tuple(words[c] for c in text)


@pytest.mark.parametrize(
    ("here", "step"),
    [
        ("----", Start("shop", 0)),
        ("+---", Start("shop", 1)),
        ("++--", Start("shop", 2)),
        ("+++-", Start("shop", 3)),
        ("++++", None),
        # The address stands on nothing: it stays while the service below it is started again.
        ("++-+", Start("shop", 2)),
        ("++!+", Stop("shop", 2)),
        # A service without its filesystem has to go first.
        ("+-++", Stop("shop", 2)),
        ("-+--", Stop("shop", 1)),
        ("+++!", Stop("shop", 3)),
    ],
)
def test_resources_start_in_order_and_stand_on_what_is_below(here: str, step: Step | None) -> None:
    seen = view(report("alpha", states(here)), report("beta"), report("witness"))
    assert steps(seen) == ({} if step is None else {"alpha": (step,)})


def test_an_address_of_a_target_goes_before_the_target_is_started_again() -> None:
    (shop,) = CLUSTER.groups
    resources = (*shop.resources[:2], TargetRole("store"), shop.resources[3])
    cluster = replace(CLUSTER, groups=(replace(shop, resources=resources),))
    for here, step in (("++!+", Stop("shop", 3)), ("++-+", Stop("shop", 3)), ("++--", Start("shop", 2))):
        seen = view(report("alpha", states(here)), report("beta"), report("witness"), cluster=cluster)
        assert steps(seen) == {"alpha": (step,)}


@pytest.mark.parametrize(("here", "index"), [("++++", 3), ("+++-", 2), ("+-!-", 2), ("+---", 0)])
def test_a_group_that_moves_stops_from_the_end_before_it_starts_elsewhere(here: str, index: int) -> None:
    record = replace(BOTH, standby=("alpha",))
    seen = view(report("alpha", states(here)), report("beta"), record=record)
    assert steps(seen) == {"alpha": (Stop("shop", index),)}


def test_nothing_starts_while_another_node_is_about_to() -> None:
    claims = report("beta", groups={"shop": GroupReport(OFF, (0, 0, 0, 0), claimed=True)})
    seen = view(report("alpha"), claims, claims={"shop": "alpha"})
    assert decide(seen).placements["shop"].node == "alpha"
    assert steps(seen) == {}


def test_only_a_filesystem_that_is_not_on_record_may_be_made() -> None:
    seen = view(report("alpha", states("+---")), report("beta"), record=replace(BOTH, formatted=()))
    assert steps(seen) == {"alpha": (Start("shop", 1, may_format=True),)}


def test_without_quorum_everything_stops_from_the_end() -> None:
    assert decide_without_quorum(CLUSTER, {"shop": GroupReport(states("++!-"), (0,) * 4)}) == (Stop("shop", 2),)
    assert decide_without_quorum(CLUSTER, {"shop": GroupReport(OFF, (0,) * 4)}) == ()


FRESH = DrbdReport("Secondary", "Inconsistent", "Connected", "Inconsistent", "Secondary", fresh=True)
BLANK_PAIR = view(report("alpha", drbd=FRESH), report("beta", drbd=FRESH), record=Record())


def test_what_drbd_needs_is_done_whoever_uses_it() -> None:
    late = view(report("alpha", UP), report("beta", drbd=DrbdReport()))
    assert steps(late) == {"beta": (Up("shopdata"),)}
    assert steps(BLANK_PAIR) == {"alpha": (SkipFirstSync("shopdata"),)}
    stale = view(report("alpha", UP), report("beta", drbd=ALONE), record=STALE)
    assert steps(stale) == {"beta": (Outdate("shopdata"),)}
    apart = replace(ALONE, connection="StandAlone", split_brain=True)
    split = view(report("alpha", UP, drbd=apart), report("beta", drbd=apart), record=STALE)
    assert steps(split) == {}
    decided = replace(split, record=replace(STALE, discard={"shopdata": "beta"}))
    assert steps(decided) == {"alpha": (Connect("shopdata"),), "beta": (Connect("shopdata", discard=True),)}
    forced = replace(STALE, current={"shopdata": ("beta",)}, forced={"shopdata": "beta"})
    old = report("beta", drbd=replace(ALONE, disk="Consistent"))
    away = view(old, report("witness"), record=forced)
    assert steps(away) == {}
    dead = view(*(replace(r, down=("alpha",)) for r in (old, report("witness"))), record=forced)
    assert steps(dead)["beta"] == (ForceUpToDate("shopdata"),)
    in_use = view(old, report("alpha", drbd=replace(ALONE, role="Primary")), record=forced)
    assert "beta" not in steps(in_use)
    given_up = view(report("alpha", UP), report("beta", drbd=replace(ALONE, connection="StandAlone")))
    assert steps(given_up) == {"beta": (Connect("shopdata"),)}


def test_disks_that_never_met_are_not_used() -> None:
    reason = dict(decide(BLANK_PAIR).placements["shop"].nodes)["alpha"]
    assert reason == "shopdata has no data yet: both disks have to meet for the first time"


def test_a_service_leaves_a_node_that_has_lost_its_gateway_while_the_other_has_not() -> None:
    cut_off = report("alpha", UP, unreached=("10.9.1.1",))
    assert decide(view(cut_off, report("beta"))).placements["shop"].reason == (
        "moving to beta; alpha: it cannot reach 10.9.1.1, beta can"
    )
    both = view(cut_off, report("beta", unreached=("10.9.1.1",)))
    assert decide(both).placements["shop"].node == "alpha"


FULL = "it cannot write its record: No space left on device"


def test_a_service_leaves_a_node_that_cannot_write_its_record() -> None:
    seen = view(report("alpha", UP, unwritten=FULL), report("beta"), report("witness", unwritten=FULL))
    assert decide(seen).placements["shop"].reason == f"moving to beta; alpha: {FULL}"


def test_a_service_stays_where_the_record_cannot_be_written_if_no_other_node_can_run_it() -> None:
    record = replace(BOTH, standby=("beta",))
    seen = view(report("alpha", UP, unwritten=FULL), report("beta"), report("witness"), record=record)
    placement = decide(seen).placements["shop"]
    assert placement.node == "alpha"
    assert placement.reason == f"stays on alpha although {FULL}; no other node can run it"
    assert decide(seen).steps["alpha"] == ()


@pytest.mark.parametrize("claimed", [True, False])
def test_nothing_is_started_where_the_record_cannot_be_written(claimed: bool) -> None:
    record = replace(BOTH, standby=("beta",))
    share = GroupReport(OFF, (0,) * 4, claimed=claimed)
    alpha = report("alpha", unwritten=FULL, groups={"shop": share})
    placement = decide(view(alpha, report("beta"), report("witness"), record=record)).placements["shop"]
    assert (placement.node, placement.reason) == (None, "no node can run it")
    assert dict(placement.nodes)["alpha"] == FULL


def test_a_service_leaves_a_node_whose_disk_has_failed() -> None:
    diskless = DrbdReport("Primary", "Diskless", "Connected", "UpToDate", "Secondary")
    seen = view(report("alpha", UP, drbd=diskless), report("beta"))
    placement = decide(seen).placements["shop"]
    assert (placement.node, placement.reason) == (
        "beta",
        "moving to beta; alpha: its disk of shopdata has failed, it works on the other node's",
    )
    busy = view(report("alpha", UP, drbd=diskless), report("beta"), record=replace(BOTH, standby=("beta",)))
    assert decide(busy).placements["shop"].node == "alpha"
    unproven = replace(BOTH, current={"shopdata": ("alpha",)})
    assert (
        decide(view(report("alpha", UP, drbd=diskless), report("beta"), record=unproven)).placements["shop"].node
        is None
    )
    lost = replace(diskless, peer_disk="DUnknown", connection="WFConnection")
    assert decide(view(report("alpha", UP, drbd=lost), report("beta"))).placements["shop"].node == "beta"
