# SPDX-License-Identifier: GPL-2.0-or-later
"""What keepalived 2.3.3 wrote into the log, as changes with their reasons; and storms, damped."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.config.virtual import Check, Real, Virtual
from appliance.lvs.damping import Damper
from appliance.lvs.words import Words

REALS = tuple(
    Real(f"web{n}", ip_address(f"10.9.1.2{n}"), 80, "dr", Check())  # fmt: skip
    for n in (1, 2, 3)
)
WEB = Virtual("web", ip_address("10.9.1.100"), 80, REALS)
SHOP = Virtual("shop", ip_address("10.9.1.101"), 80, REALS)
MARKED = Virtual("marked", ip_address("10.9.1.102"), 0, REALS, ports=((80, 80), (443, 443)), mark=7)
ALL = Virtual("all", ip_address("10.9.1.103"), 0, REALS, protocol="udp")


@pytest.mark.parametrize(
    ("lines", "text", "up"),
    [
        (
            [
                "TCP_CHECK on service [10.9.1.21]:tcp:80 failed.",
                "Removing service [10.9.1.21]:tcp:80 from VS [10.9.1.100]:tcp:80",
            ],
            "web: server web1 is down (TCP check failed)",
            False,
        ),
        (
            [
                "HTTP_CHECK on service [10.9.1.22]:tcp:80 failed after 1 retries.",
                "Disabling service [10.9.1.22]:tcp:80 of VS [10.9.1.101]:tcp:80",
            ],
            "shop: server web2 is down (HTTP check failed after 1 retry)",
            False,
        ),
        (
            [
                "TCP_CHECK on service [10.9.1.22]:tcp:80 failed after 2 retries.",
                "Removing service [10.9.1.22]:tcp:80 from VS [10.9.1.100]:tcp:80",
            ],
            "web: server web2 is down (TCP check failed after 2 retries)",
            False,
        ),
        (
            # What was wrong is more than that something was.
            [
                "HTTP status code error to [10.9.1.22]:tcp:80 url(/): status_code [500].",
                "HTTP_CHECK on service [10.9.1.22]:tcp:80 failed after 1 retries.",
                "Removing service [10.9.1.22]:tcp:80 from VS [10.9.1.100]:tcp:80",
            ],
            "web: server web2 is down (HTTP status code error url(/): status_code [500])",
            False,
        ),
        (
            ["Adding service [10.9.1.22]:tcp:80 to VS [10.9.1.100]:tcp:80"],
            "web: server web2 is up",
            True,
        ),
        (
            ["Enabling service [10.9.1.29]:tcp:80 of VS [10.9.1.101]:tcp:80"],
            "shop: server 10.9.1.29:80 is up",
            True,
        ),
        (["Lost quorum 1-0=1 > 0 for VS [10.9.1.101]:tcp:80"], "shop: too few servers are left", False),
        (["Gained quorum 1+0=1 <= 1 for VS [10.9.1.103]:udp:0"], "all: enough servers again", True),
        (["Gained quorum 1+0=1 <= 3 for VS FWM 7"], "marked: enough servers again", True),
        (
            ["Adding sorry server [10.9.1.24]:tcp:80 to VS [10.9.1.101]:tcp:80"],
            "shop: clients get the sorry server now",
            None,
        ),
        (["(inside) Entering MASTER STATE"], "inside: this director is active", True),
        (["(inside) Entering FAULT STATE"], "inside: this director is out of action", False),
    ],
)
def test_a_change_in_words(lines: list[str], text: str, up: bool | None) -> None:
    words = Words((WEB, SHOP, MARKED, ALL))
    *before, last = lines
    assert [words.heard(line) for line in before] == [None] * len(before)
    change = words.heard(last)
    assert change is not None
    assert (change.text, change.up) == (text, up)


@pytest.mark.parametrize(
    "line",
    [
        "HTTP status code success to [10.9.1.22]:tcp:80 url(/)",
        "TCP connection to [10.9.1.21]:tcp:80 success.",
        "Activating healthchecker for service [10.9.1.21]:tcp:80 for VS [10.9.1.100]:tcp:80",
        "Remote Web server [10.9.1.22]:tcp:80 succeed on service.",
        "Removing alive servers from the pool for VS [10.9.1.101]:tcp:80",
        "Reloading ...",
    ],
)
def test_other_words_are_neither_changes_nor_reasons(line: str) -> None:
    words = Words((WEB, SHOP))
    assert words.heard(line) is None
    assert words.reasons == {}


def test_a_reason_is_forgotten_when_the_server_is_back() -> None:
    words = Words((WEB,))
    words.heard("TCP_CHECK on service [10.9.1.21]:tcp:80 failed.")
    assert words.reasons == {"10.9.1.21:80": "TCP check failed"}
    words.heard("Adding service [10.9.1.21]:tcp:80 to VS [10.9.1.100]:tcp:80")
    assert words.reasons == {}


def test_the_first_change_is_told_at_once_and_those_after_it_once_a_minute() -> None:
    damper = Damper()
    assert damper.offer(0, "web/web1", "down") == "down"
    for second in range(1, 50, 7):
        assert damper.offer(second, "web/web1", "up" if second % 2 else "down") is None
    assert damper.due(59) == []
    assert damper.due(60) == ["up (7 changes)"]
    # Told of just now, so the next one waits again.
    assert damper.offer(61, "web/web1", "down") is None
    assert damper.due(119) == []
    assert damper.due(120) == ["down"]
    assert damper.due(180) == []
    assert damper.next_due() is None
    assert damper.offer(200, "web/web1", "down") == "down"


def test_five_hundred_servers_make_a_few_messages() -> None:
    damper = Damper()
    told = [damper.offer(0.01 * n, f"server{n}", f"server{n} is down") for n in range(500)]
    assert sum(text is not None for text in told) == 10
    (digest,) = (lines for second in range(0, 90) if (lines := damper.due(second)))
    assert len(digest) == 51
    assert digest[-1] == "and 440 more"


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abc"), st.sampled_from(["up", "down"])), max_size=80))
@example(
    [(0, "b", "up"), (0, "b", "up"), (1, "a", "up"), (1, "c", "up"), (3, "c", "up"), (5, "a", "up"), (0, "c", "up")]
)
def test_nobody_is_left_with_an_old_state(changes: list[tuple[float, str, str]]) -> None:
    """Whatever comes last of a thing is told in the end, and no thing more than once a window, and in a digest."""
    damper = Damper(window_s=10, at_once=2)
    now = 0.0
    last: dict[str, str] = {}
    heard: dict[str, str] = {}
    when: dict[str, list[float]] = {}

    def told(text: str) -> None:
        subject, state = text.split(" (")[0].split()
        heard[subject] = state
        when.setdefault(subject, []).append(now)

    for after, subject, state in changes:
        now += after
        for line in damper.due(now):
            told(line)
        last[subject] = state
        if (text := damper.offer(now, subject, f"{subject} {state}")) is not None:
            told(text)
    while (due := damper.next_due()) is not None:
        now = max(now, due)
        for line in damper.due(now):
            told(line)
    assert heard == last
    for times in when.values():
        assert len([t for t in times if t > times[-1] - 10]) <= 2
