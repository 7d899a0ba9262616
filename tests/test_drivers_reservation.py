# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent reservations: against a target that does what SPC-4 says, also when a node stands still in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.load import load
from appliance.drivers import reservation
from appliance.drivers.base import DriverError
from appliance.drivers.reservation import (
    ATTENTIONS,
    CONFLICT,
    TYPE_NAME,
    UNIT_ATTENTION,
    UNKNOWN,
    Reservation,
    Reserved,
    argv,
    key_of,
    keys_of,
    parse,
)

ALPHA, BETA, STRANGER = 0xA1, 0xB2, 0xDEAD
NAMES = {ALPHA: "alpha", BETA: "beta"}
KEYS = """\
  PR generation=0x4, 2 registered reservation keys follow:
    0x2c26b46b68ff0001
    0x2c26b46b68ff0001
"""
NO_KEYS = "  PR generation=0x0, there are NO registered reservation keys\n"
HELD = """\
  PR generation=0x4, Reservation follows:
    Key=0x2c26b46b68ff0001
    scope: LU_SCOPE,  type: Write Exclusive, registrants only
"""
NOT_HELD = "  PR generation=0x2, there is NO reservation held\n"


def test_what_sg_persist_prints_is_read() -> None:
    key = 0x2C26B46B68FF0001
    assert parse(KEYS, HELD) == Reserved((key,), key, TYPE_NAME)
    assert parse(NO_KEYS, NOT_HELD) == Reserved((), None)
    with pytest.raises(DriverError, match="otherwise than expected"):
        parse("", HELD)


def test_keys_tell_clusters_and_nodes_apart() -> None:
    cluster = load(Path(__file__).parent / "config/good/shared-disk.toml")
    keys = keys_of(cluster)
    assert list(keys.values()) == ["alpha", "beta"]
    assert {key_of("shop", 1), key_of("shop", 2)} == set(keys)
    assert key_of("shop", 1) >> 16 == key_of("shop", 2) >> 16 != key_of("wiki", 1) >> 16
    # As documented, for who meets one of them on a target.
    assert f"{key_of('shop', 1):#x}" == "0x8d9001d32c6a0001"


class Target:
    """The part of SPC-4, 5.12 that matters. A disk's name is who asks: each node has a way of its own to it."""

    def __init__(self, *, aborts: bool = True) -> None:
        self.keys: dict[str, int] = {}
        self.holder: int | None = None
        self.aborts = aborts
        self.resets = 0
        self.attentions: dict[str, int] = {}
        self.asked: list[tuple[str, ...]] = []
        self.before: Callable[[int], None] = lambda _number: None

    def may_write(self, who: str) -> bool:
        return self.holder is None or who in self.keys

    def run(self, words: Sequence[object], **_: object) -> CompletedProcess[str]:
        asked = tuple(map(str, words))
        self.before(len(self.asked))
        self.asked.append(asked)
        if asked[0] == "sg_reset":
            self.resets += 1
            return CompletedProcess(asked, 0, "", "")
        who = Path(asked[-1]).name
        if self.attentions.get(who, 0) > 0:
            self.attentions[who] -= 1
            return CompletedProcess(asked, UNIT_ATTENTION, "", "PR in: unit attention")
        code, text = self._do(who, set(asked), dict(re.findall(r"--param-(\w+)=(\w+)", " ".join(asked))))
        return CompletedProcess(asked, code, text, "" if code == 0 else "refused")

    def _do(self, who: str, words: set[str], given: dict[str, str]) -> tuple[int, str]:
        rk, sark = (int(given.get(name, "0"), 16) for name in ("rk", "sark"))
        if "--read-keys" in words:
            listed = "".join(f"    {key:#x}\n" for key in self.keys.values())
            return 0, f"  PR generation=0x1, keys follow:\n{listed}" if listed else NO_KEYS
        if "--read-reservation" in words:
            text = (
                f"  PR generation=0x1, Reservation follows:\n    Key={self.holder or 0:#x}\n    type: {TYPE_NAME}\n"
            )
            return 0, NOT_HELD if self.holder is None else text
        if "--register-ignore" in words:
            self.keys[who] = sark
            return 0, ""
        if self.keys.get(who, 0) != rk:
            return CONFLICT, ""
        if "--register" in words:
            if sark:
                self.keys[who] = sark
            elif self.keys.pop(who) == self.holder and rk not in self.keys.values():
                self.holder = None
            return 0, ""
        if "--reserve" in words:
            if self.holder not in (None, rk):
                return CONFLICT, ""
            self.holder = rk
            return 0, ""
        if "--preempt-abort" in words and not self.aborts:
            return UNKNOWN[0], ""
        assert words & {"--preempt", "--preempt-abort"}
        if sark not in self.keys.values() and self.holder != sark:
            return CONFLICT, ""
        if self.holder == sark:
            self.holder = rk
        self.keys = {other: key for other, key in self.keys.items() if key != sark or other == who}
        return 0, ""


@contextmanager
def on(target: Target) -> Iterator[tuple[Reservation, Reservation]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reservation, "run", target.run)
        yield tuple(Reservation(Path("/dev") / name, key, NAMES) for key, name in NAMES.items())  # type: ignore[misc]


def test_a_free_disk_is_taken_and_given_back() -> None:
    target = Target()
    with on(target) as (alpha, beta):
        assert (alpha.is_held(), beta.is_held()) == (False, False)
        alpha.take()
        assert (alpha.is_held(), beta.is_held()) == (True, False)
        assert (target.may_write("alpha"), target.may_write("beta")) == (True, False)
        assert alpha.told() == "reserved by alpha, registered: alpha"
        alpha.release()
    assert (target.keys, target.holder) == ({}, None)


@pytest.mark.parametrize("aborts", [True, False])
def test_a_takeover_takes_the_loser_its_right_to_write(aborts: bool) -> None:
    target = Target(aborts=aborts)
    with on(target) as (alpha, beta):
        alpha.take()
        beta.take()
        assert (alpha.is_held(), beta.is_held()) == (False, True)
        # A target that cannot abort what it has accepted is made to end it before anybody goes on.
        assert target.resets == (0 if aborts else 1)
        # The loser's clean-up, whenever it comes, takes nothing from the winner.
        alpha.release()
        assert beta.is_held()
    assert (target.keys, target.holder) == ({"beta": BETA}, BETA)


def test_a_key_without_the_reservation_is_taken_too() -> None:
    """Every registrant may write, so it is not enough to hold the reservation."""
    target = Target()
    target.keys = {"alpha": ALPHA, "beta": BETA}
    target.holder = BETA
    with on(target) as (_, beta):
        assert not beta.is_held()
        beta.take()
        assert beta.is_held()
    assert not target.may_write("alpha")


def test_what_is_left_of_an_earlier_life_is_taken_over() -> None:
    target = Target()
    target.keys = {"alpha-before-its-crash": ALPHA}
    target.holder = ALPHA
    with on(target) as (alpha, _):
        alpha.take()
        assert alpha.is_held()
    assert target.keys == {"alpha": ALPHA}


@pytest.mark.parametrize("holder", [None, STRANGER])
def test_a_strangers_disk_is_left_alone(holder: int | None) -> None:
    target = Target()
    target.keys = {"stranger": STRANGER}
    target.holder = holder
    with on(target) as (alpha, _), pytest.raises(DriverError, match="a stranger with the key 0xdead"):
        alpha.take()
    assert (target.keys, target.holder) == ({"stranger": STRANGER}, holder)


def test_a_target_that_forgot_everything_is_noticed() -> None:
    target = Target()
    with on(target) as (alpha, _):
        alpha.take()
        target.keys, target.holder = {}, None
        assert not alpha.is_held()
        assert not alpha.is_registered()
        # To ask has changed nothing: who has something mounted must not get the right to write back in passing.
        assert target.keys == {}


def test_a_target_that_knows_the_key_but_not_the_new_session_is_noticed() -> None:
    """As tgt does it."""
    target = Target()
    with on(target) as (alpha, _):
        alpha.take()
        assert alpha.is_registered()
        target.keys = {"alpha-before-the-cable-was-pulled": ALPHA}
        assert alpha.is_held()
        assert not alpha.is_registered()
        alpha.take()
        assert alpha.is_registered()
    assert target.keys == {"alpha": ALPHA}


@pytest.mark.parametrize("times", [1, ATTENTIONS - 1])
def test_what_the_target_has_to_say_first_is_listened_to(times: int) -> None:
    target = Target()
    target.attentions["alpha"] = times
    with on(target) as (alpha, _):
        alpha.take()
        assert alpha.is_held()


def test_a_target_that_never_stops_to_have_news_is_an_error() -> None:
    target = Target()
    target.attentions["alpha"] = ATTENTIONS
    with on(target) as (alpha, _), pytest.raises(DriverError, match="ended with 6: PR in: unit attention"):
        alpha.read()


@given(freezes_before=st.integers(0, 9), held_before=st.sampled_from([None, ALPHA, BETA]))
def test_who_stood_still_while_it_took_the_disk_never_writes_beside_another(
    freezes_before: int, held_before: int | None
) -> None:
    """alpha freezes before any one of its commands, beta takes over and mounts, alpha thaws and goes on."""
    target = Target()
    with on(target) as (alpha, beta):
        if held_before is not None:
            (alpha if held_before == ALPHA else beta).take()
        began = len(target.asked)

        def takes_over(number: int) -> None:
            if number == began + freezes_before:
                target.before = lambda _number: None
                beta.take()

        target.before = takes_over
        try:
            alpha.take()
        except DriverError:
            alpha_goes_on = False
        else:
            alpha_goes_on = True
        came_later = target.before is takes_over
        target.before = lambda _number: None
        # Whom somebody came before is told so, or has the disk.
        assert not alpha_goes_on or alpha.is_held()
        if came_later:
            beta.take()
        # Who believes to hold it and mounts is let through only if the other is not.
        assert not (target.may_write("alpha") and target.may_write("beta"))
        assert target.holder in NAMES
        if target.may_write("beta"):
            assert beta.is_held()


def test_the_device_is_not_opened_for_writing() -> None:
    assert argv(Path("/dev/sda"), "--in", "--read-keys") == (
        *("sg_persist", "--no-inquiry", "--readonly", "--in", "--read-keys"),
        "/dev/sda",
    )
