# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever one supervisor says, the other one understands; whatever is no message is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.decide.messages import Message
from appliance.decide.view import BLANK, ClusterView, DrbdReport, GroupReport, Record, Report, Stamp
from appliance.errors import PairkeepError
from appliance.membership.codec import (
    CodecError,
    decode,
    encode,
    record_from_json,
    record_to_json,
    view_from_value,
    view_to_value,
)
from appliance.sim.cluster import lab_cluster
from appliance.supervisor import store

_SHARES = st.builds(
    GroupReport,
    states=st.lists(st.sampled_from(["stopped", "started", "failed"]), max_size=4).map(tuple),
    fails=st.lists(st.integers(0, 9), max_size=4).map(tuple),
)
_RECORDS = st.builds(
    Record,
    stamp=st.builds(Stamp, st.integers(0, 2**63), st.integers(0, 2**31)),
    current=st.dictionaries(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=2).map(tuple), max_size=2),
    formatted=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    standby=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    detached=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    maintenance=st.booleans(),
    wanted=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
)
st.register_type_strategy(GroupReport, _SHARES)
st.register_type_strategy(Record, _RECORDS)
st.register_type_strategy(DrbdReport, st.builds(DrbdReport, sync_percent=st.none() | st.floats(0, 100)))
st.register_type_strategy(
    Report,
    st.builds(
        Report,
        groups=st.dictionaries(st.text(max_size=8), _SHARES, max_size=2),
        drbd=st.dictionaries(st.text(max_size=8), st.from_type(DrbdReport), max_size=2),
        down=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    ),
)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@given(st.one_of(*(st.from_type(kind) for kind in get_args(Message))))
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    assert decode(encode(message)) == message


@given(_RECORDS)
def test_a_record_comes_back_as_it_was_kept(record: Record) -> None:
    assert record_from_json(record_to_json(record)) == record


_VIEWS = st.builds(
    ClusterView,
    cluster=st.just(lab_cluster()),
    members=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    reports=st.dictionaries(st.text(max_size=8), st.from_type(Report), max_size=2),
    record=_RECORDS,
    persisted=st.dictionaries(st.text(max_size=8), st.from_type(Stamp), max_size=2),
    adopted=st.booleans(),
    claims=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
)


@given(_VIEWS)
def test_a_view_comes_back_as_it_was_dumped(view: ClusterView) -> None:
    assert view_from_value(json.loads(json.dumps(view_to_value(view))), view.cluster) == view


@pytest.mark.parametrize("value", [{}, {"view_id": 1}, None, []])
def test_what_is_no_view_is_refused(value: Any) -> None:
    with pytest.raises(CodecError):
        view_from_value(value, lab_cluster())


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b'["Nothing",{}]', b'["Beat",{}]', b'["Beat",{"sent_at":"x"}]']
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(data)


def test_the_record_survives_on_disk_and_its_absence_is_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "pairkeep" / "record.json"
    assert store.load(path) == BLANK
    record = Record(Stamp(7, 1), {"shopdata": ("beta",)}, standby=("alpha",))
    store.save(record, path)
    assert store.load(path) == record


def test_a_damaged_record_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"stamp": ')
    with pytest.raises(PairkeepError, match="is damaged"):
        store.load(path)
