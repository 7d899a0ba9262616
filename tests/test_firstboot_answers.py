# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers for a first boot: the good ones are taken whole, the bad ones are refused with their reason."""

from __future__ import annotations

import pytest

from appliance.errors import InputError
from appliance.firstboot.answers import parse_answers
from appliance.lab.pair import ROLES, answers

GOOD = answers(ROLES[0])


def test_the_labs_own_answers_are_good() -> None:
    found = parse_answers(GOOD)
    assert found.node == "alpha"
    assert found.interfaces == ("52:54:00:09:01:0b", "52:54:00:09:02:0b")
    assert found.cluster.name == "shop"
    assert found.database is not None
    assert found.database.user == "shop"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('node = "alpha"', 'node = "gamma"', "node: found 'gamma', expected one of alpha, beta, witness"),
        ('node = "alpha"', "", "node: required key not provided"),
        ('cluster_key = "', 'cluster_key = "!', "cluster_key: expected the cluster's key in base64"),
        ('user = "shop"', 'user = "x\'; DROP"', "database.user: expected letters, digits and _"),
        ('password = "pairkeep-lab"', 'password = "short"', "database.password: expected 8 to 128"),
        (', "52:54:00:09:02:0b"]', "]", "interfaces: found 1, expected 2, one for each of cluster.networks"),
        ("52:54:00:09:01:0b", "52:54:00:09:01:0b:99", "expected a MAC address or an interface's name"),
        ("[node.beta]", "[node.BETA!]", "cluster"),
        ('name = "shop"\nuser', "name = 5\nuser", "database.name: expected letters"),
    ],
)
def test_a_wrong_answer_is_refused(before: str, after: str, message: str) -> None:
    assert before in GOOD
    with pytest.raises(InputError) as refused:
        parse_answers(GOOD.replace(before, after, 1))
    assert message in str(refused.value)


def test_all_wrong_answers_are_told_at_once() -> None:
    text = GOOD.replace('user = "shop"', 'user = "-"').replace('password = "pairkeep-lab"', 'password = "x"')
    with pytest.raises(InputError) as refused:
        parse_answers(text)
    assert "database.user" in str(refused.value)
    assert "database.password" in str(refused.value)
