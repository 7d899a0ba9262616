# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines join by a code, over loopback: who may, who may not, and what each of them is told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from spake2 import SPAKE2_A, SPAKE2_B

from appliance.joining import Candidate, JoinError, channel, host, join
from appliance.joining.code import new_code
from appliance.joining.messages import candidate_from, to_json
from tests.joining_site import BETA, BUNDLE, FENCE, THREE, WITNESS, Creator, Machine
from tests.joining_wire import in_the_middle, stranger, turned

WRONG = "2222-2222"


def test_two_machines_join_one_after_the_other_and_all_get_the_same(
    create: Callable[..., Creator], beta: Machine, witness: Machine
) -> None:
    creator, screen = create()
    first = creator.code
    beta.join(creator, BETA)
    assert screen.heard("joined") == "beta"
    assert creator.code != first
    witness.join(creator, WITNESS)
    assert screen.heard("joined") == "witness"
    assert [one.name for one in creator.joined] == ["beta", "witness"]
    told = creator.joined[0]
    assert abs(told.clock_s - time.time()) < 30
    assert replace(told, clock_s=BETA.clock_s) == BETA
    creator.finish(THREE)
    assert beta.joined() == THREE
    # It needs the passwords of fence devices, and nothing of a database that it never runs.
    assert witness.joined() == replace(THREE, database=None)
    assert beta.heard("admitted") == "alpha"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_over_ipv4_and_ipv6(create: Callable[..., Creator], beta: Machine, address: str) -> None:
    if address == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    creator, screen = create()
    beta.join(creator, BETA, creator.code.lower().replace("-", " "), at=address)
    assert screen.heard("joined") == "beta"


def test_a_code_works_once(create: Callable[..., Creator], beta: Machine, witness: Machine) -> None:
    creator, screen = create()
    first = creator.code
    beta.join(creator, BETA, first)
    screen.heard("joined")
    assert witness.join(creator, WITNESS, first).refusal() == "the code is wrong; 2 tries are left"
    assert [one.name for one in creator.joined] == ["beta"]


def test_three_wrong_tries_end_a_code_and_another_one_can_be_made(
    create: Callable[..., Creator], beta: Machine
) -> None:
    creator, screen = create()
    right = creator.code
    said = [beta.join(creator, BETA, WRONG).refusal() for _ in range(4)]
    assert said == [
        "the code is wrong; 2 tries are left",
        "the code is wrong; 1 try is left",
        "the code is wrong, and was ended by three wrong tries",
        "the code was ended by three wrong tries",
    ]
    screen.heard("locked")
    assert creator.code == ""
    assert beta.join(creator, BETA, right).refusal() == "the code was ended by three wrong tries"
    creator.renew()
    beta.join(creator, BETA)
    assert screen.heard("joined") == "beta"


def test_who_hangs_up_after_the_password_exchange_has_used_a_try(create: Callable[..., Creator]) -> None:
    creator, screen = create()
    for _ in range(3):
        with stranger(creator) as wire:
            wire.send(channel.MAGIC + b"J" + SPAKE2_A(b"guess").start(), 5)
            assert wire.receive(5, 100).startswith(channel.MAGIC + channel.GO)
    screen.heard("locked")
    assert creator.code == ""


def test_neither_silence_nor_noise_costs_a_try_or_keeps_others_waiting(
    create: Callable[..., Creator], beta: Machine
) -> None:
    creator, screen = create()
    with contextlib.ExitStack() as strangers:
        for _ in range(host.MOST_STRANGERS - 2):
            strangers.enter_context(stranger(creator))
        for noise in (b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\4abcd", b"\xff" * 100, channel.MAGIC):
            with socket.create_connection(("127.0.0.1", creator.port)) as sock:
                sock.sendall(noise)
        time.sleep(0.3)
        began = time.monotonic()
        beta.join(creator, BETA)
        assert screen.heard("joined") == "beta"
        assert time.monotonic() - began < 5


def test_one_that_sends_a_byte_now_and_then_is_not_heard_for_ever(
    create: Callable[..., Creator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "HANDSHAKE_S", 0.5)
    creator, _ = create()
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", creator.port)) as sock, contextlib.suppress(OSError):
        for _ in range(50):
            sock.sendall(b"\0")
            time.sleep(0.1)
            if sock.recv(1, socket.MSG_DONTWAIT) == b"":
                break
    assert time.monotonic() - began < 3


def test_a_code_expires(create: Callable[..., Creator], beta: Machine) -> None:
    creator, screen = create(valid_s=1.5)
    right = creator.code
    screen.heard("expired")
    assert creator.code == ""
    assert beta.join(creator, BETA, right).refusal() == "the code has expired"


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (replace(BETA, version="1.3.0"), "beta has Pairkeep 1.3.0, alpha has 1.2.3; expected the same on both: "),
        (replace(BETA, version="2.2.3"), "beta has Pairkeep 2.2.3, alpha has 1.2.3"),
        (replace(BETA, clock_s=0.0), "days apart: alpha has 20"),
        (replace(BETA, clock_s=time.time() + 86400 * 7), "the clocks are 7 days apart"),
        (replace(BETA, clock_s=1e300), "no date at all"),
        (replace(BETA, name="alpha"), "two machines are called alpha"),
        (replace(BETA, name="Beta!"), "does not let this machine join"),
        (replace(BETA, links=("10.9.1.300/24",)), "does not let this machine join"),
        (replace(BETA, disk='/dev/"\n'), "does not let this machine join"),
    ],
)
def test_a_candidate_that_does_not_fit_is_told_why(
    create: Callable[..., Creator], beta: Machine, candidate: Candidate, reason: str
) -> None:
    creator, screen = create(
        admit=lambda one: f"two machines are called {one.name}" if one.name == "alpha" else None
    )
    assert reason in beta.join(creator, candidate).refusal()
    assert creator.joined == ()
    # It knew the code, so that one still counts.
    beta.join(creator, BETA)
    assert screen.heard("joined") == "beta"


def test_a_machinein_the_middle_learns_nothing_and_changes_nothing(
    create: Callable[..., Creator], beta: Machine
) -> None:
    creator, _ = create()
    code = creator.code
    middle = in_the_middle(creator.port, lambda number, frame: frame if number < 4 else turned(frame))
    # One bit is turned of everything that crosses the wire after the four messages of the handshake.
    with middle as (port, seen), pytest.raises(JoinError, match="does not let this machine join"):
        join("127.0.0.1", code, BETA, on_event=beta.on_event, port=port, folder=beta.folder)
    assert beta.heard("connected")
    assert creator.joined == ()
    assert len(seen) > 4
    assert b"beta" not in b"".join(seen)
    assert code.encode() not in b"".join(seen)


def test_a_host_that_does_not_know_the_code_is_told_nothing(beta: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said: list[bytes] = []

        def impostor() -> None:
            sock, _ = listener.accept()
            wire = channel.Wire(sock)
            channel.greeted(wire)
            wire.send(channel.MAGIC + channel.GO + SPAKE2_B(b"guess").start(), 5)
            wire.receive(5, 100)
            wire.send(b"\0" * 32, 5)
            with contextlib.suppress(channel.Lost):
                said.append(wire.receive(5, 1 << 20))

        thread = threading.Thread(target=impostor, daemon=True)
        thread.start()
        with pytest.raises(JoinError, match="does not know the code"):
            join(
                "127.0.0.1",
                new_code(),
                BETA,
                on_event=beta.on_event,
                port=listener.getsockname()[1],
                folder=beta.folder,
            )
        thread.join(10)
    assert said == []


def test_another_protocol_is_named(create: Callable[..., Creator]) -> None:
    creator, _ = create()
    with stranger(creator) as wire:
        wire.send(b"pairkeep-join/2\nJ" + b"x" * 33, 5)
        assert wire.receive(5, 100) == channel.MAGIC + channel.UNKNOWN


def test_nobody_there(beta: Machine) -> None:
    with pytest.raises(JoinError, match=r"127\.0\.0\.1 does not answer on port 1: Connection refused"):
        join("127.0.0.1", new_code(), BETA, on_event=beta.on_event, port=1, folder=beta.folder)


def test_one_that_goes_away_is_missed_and_may_come_back(
    create: Callable[..., Creator], beta: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "ASK_EVERY_S", 0.05)
    creator, screen = create()

    class GivenUp(Exception):
        pass

    def leave(kind: str, _text: str) -> None:
        if kind == "waiting":
            raise GivenUp

    with pytest.raises(GivenUp):
        join(
            "127.0.0.1",
            creator.code,
            replace(BETA, clock_s=time.time()),
            on_event=leave,
            port=creator.port,
            folder=beta.folder,
        )
    assert screen.heard("left") == "beta"
    assert creator.joined == ()
    beta.join(creator, BETA)
    assert screen.heard("joined") == "beta"
    creator.finish(BUNDLE)
    assert beta.joined() == BUNDLE


def test_the_host_ends_it(create: Callable[..., Creator], beta: Machine) -> None:
    creator, screen = create()
    beta.join(creator, BETA)
    screen.heard("joined")
    creator.close()
    assert beta.refusal() == "alpha has ended the joining"


@pytest.mark.parametrize(
    "device",
    [
        {"agent": "fence_ipmilan", "ip": "10.9.3.112"},
        {**FENCE, "x = 1 }\n[node.mallory]\ny": 1},
        {**FENCE, "username_file": "/etc/shadow"},
        {**FENCE, "community": "private"},
    ],
)
def test_a_fence_device_that_does_not_fit_a_cluster_toml(device: dict[str, str | int | bool]) -> None:
    assert candidate_from(to_json(BETA)) == BETA
    with pytest.raises(JoinError, match="its fence device in a way that this one does not know"):
        candidate_from(to_json(replace(BETA, fence=device)))
