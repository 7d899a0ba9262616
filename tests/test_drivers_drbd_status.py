# SPDX-License-Identifier: GPL-2.0-or-later
"""What DRBD 8.4 printed in a guest, and what is understood from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.drivers.base import DriverError
from appliance.drivers.drbd_status import DrbdStatus, EventsFold, parse_proc

FOLDER = Path(__file__).parent / "drbd"
PAIRED = DrbdStatus("Primary", "UpToDate", "Connected", "UpToDate", "Secondary")


def proc(minor: int, rest: str) -> str:
    return f"version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 637677C4EAFCF5D1D5446B0 \n {minor}: {rest}\n"


def history() -> list[DrbdStatus]:
    """The statuses that a recorded stream goes through, each once."""
    fold, seen = EventsFold(), list[DrbdStatus]()
    for line in (FOLDER / "events2-statistics.txt").read_text().splitlines():
        for name in fold.feed([line]):
            assert name == "shopdata"
            seen.append(fold.statuses[name])
    return seen


def test_a_stream_begins_with_what_exists() -> None:
    fold = EventsFold()
    lines = (FOLDER / "events2-statistics.txt").read_text().splitlines()
    assert fold.feed(lines[:5]) == {"shopdata"}
    assert fold.statuses == {
        "shopdata": DrbdStatus(
            "Secondary", "Inconsistent", "Connected", "Inconsistent", "Secondary", out_of_sync_kib=1048508
        )
    }
    assert not fold.lost


def test_half_of_what_exists_tells_nothing() -> None:
    """A Primary whose device is not told yet has not lost its disk."""
    fold = EventsFold()
    lines = (FOLDER / "events2-statistics.txt").read_text().splitlines()
    assert [fold.feed([line]) for line in lines[:5]] == [set()] * 4 + [{"shopdata"}]


def test_the_recorded_stream_ends_paired() -> None:
    assert history()[-1] == PAIRED


def test_connections_are_called_as_in_proc_drbd() -> None:
    names: list[str] = []
    for status in history():
        if not names or names[-1] != status.connection:
            names.append(status.connection)
    back = ["Unconnected", "WFConnection", "WFReportParams"]
    assert names == [
        *("Connected", "VerifyS", "Connected"),
        *("BrokenPipe", *back, "Connected", "VerifyS"),
        *("NetworkFailure", *back, "Connected"),
        *("Disconnecting", "StandAlone", *back, "WFBitMapS", "SyncSource", "Connected"),
    ]


def test_io_is_frozen_while_the_peer_is_unknown() -> None:
    frozen = [status for status in history() if status.suspended == "fencing"]
    assert frozen
    assert {status.role for status in frozen} == {"Primary"}
    assert "UpToDate" not in {s.peer_disk for s in frozen if s.connection == "WFConnection"}
    assert not any(status.paired for status in frozen if status.connection == "WFConnection")


def test_lines_that_change_nothing_are_not_told() -> None:
    fold = EventsFold()
    fold.feed(["exists resource name:r role:Secondary suspended:no write-ordering:flush", "exists -"])
    assert fold.feed(["change resource name:r", "", "call helper name:r helper:fence-peer"]) == set()


def test_taking_a_resource_down() -> None:
    fold = EventsFold()
    fold.feed((FOLDER / "events2-statistics.txt").read_text().splitlines())
    fold.feed(
        [
            "destroy peer-device name:shopdata peer-node-id:0 conn-name:peer volume:0",
            "destroy connection name:shopdata peer-node-id:0 conn-name:peer",
        ]
    )
    status = fold.statuses["shopdata"]
    assert (status.connection, status.peer_disk, status.peer_role) == ("StandAlone", "DUnknown", "Unknown")
    assert fold.feed(["destroy device name:shopdata volume:0 minor:0", "destroy resource name:shopdata"]) == {
        "shopdata"
    }
    assert fold.statuses == {}


def test_a_gap_is_noticed() -> None:
    fold = EventsFold()
    fold.feed(["- skipped 4"])
    assert fold.lost


def test_proc_of_a_pair() -> None:
    assert parse_proc(proc(0, "cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----"), 0) == PAIRED


def test_proc_of_frozen_io() -> None:
    status = parse_proc(
        proc(3, "cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C s-----\n    ns:0 oos:12"), 3
    )
    assert status == DrbdStatus(
        "Primary", "UpToDate", "WFConnection", "DUnknown", "Unknown", suspended="fencing", out_of_sync_kib=12
    )


def test_proc_without_a_connection_has_no_letter_of_a_protocol() -> None:
    text = proc(0, "cs:StandAlone ro:Primary/Unknown ds:UpToDate/Outdated   r-----\n    ns:0 oos:3536")
    assert parse_proc(text, 0) == DrbdStatus(
        "Primary", "UpToDate", "StandAlone", "Outdated", "Unknown", out_of_sync_kib=3536
    )


def test_proc_that_is_not_understood_is_no_resource_that_is_down() -> None:
    with pytest.raises(DriverError, match="says what is not understood: ' 0: cs:Connected something new'"):
        parse_proc(proc(0, "cs:Connected something new"), 0)


def test_proc_of_a_verify_tells_its_progress() -> None:
    status = parse_proc((FOLDER / "proc-verify.txt").read_text(), 0)
    assert status.connection == "VerifyS"
    assert (status.sync_percent, status.sync_left_s, status.out_of_sync_kib) == (33.3, 101.0, 64)


def test_proc_of_what_is_not_up() -> None:
    assert parse_proc(proc(0, "cs:Unconfigured"), 0) == DrbdStatus()
    assert (
        parse_proc(proc(10, "cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----"), 0) == DrbdStatus()
    )
    assert parse_proc("", 0) == DrbdStatus()


def test_proc_keeps_resources_apart() -> None:
    text = proc(0, "cs:StandAlone ro:Secondary/Unknown ds:UpToDate/DUnknown C r-----\n    ns:0 oos:0")
    text += " 1: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n    ns:0 oos:8\n"
    assert parse_proc(text, 0).connection == "StandAlone"
    assert parse_proc(text, 0).out_of_sync_kib == 0
    assert parse_proc(text, 1).out_of_sync_kib == 8
