# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups that run together, apart, or one after the other; and which node a group likes better."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from appliance.config.model import Cluster, Group, Node, Service
from appliance.decide import decide
from appliance.decide.fold import fold, with_members
from appliance.decide.messages import Reported, Switchover
from appliance.decide.steps import Start, Stop
from appliance.decide.view import ClusterView, GroupReport, Record, Report

NODES = tuple(
    Node(name, i, (IPv4Address(f"10.9.1.1{i}"),), votes_only=name == "witness")
    for i, name in enumerate(("alpha", "beta", "witness"), start=1)
)


def group(name: str, **more: object) -> Group:
    return replace(Group(name, (Service(f"{name}.service"),)), **more)  # type: ignore[arg-type]


def see(groups: tuple[Group, ...], alpha: str = "", beta: str = "", **more: object) -> ClusterView:
    """A settled view in which the groups named run where they are named; ``x?`` has failed, ``x!`` thrice there."""
    cluster = Cluster("shop", NODES, (IPv4Network("10.9.1.0/24"),), groups=groups)
    runs = {"alpha": alpha.split(), "beta": beta.split(), "witness": []}
    reports = {}
    for node, words in runs.items():
        shares = {}
        for g in groups:
            state = "started" if g.name in words else "failed" if f"{g.name}?" in words else "stopped"
            shares[g.name] = GroupReport((state,), (3 if f"{g.name}!" in words else 0,))  # type: ignore[arg-type]
        reports[node] = Report(node, "boot", "1", True, shares, {}, Record())
    made = ClusterView(cluster, "1", 1, tuple(reports), reports, Record(), adopted=True)
    return replace(made, **more)  # type: ignore[arg-type]


def where(view: ClusterView, name: str) -> str | None:
    return decide(view).placements[name].node


def why(view: ClusterView, name: str) -> str:
    placement = decide(view).placements[name]
    return f"{placement.reason}; {dict(placement.nodes)}"


DB = group("db", prefer="beta")
WEB = group("web", leader="db", after=("db",))
BATCH = group("batch", prefer="beta", apart_from=("db",))


def test_a_group_goes_where_its_leader_goes() -> None:
    view = see((WEB, DB), beta="db")
    assert (where(view, "web"), where(view, "db")) == ("beta", "beta")
    assert decide(view).steps["beta"] == (Start("web", 0),)


def test_a_group_waits_for_those_that_it_comes_after() -> None:
    view = see((WEB, DB))
    assert (where(view, "web"), where(view, "db")) == (None, "beta")
    assert "it runs after db, which does not run yet" in why(view, "web")
    assert decide(view).steps["beta"] == (Start("db", 0),)


def test_a_group_stops_before_the_one_that_it_comes_after_leaves() -> None:
    view = see((WEB, DB), beta="db web", record=Record(standby=("beta",)))
    assert (where(view, "web"), where(view, "db")) == (None, "alpha")
    assert "which is leaving beta" in why(view, "web")
    assert decide(view).steps["beta"] == (Stop("web", 0),)


def test_a_group_about_to_start_holds_back_the_stop_of_the_one_before_it() -> None:
    view = see((WEB, DB), beta="db", record=Record(standby=("beta",)))
    beta = view.reports["beta"]
    claims = replace(beta, groups={**beta.groups, "web": GroupReport(("stopped",), (0,), claimed=True)})
    assert decide(replace(view, reports={**view.reports, "beta": claims})).steps["beta"] == ()


def test_a_restart_in_place_leaves_what_comes_after_alone() -> None:
    view = see((WEB, DB), beta="db? web")
    assert where(view, "web") == "beta"
    assert decide(view).steps["beta"] == (Stop("db", 0),)


def test_a_leader_leaves_a_node_where_its_follower_fails() -> None:
    view = see((WEB, DB), beta="db web!")
    assert where(view, "db") == "alpha"
    assert "web, which runs with it: service:web.service has failed there too often" in why(view, "db")


def test_a_leader_stays_where_its_follower_fails_on_both() -> None:
    assert where(see((WEB, DB), alpha="web!", beta="db web!"), "db") == "beta"


def test_a_follower_of_a_leader_without_a_place_stops() -> None:
    view = see((DB, group("logs", leader="db")), beta="db logs", record=Record(standby=("alpha", "beta")))
    assert where(view, "logs") is None
    assert "it is in standby" in why(view, "logs")


def test_a_group_keeps_apart_and_gives_way() -> None:
    view = see((BATCH, DB), alpha="db", beta="batch", record=Record(standby=("alpha",)))
    assert (where(view, "db"), where(view, "batch")) == ("beta", None)
    assert "it keeps apart from db, which belongs there" in why(view, "batch")
    # The database is not started there before the other is gone.
    assert decide(view).steps["beta"] == (Stop("batch", 0),)
    gone = see((BATCH, DB), record=Record(standby=("alpha",)))
    assert decide(gone).steps["beta"] == (Start("db", 0),)


def test_a_group_that_keeps_apart_waits_until_the_other_has_left() -> None:
    view = see((BATCH, DB), alpha="db", record=Record(standby=("alpha",)))
    assert where(view, "batch") is None
    assert "beta" not in decide(view).steps or decide(view).steps["beta"] == ()


def test_points_rank_the_nodes() -> None:
    likes = group("db", scores={"alpha": 5, "beta": 20})
    assert where(see((likes,)), "db") == "beta"
    assert where(see((replace(likes, never=("beta",)),)), "db") == "alpha"
    assert "its score there is never" in why(see((replace(likes, never=("beta",)),)), "db")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "alpha"),
        ({"failback": True}, "beta"),
        ({"failback": True, "stickiness": 99}, "beta"),
        ({"failback": True, "stickiness": 100}, "alpha"),
        ({"failback": True, "failback_delay_s": 60.0}, "alpha"),
    ],
)
def test_moving_back_takes_points_and_time(changes: dict[str, object], expected: str) -> None:
    view = see((replace(DB, **changes),), alpha="db")  # type: ignore[arg-type]
    assert where(view, "db") == expected


def test_moving_back_after_the_delay() -> None:
    view = see((replace(DB, failback=True, failback_delay_s=60.0),), alpha="db")
    fit = replace(view.reports["beta"], fit=("db",))
    assert where(replace(view, reports={**view.reports, "beta": fit}), "db") == "beta"


def folded(view: ClusterView, order: Switchover) -> ClusterView:
    fresh = with_members(view, 1, [(n, 1) for n in view.members])
    for name, report in view.reports.items():
        fresh = fold(fresh, name, Reported(replace(report, view_id=fresh.view_id)))
    return fold(fresh, "witness", replace(order, view_id=fresh.view_id))


def test_an_order_stays_in_force_against_moving_back() -> None:
    ordered = folded(see((replace(DB, failback=True),), alpha="db"), Switchover("", "db", "alpha"))
    assert ordered.record.wanted == {"db": "alpha"}
    assert where(ordered, "db") == "alpha"
    assert folded(see((DB,), alpha="db"), Switchover("", "db", "alpha")).record.wanted == {}


@pytest.mark.parametrize(
    ("groups", "name", "node"),
    [((WEB, DB), "web", "alpha"), ((BATCH, DB), "batch", "beta"), ((WEB, DB), "db", "alpha")],
    ids=["a follower", "where it may not be", "where it is worn out"],
)
def test_an_order_that_cannot_be_followed_is_dropped(groups: tuple[Group, ...], name: str, node: str) -> None:
    view = see(groups, alpha="db!", beta="db")
    assert folded(view, Switchover("", name, node)).record.wanted == {}


def test_a_stop_that_blocks_is_told() -> None:
    view = see((DB,), alpha="db", record=Record(standby=("alpha",)))
    share = GroupReport(("started",), (0,), blocked="service:db.service could not be stopped (it hangs)")
    blocked = replace(view, reports={**view.reports, "alpha": replace(view.reports["alpha"], groups={"db": share})})
    assert why(blocked, "db").startswith("moving to beta; alpha: it is in standby; service:db.service could not be")
    assert decide(blocked).steps["alpha"] == (Stop("db", 0),)
