# SPDX-License-Identifier: GPL-2.0-or-later
"""Drift: what somebody did by hand is found and put right, and nothing that keepalived did."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.virtual import Check, Real, Sorry, Virtual
from appliance.lvs.checkers import Checked, parse_dump
from appliance.lvs.drift import Difference, confirmed, differences
from appliance.lvs.table import Server, Service, ServiceKey, Table, parse_saved

FOLDER = Path(__file__).parent / "ipvs"
HEALTH = parse_dump((FOLDER / "keepalived_check.data").read_text().splitlines())
FOUND = (FOLDER / "with-keepalived.txt").read_text().splitlines()


def real(address: str, forward: str, weight: int) -> Real:
    return Real(address, ip_address(address), 80, forward, Check(), weight)  # type: ignore[arg-type]


WEB = Virtual(
    "web",
    ip_address("10.9.1.100"),
    80,
    (real("10.9.1.21", "dr", 3), real("10.9.1.22", "dr", 2), real("10.9.1.23", "dr", 1)),
    forward="dr",
)
SHOP = Virtual(
    "shop",
    ip_address("10.9.1.101"),
    80,
    (real("10.9.1.23", "nat", 5), real("10.9.1.22", "nat", 5)),
    scheduler="rr",
    sorry=Sorry(ip_address("10.9.1.24"), 80, "nat"),
    on_failure="quiesce",
)


def told(saved: list[str]) -> list[tuple[str, str]]:
    found = differences((WEB, SHOP), parse_saved(saved, []), HEALTH)
    return [(str(d), " ".join(d.repair)) for d in found]


def test_what_keepalived_made_is_no_drift() -> None:
    assert told(FOUND) == []


@pytest.mark.parametrize(
    ("taken", "put", "expected"),
    [
        (
            "-a -t 10.9.1.100:80 -r 10.9.1.21:80 -g -w 3",
            "",
            [("web: 10.9.1.21:80 is missing", "-a -t 10.9.1.100:80 -r 10.9.1.21:80 -g -w 3")],
        ),
        (
            "-a -t 10.9.1.100:80 -r 10.9.1.21:80 -g -w 3",
            "-a -t 10.9.1.100:80 -r 10.9.1.21:80 -m -w 1",
            [
                (
                    "web: 10.9.1.21:80 was changed: forwarding nat instead of dr, weight 1 instead of 3",
                    "-e -t 10.9.1.100:80 -r 10.9.1.21:80 -g -w 3",
                )
            ],
        ),
        # Quiesced by keepalived, and given a weight by somebody: it is down.
        (
            "-a -t 10.9.1.101:80 -r 10.9.1.23:80 -m -w 0",
            "-a -t 10.9.1.101:80 -r 10.9.1.23:80 -m -w 5",
            [
                (
                    "shop: 10.9.1.23:80 was changed: weight 5 instead of 0",
                    "-e -t 10.9.1.101:80 -r 10.9.1.23:80 -m -w 0",
                )
            ],
        ),
        (
            "",
            "-a -t 10.9.1.101:80 -r 10.9.1.99:80 -m -w 5",
            [
                (
                    "shop: 10.9.1.99:80 is a server that nobody configured",
                    "-d -t 10.9.1.101:80 -r 10.9.1.99:80",
                )
            ],
        ),
        (
            "-A -t 10.9.1.101:80 -s rr",
            "-A -t 10.9.1.101:80 -s wlc -p 300",
            [
                (
                    "shop: the service was changed: scheduler wlc instead of rr, persistent 300 instead of 0",
                    "-E -t 10.9.1.101:80 -s rr",
                )
            ],
        ),
        (
            "",
            "-A -u 10.9.1.101:53 -s rr",
            [("udp 10.9.1.101:53: nobody configured this service; it is left alone", "")],
        ),
    ],
    ids=["deleted", "changed", "waked", "added", "scheduler", "other-service"],
)
def test_what_was_done_by_hand_is_told_and_how_it_is_put_right(
    taken: str, put: str, expected: list[tuple[str, str]]
) -> None:
    saved = [put if line == taken else line for line in FOUND] + ([put] if not taken else [])
    assert told([line for line in saved if line]) == expected


def test_who_works_but_is_too_few_has_no_weight_beside_the_sorry_server() -> None:
    """on_failure = "quiesce" and a quorum of more than one: keepalived leaves it in the kernel with weight 0."""
    text = (FOLDER / "keepalived_check.data").read_text()
    shop = text.index("VS VIP = 10.9.1.101")
    last = text.rindex("RIP = 10.9.1.22", shop)
    works = text[:last] + text[last:].replace("alive = 0", "alive = 1", 1).replace(
        "checkers = 1", "checkers = 0", 1
    )
    health = parse_dump(works.splitlines())
    at = ServiceKey("tcp", "10.9.1.101", 80), "10.9.1.22:80"
    assert health[at] == Checked(up=True, present=True, weight=0)
    assert differences((WEB, SHOP), parse_saved(FOUND, []), health) == []
    # Once there are enough again, and the sorry server is gone, it has its own.
    enough = works[:shop] + works[shop:].replace("set = 1\n     alive = 1", "set = 0\n     alive = 0", 1)
    assert parse_dump(enough.splitlines())[at].weight == 5


def test_a_server_that_was_put_back_although_it_is_down_goes_again() -> None:
    # It has to stand behind its own service.
    saved = [*FOUND[:3], "-a -t 10.9.1.100:80 -r 10.9.1.23:80 -g -w 1", *FOUND[3:]]
    assert told(saved) == [
        ("web: 10.9.1.23:80 is there although it is down", "-d -t 10.9.1.100:80 -r 10.9.1.23:80")
    ]


def test_a_service_that_is_gone_comes_back_with_its_servers() -> None:
    found = told(FOUND[3:])
    assert [repair for _text, repair in found] == [
        "-A -t 10.9.1.100:80 -s wlc",
        "-a -t 10.9.1.100:80 -r 10.9.1.21:80 -g -w 3",
        "-a -t 10.9.1.100:80 -r 10.9.1.22:80 -g -w 2",
    ]


def test_what_keepalived_does_not_look_after_here_is_not_looked_at() -> None:
    assert differences((WEB, SHOP), {}, {}) == []


def test_only_what_stays_is_put_right() -> None:
    passing, staying = Difference("web", "a"), Difference("web", "b")
    assert confirmed([staying], [passing, staying]) == [staying]
    assert confirmed([staying], []) == []


def carried_out(table: Table, repairs: list[tuple[str, ...]]) -> Table:
    """As the kernel does it."""
    table = dict(table)
    for words in repairs:
        line = " ".join(words)
        (new,) = parse_saved([f"-A {' '.join(_service_words(line))}"], []).values()
        key = new.key
        if words[0] in ("-A", "-E"):
            servers = table[key].servers if key in table else ()
            (told_of,) = parse_saved([f"-A {line[3:]}"], []).values()
            table[key] = replace(told_of, servers=servers)
            continue
        rest = tuple(server for server in table[key].servers if f"-r {server.endpoint}" not in line)
        if words[0] in ("-a", "-e"):
            bare = parse_saved([f"-A {' '.join(key.words)} -s rr", f"-a {line[3:]}"], [])
            rest = (*rest, *bare[key].servers)
        table[key] = replace(table[key], servers=rest)
    return table


def _service_words(line: str) -> list[str]:
    words = line.split()
    return [*words[1:3], "-s", "rr"]


servers = st.sampled_from([f"10.9.1.{n}" for n in (21, 22, 23, 24, 99)])
found_tables = st.dictionaries(
    st.sampled_from([ServiceKey("tcp", "10.9.1.100", 80), ServiceKey("tcp", "10.9.1.101", 80)]),
    st.tuples(
        st.sampled_from(["rr", "wlc"]),
        st.dictionaries(servers, st.tuples(st.sampled_from(["dr", "nat"]), st.integers(0, 5))),
    ),
)


@given(found_tables, st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=6, max_size=6))
def test_once_put_right_there_is_no_drift_left(found: dict, states: list[tuple[bool, bool, int]]) -> None:  # type: ignore[type-arg]
    table = {
        key: Service(
            key,
            scheduler,
            servers=tuple(Server(address, 80, how, weight) for address, (how, weight) in entries.items()),
        )
        for key, (scheduler, entries) in found.items()
    }
    health = {at: Checked(*state) for at, state in zip(HEALTH, states, strict=True)}
    repairs = [d.repair for d in differences((WEB, SHOP), table, health)]
    assert differences((WEB, SHOP), carried_out(table, repairs), health) == []
