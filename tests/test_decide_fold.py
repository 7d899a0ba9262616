# SPDX-License-Identifier: GPL-2.0-or-later
"""How messages change the common view and the record, whatever their order."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from appliance.decide.fold import fold, with_members
from appliance.decide.messages import (
    Change,
    Configure,
    Detach,
    Discard,
    Established,
    Exclude,
    Force,
    Formatted,
    Include,
    Lost,
    Message,
    Persisted,
    Reported,
    SetDrained,
    SetMaintenance,
    SetStandby,
    Switchover,
)
from appliance.decide.view import ClusterView, Configuration, DrbdReport, GroupReport, Record, Report, Stamp
from appliance.sim.cluster import lab_cluster

CLUSTER = lab_cluster()
NODES = ("alpha", "beta", "witness")
VIEW = "4/alpha:1,beta:2,witness:3"
PAIRED = DrbdReport("Secondary", "UpToDate", "Connected", "UpToDate", "Secondary")
BOTH = Record(Stamp(1, 0), current={"shopdata": ("alpha", "beta")})


def report(node: str, record: Record = BOTH, view: str = VIEW, *, claimed: bool = False) -> Reported:
    share = GroupReport(("stopped",) * 4, (0,) * 4, claimed=claimed)
    return Reported(Report(node, "boot", view, True, {"shop": share}, {"shopdata": PAIRED}, record))


def joined(*nodes: str) -> ClusterView:
    processes = [(node, pid) for pid, node in enumerate(NODES, start=1) if node in nodes]
    return with_members(ClusterView(CLUSTER), 4, processes)


def agreed(record: Record = BOTH) -> ClusterView:
    view = joined(*NODES)
    for node in NODES:
        view = fold(view, node, report(node, record))
    assert view.adopted
    return view


def test_a_view_counts_once_all_of_it_have_reported_in_it() -> None:
    view = fold(joined(*NODES), "alpha", report("alpha"))
    view = fold(view, "beta", report("beta", view="0/alpha:1,beta:2"))
    view = fold(view, "witness", report("witness"))
    assert not view.complete
    view = fold(view, "beta", report("beta"))
    assert view.quorate
    assert view.record.stamp == Stamp(4, 0)


def test_of_two_that_exclude_each_other_the_first_goes_on() -> None:
    view = fold(agreed(), "beta", Exclude(VIEW, "shopdata", "alpha"))
    view = fold(view, "alpha", Exclude(VIEW, "shopdata", "beta"))
    assert view.record.current["shopdata"] == ("beta",)


def test_only_who_is_current_can_vouch_for_another() -> None:
    view = fold(agreed(), "alpha", Exclude(VIEW, "shopdata", "beta"))
    assert fold(view, "beta", Include(VIEW, "shopdata", "beta")) is view
    view = fold(view, "alpha", Include(VIEW, "shopdata", "beta"))
    assert set(view.record.current["shopdata"]) == {"alpha", "beta"}


def test_nobody_can_vouch_for_a_node_that_is_not_here() -> None:
    alone = replace(BOTH, current={"shopdata": ("alpha",)})
    view = joined("alpha", "witness")
    for node in ("alpha", "witness"):
        view = fold(view, node, report(node, alone, view.view_id))
    assert view.adopted
    assert view.record.current["shopdata"] == ("alpha",)
    assert fold(view, "alpha", Include(view.view_id, "shopdata", "beta")) is view


def test_a_first_pair_is_established_once() -> None:
    view = fold(agreed(Record()), "alpha", Established(VIEW, "shopdata"))
    assert view.record.current["shopdata"] == ("alpha", "beta")
    view = fold(view, "alpha", Exclude(VIEW, "shopdata", "beta"))
    assert fold(view, "alpha", Established(VIEW, "shopdata")) is view


def test_a_switchover_that_cannot_be_is_forgotten() -> None:
    view = fold(agreed(), "witness", SetStandby(VIEW, "beta", True))
    view = fold(view, "witness", Switchover(VIEW, "shop", "beta"))
    assert view.record.wanted == {}


def test_of_two_that_stand_aside_at_once_the_first_does_and_a_person_is_free_to() -> None:
    view = fold(agreed(), "beta", SetStandby(VIEW, "beta", True, alone=True))
    assert fold(view, "alpha", SetStandby(VIEW, "alpha", True, alone=True)) is view
    assert fold(view, "beta", SetStandby(VIEW, "beta", True, alone=True)) is view
    assert fold(view, "alpha", SetStandby(VIEW, "alpha", True)).record.standby == ("alpha", "beta")
    view = fold(view, "beta", SetStandby(VIEW, "beta", False))
    assert fold(view, "alpha", SetStandby(VIEW, "alpha", True, alone=True)).record.standby == ("alpha",)


def test_drained_servers_are_on_record_until_they_are_enabled() -> None:
    view = fold(agreed(), "alpha", SetDrained(VIEW, "web/web2", True))
    view = fold(view, "witness", SetDrained(VIEW, "web/web1", True))
    assert view.record.drained == ("web/web1", "web/web2")
    assert fold(view, "beta", SetDrained(VIEW, "web/web2", False)).record.drained == ("web/web1",)
    assert fold(view, "beta", SetDrained(VIEW, "web/web2", True)) is view


def test_a_node_that_comes_back_is_attached_again() -> None:
    assert agreed(replace(BOTH, detached=("alpha",))).record.detached == ()


def test_the_first_to_claim_a_group_keeps_it_until_it_lets_go() -> None:
    view = fold(agreed(), "beta", report("beta", claimed=True))
    view = fold(view, "alpha", report("alpha", claimed=True))
    assert view.claims == {"shop": "beta"}
    view = fold(view, "beta", report("beta"))
    assert view.claims == {"shop": "alpha"}


def test_who_leaves_himself_out_leaves_the_other_and_the_last_one_cannot() -> None:
    view = fold(agreed(), "alpha", Exclude(VIEW, "shopdata", "alpha"))
    assert view.record.current["shopdata"] == ("beta",)
    # Both disks failed at once: the second to say so is the one that writes went on to last.
    assert fold(view, "beta", Exclude(VIEW, "shopdata", "beta")).record == view.record


workers = st.sampled_from(NODES[:2])
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(Established, st.just(VIEW), st.just("shopdata")),
    st.builds(Exclude, st.just(VIEW), st.just("shopdata"), workers),
    st.builds(Include, st.just(VIEW), st.just("shopdata"), workers),
    st.builds(Formatted, st.just(VIEW), st.sampled_from(("a", "b"))),
    st.builds(SetStandby, st.just(VIEW), workers, st.booleans(), st.booleans()),
    st.builds(SetMaintenance, st.just(VIEW), st.booleans()),
    st.builds(SetDrained, st.just(VIEW), st.sampled_from(["web/web1", "web/web2"]), st.booleans()),
    st.builds(Switchover, st.just(VIEW), st.just("shop"), st.none() | workers),
    st.builds(Detach, st.just(VIEW)),
)
sent = st.lists(st.tuples(st.sampled_from(NODES), changes), max_size=12)


@given(sent)
def test_somebody_always_holds_the_data_and_every_version_has_its_stamp(
    messages: list[tuple[str, Message]],
) -> None:
    view = agreed()
    for sender, message in messages:
        before, view = view, fold(view, sender, message)
        assert view.record.current["shopdata"]
        assert (view.record.stamp > before.record.stamp) == (view.record != before.record)
        if isinstance(message, Exclude) and view.record.current != before.record.current:
            assert sender in before.record.current["shopdata"]
            assert message.node not in view.record.current["shopdata"]


@given(sent, st.sampled_from(("another view", "no quorum", "a stranger")))
def test_what_does_not_count_changes_nothing(messages: list[tuple[str, Change]], why: str) -> None:
    view = agreed()
    if why == "no quorum":
        view = fold(joined("alpha"), "alpha", report("alpha", view="4/alpha:1"))
    for sender, message in messages:
        said = replace(message, view_id="3/alpha:1") if why == "another view" else message
        assert fold(view, "stranger" if why == "a stranger" else sender, said) is view


@given(st.permutations([1, 2, 3]), st.sampled_from(list(combinations(NODES, 2))))
def test_no_majority_misses_what_a_majority_has_on_disk(versions: list[int], present: tuple[str, ...]) -> None:
    """The record that two of three nodes hold is adopted by whichever two meet next, or a newer one is."""
    held = dict(zip(NODES, versions, strict=True))
    settled = sorted(versions)[1]
    view = joined(*present)
    for node in present:
        record = replace(BOTH, stamp=Stamp(held[node], 0), formatted=(str(held[node]),))
        view = fold(view, node, report(node, record, view.view_id))
    assert view.adopted
    assert int(view.record.formatted[0]) >= settled


def test_settled_means_that_a_majority_has_it_on_disk() -> None:
    view = fold(agreed(), "alpha", Exclude(VIEW, "shopdata", "beta"))
    view = fold(view, "alpha", Persisted(view.record.stamp))
    assert not view.settled
    view = fold(view, "beta", Persisted(Stamp(4, 0)))
    assert not view.settled
    assert fold(view, "witness", Persisted(view.record.stamp)).settled


def test_a_persons_word_makes_one_copy_the_newest_until_it_is() -> None:
    stale = report("beta")
    view = agreed(replace(BOTH, current={"shopdata": ("alpha",)}))
    lost = replace(stale.report, drbd={"shopdata": replace(PAIRED, disk="Consistent", connection="WFConnection")})
    view = fold(view, "beta", Reported(lost))
    view = fold(view, "beta", Force(VIEW, "shopdata", "beta"))
    assert view.record.current == {"shopdata": ("beta",)}
    assert view.record.forced == {"shopdata": "beta"}
    view = fold(view, "beta", stale)
    assert view.record.forced == {}
    assert view.record.current == {"shopdata": ("beta",)}


def test_a_copy_that_is_not_whole_counts_no_more_even_if_it_was_the_last() -> None:
    view = agreed(replace(BOTH, current={"shopdata": ("alpha",)}))
    assert fold(view, "beta", Lost(VIEW, "shopdata")).record.current == {"shopdata": ("alpha",)}
    view = fold(view, "alpha", Lost(VIEW, "shopdata"))
    assert view.record.current == {"shopdata": ()}
    for vouch in (
        Include(VIEW, "shopdata", "alpha"),
        Exclude(VIEW, "shopdata", "beta"),
        Established(VIEW, "shopdata"),
    ):
        assert fold(view, "beta", vouch).record.current == {"shopdata": ()}


def test_what_is_on_record_as_newest_is_never_thrown_away() -> None:
    apart = {"shopdata": replace(PAIRED, connection="StandAlone", split_brain=True)}
    view = agreed(replace(BOTH, current={"shopdata": ("alpha",)}))
    for node in ("alpha", "beta"):
        view = fold(view, node, Reported(replace(report(node).report, drbd=apart)))
    assert fold(view, "witness", Discard(VIEW, "shopdata", "alpha")).record.discard == {}
    view = fold(view, "witness", Discard(VIEW, "shopdata", "beta"))
    assert view.record.discard == {"shopdata": "beta"}
    forced = fold(view, "witness", Force(VIEW, "shopdata", "beta"))
    assert forced.record.discard == {}
    view = fold(view, "beta", report("beta"))
    assert view.record.discard == {}


def test_of_two_configurations_at_once_the_first_is_in_force_and_none_is_skipped() -> None:
    one, other = Configuration(1, "one"), Configuration(1, "another")
    view = fold(agreed(), "alpha", Configure(VIEW, one))
    assert view.record.config == one
    assert fold(view, "beta", Configure(VIEW, other)) is view
    assert fold(view, "beta", Configure(VIEW, Configuration(3, "too early"))) is view
    assert one.name != other.name
