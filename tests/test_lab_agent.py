# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest agent's protocol, spoken with an agent of our own behind a unix socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.lab.agent import Agent, AgentError, AgentGone, AgentSilent, Ended, parse_answer, parse_ended

Answer = Callable[[dict[str, Any]], bytes]
# Longer than a machine that is well ever takes.
LATE_S = 6.0


def test_the_answer_to_a_sync_may_follow_half_a_line() -> None:
    assert parse_answer(b'{"return": {"pi\xff{"return": 7}\n', 7) is True


def test_answers_to_others_are_skipped_while_syncing() -> None:
    assert parse_answer(b'{"return": 6}\n', 7) is None
    assert parse_answer(b'{"error": {"desc": "no"}}\n', 7) is None
    assert parse_answer(b'ID": 3}\n', 7) is None


def test_a_refusal_is_raised_in_the_agents_words() -> None:
    with pytest.raises(AgentError, match="no such file"):
        parse_answer(b'{"error": {"class": "GenericError", "desc": "no such file"}}\n', None)


def test_how_a_program_ended() -> None:
    assert parse_ended({"exited": False}) is None
    out = base64.b64encode(b"hi\n").decode()
    assert parse_ended({"exited": True, "exitcode": 3, "out-data": out}) == Ended(3, b"hi\n", b"")
    assert parse_ended({"exited": True, "signal": 9}) == Ended(-9, b"", b"")


def test_a_program_is_awaited(tmp_path: Path) -> None:
    polls = 0

    def answer(request: dict[str, Any]) -> bytes:
        nonlocal polls
        if request["execute"] == "guest-exec":
            assert request["arguments"]["arg"] == ["-r"]
            return _line({"pid": 5})
        polls += 1
        return _line({"exited": polls > 2, "exitcode": 0, "out-data": base64.b64encode(b"6.12\n").decode()})

    async def talk(agent: Agent) -> None:
        assert await agent.run(["uname", "-r"], stdin=None, timeout_s=5) == Ended(0, b"6.12\n", b"")

    _with_agent(tmp_path, answer, talk)


def test_an_answer_that_is_late_is_waited_for_since_it_is_given_once(tmp_path: Path) -> None:
    polls = 0

    def answer(request: dict[str, Any]) -> bytes:
        nonlocal polls
        if request["execute"] == "guest-exec":
            return _line({"pid": 5})
        polls += 1
        if polls > 1:
            return b'{"error": {"class": "GenericError", "desc": "PID 5 does not exist"}}\n'
        return _line({"exited": True, "exitcode": 0})

    async def talk(agent: Agent) -> None:
        assert (await agent.run(["true"], stdin=None, timeout_s=30)).returncode == 0

    _with_agent(tmp_path, answer, talk, late_s=LATE_S)


def test_a_program_that_does_not_end_is_killed(tmp_path: Path) -> None:
    started: list[str] = []

    def answer(request: dict[str, Any]) -> bytes:
        if request["execute"] == "guest-exec":
            started.append(request["arguments"]["path"])
            return _line({"pid": 5})
        return _line({"exited": False})

    async def talk(agent: Agent) -> None:
        with pytest.raises(AgentSilent, match=r"sleep on alpha has not ended after 0\.2 s"):
            await agent.run(["sleep", "9"], stdin=None, timeout_s=0.2)

    _with_agent(tmp_path, answer, talk)
    assert started == ["sleep", "/bin/kill"]


def test_a_late_answer_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    late = [b"", _line("late") + _line("now")]

    async def talk(agent: Agent) -> None:
        with pytest.raises(AgentSilent, match="the guest agent of alpha does not answer"):
            await agent.call("first", timeout_s=0.1)
        # The sync before the second command comes back behind the late answer.
        assert await agent.call("second", timeout_s=5) == "now"

    def answer(request: dict[str, Any]) -> bytes:
        return b"" if request["execute"] == "first" else _line("now")

    _with_agent(tmp_path, answer, talk, before_sync=late)


def test_without_a_machine_the_agent_is_silent(tmp_path: Path) -> None:
    async def talk() -> None:
        with pytest.raises(AgentGone, match="alpha is off"):
            await Agent("alpha", tmp_path / "nothing").call("guest-ping", timeout_s=1)

    asyncio.run(talk())


def _line(value: object) -> bytes:
    return json.dumps({"return": value}).encode() + b"\n"


def _with_agent(
    folder: Path,
    answer: Answer,
    talk: Callable[[Agent], Awaitable[None]],
    before_sync: list[bytes] | None = None,
    late_s: float = 0.0,
) -> None:
    """Run ``talk`` against an agent that gives ``answer``; ``before_sync`` goes out before each sync's answer.

    ``late_s``: so long it thinks about how a program has ended.
    """
    stale = list(before_sync or [])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line.rsplit(b"\xff", 1)[-1])
            if request["execute"] == "guest-sync-delimited":
                writer.write((stale.pop(0) if stale else b"") + b"\xff" + _line(request["arguments"]["id"]))
            else:
                await asyncio.sleep(late_s if request["execute"] == "guest-exec-status" else 0)
                writer.write(answer(request))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, folder / "agent.sock")
        agent = Agent("alpha", folder / "agent.sock")
        await talk(agent)
        agent.close()
        server.close()

    asyncio.run(main())
