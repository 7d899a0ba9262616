# SPDX-License-Identifier: GPL-2.0-or-later
"""What demo and scenarios judge by: two Primaries, outages, where the seconds went, and the picture of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest

from appliance.decide.view import BLANK
from appliance.errors import PairkeepError
from appliance.lab.lab import Lab
from appliance.lab.outage import breakdown
from appliance.lab.timeline import Mark, svg
from appliance.lab.trial import Trial, reason
from appliance.lab.watch import Sample, overlap_s, primary_intervals
from appliance.lab.writer import Acknowledged, longest_outage, read_log
from appliance.sim.cluster import lab_cluster
from appliance.supervisor.core import Core
from appliance.supervisor.status import status

ROWS = [Acknowledged(1, 100.0), Acknowledged(2, 100.1), Acknowledged(3, 118.6), Acknowledged(4, 118.7)]


def _samples(*roles: str) -> list[Sample]:
    return [Sample(float(at), at + 0.1, role) for at, role in enumerate(roles)]


def test_two_primaries_at_one_time_are_noticed() -> None:
    first = primary_intervals(_samples("Primary", "Primary", "Primary", "Secondary"))
    second = primary_intervals(_samples("Secondary", "Primary", "Primary", "Primary"))
    assert overlap_s(first, second) == pytest.approx(0.9)


def test_a_handover_is_not_taken_for_two_primaries() -> None:
    first = primary_intervals(_samples("Primary", "Primary", "Secondary", "Secondary"))
    second = primary_intervals(_samples("Secondary", "Secondary", "Primary", "Primary"))
    assert overlap_s(first, second) == 0


def test_a_silent_machine_is_not_called_primary() -> None:
    assert primary_intervals(_samples("Primary", "silent", "Primary")) == []


@pytest.mark.parametrize(
    ("alpha", "beta", "sight"),
    [
        (_samples("Secondary", "Primary", "silent"), _samples("Secondary", "silent", "Secondary"), None),
        (_samples("Primary", "Primary"), _samples("silent", "silent"), "not seen, of beta"),
        (_samples("Secondary"), _samples("Secondary"), "not seen, of a Primary"),
        ([], [], "not seen, of alpha and beta"),
    ],
)
def test_who_saw_nothing_does_not_say_that_there_were_never_two_primaries(
    alpha: list[Sample], beta: list[Sample], sight: str | None
) -> None:
    pair = _Told(Lab("none"))
    pair.said = {"witness": {"quorate": True, "drbd": [{"nodes": {"alpha": {"disk": "UpToDate"}}}]}}
    pair._watch.samples = {"alpha": alpha, "beta": beta}
    # Nothing runs that would have to be ended.
    with patch.object(Trial, "stop"):
        if sight is None:
            assert pair.finish().both_primary_s == 0
        else:
            with pytest.raises(PairkeepError, match=sight):
                pair.finish()
        # Where there is no DRBD there are no roles.
        pair.said["witness"]["drbd"] = []
        pair.finish()


def test_the_longest_pause_after_a_moment_is_the_outage() -> None:
    assert longest_outage(ROWS, since=100.05).seconds == pytest.approx(18.5)


def test_a_half_written_last_line_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(json.dumps({"row": 1, "at": 2.0}) + '\n{"row": 2, "a')
    assert read_log(log) == [Acknowledged(1, 2.0)]


def test_the_parts_of_an_outage_add_up() -> None:
    steps = [
        ("drbd:d", 116.0, 1.0),
        ("filesystem:/x", 116.6, 0.5),
        ("service:m", 118.0, 1.2),
        ("address:a", 118.2, 0.1),
    ]
    events = [
        {"kind": "left", "node": "alpha", "at": 101.8},
        *({"kind": "step", "step": "start", "resource": r, "at": at, "seconds": s} for r, at, s in steps),
    ]
    parts = breakdown(100.12, "alpha", ROWS, events)
    assert parts.detection == pytest.approx(1.7)
    assert parts.safety_wait == pytest.approx(13.2)
    assert parts.takeover == pytest.approx(3.2)
    values = parts.as_json()
    whole = values.pop("total")
    del values["takeover"]
    assert sum(values.values()) == pytest.approx(whole)


def test_the_picture_is_well_formed_and_escapes_what_it_is_told() -> None:
    text = svg("a < b", [row.at for row in ROWS], [Mark(100.1, "cut & gone")], (100.1, 118.6))
    texts = [element.text for element in ET.fromstring(text).iter() if element.tag.endswith("text")]
    assert "a < b" in texts
    assert "cut & gone" in texts


class _Told(Trial):
    """A trial whose machines say what ``said`` holds."""

    said: dict[str, Any]

    def ask(self, machine: str, method: str) -> Any:
        assert method == "Status"
        if machine not in self.said:
            raise PairkeepError(f"{machine} is off")
        return self.said[machine]


def test_the_status_is_that_of_a_machine_with_quorum() -> None:
    cut_off = {"quorate": False, "nodes": ["witness"]}
    quorate = {"quorate": True, "nodes": ["beta"]}
    pair = _Told(Lab("none"))
    pair.said = {"witness": cut_off, "beta": quorate}
    assert pair.status() == quorate
    assert pair.status("witness") == cut_off
    # Better one that has none than nothing.
    pair.said = {"witness": cut_off}
    assert pair.status() == cut_off
    pair.said = {}
    assert pair.status()["groups"] == []


def test_what_stands_for_no_answer_has_what_is_asked_of_an_answer() -> None:
    cluster = lab_cluster()
    real = status(Core(cluster, "alpha", "boot", BLANK, Mock(now=lambda: 0.0)), {}, [])
    pair = _Told(Lab("none"))
    pair.said = {}
    found = pair.status()
    assert {key: type(value) for key, value in found.items()} == {key: type(real[key]) for key in found}
    assert found["votes"].keys() == real["votes"].keys()
    assert {"config", "votes", "settled", "maintenance"} <= found.keys()


def test_a_refusal_is_told_with_all_that_speaks_against_each_node() -> None:
    group = {"reason": "no node can run it", "nodes": {"alpha": "it is down", "beta": "it is in standby"}}
    assert reason({"groups": [group]}) == "no node can run it; alpha: it is down; beta: it is in standby"
    assert reason({"groups": []}) == ""
