# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that gets nothing done, told from the kernel's counters."""

from __future__ import annotations

from appliance.drivers.disk_activity import MOST_S, Activity, Standstill, activity, parse_stat

# Of a kernel 6.12: 100 reads, 200 writes, 3 discards and 40 flushes done, 2 requests on their way.
STAT = "  100  5  8000  90  200  7  9000  150  2  120  260  3  0  64  1  40  20\n"


def test_what_is_finished_and_what_is_on_its_way() -> None:
    assert parse_stat(STAT) == Activity(343, 2)
    assert parse_stat("1 0 0 0 2 0 0 0 0 0 0") == Activity(3, 0)


def test_a_disk_that_is_not_there() -> None:
    assert activity("/dev/no-such-disk") is None


def waited(*looks: tuple[float, Activity | None]) -> float:
    still = Standstill()
    return [still.seen(now, found) for now, found in looks][-1]


def test_only_a_disk_that_is_asked_and_does_nothing_stands_still() -> None:
    busy = Activity(10, 1)
    assert waited((0, busy), (3, busy), (6, busy)) == 6
    assert waited((0, busy), (3, busy), (6, Activity(11, 1))) == 0
    assert waited((0, busy), (3, Activity(10, 0)), (6, busy), (9, busy)) == 3 + 3
    assert waited((0, busy), (3, busy), (6, None)) == 0


def test_a_machine_that_stood_still_itself_does_not_blame_its_disk() -> None:
    assert waited((0, Activity(10, 1)), (3000, Activity(10, 1))) == MOST_S
