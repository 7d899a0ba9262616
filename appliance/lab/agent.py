# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest agent's protocol, as QEMU's qga/qapi-schema.json describes it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import PairkeepError

# Captured output comes in one line, base64, and the agent stops at 16 MiB.
_LINE_LIMIT = 48 * 1024 * 1024
_READ_BYTES = 64 * 1024
_FIRST_POLL_S = 0.02
_LONGEST_POLL_S = 0.25


class AgentSilent(PairkeepError):
    """The agent did not answer in time: the machine is booting, paused, hung or dead."""


class AgentGone(AgentSilent):
    """The machine is off, so that nobody is there to answer."""


class AgentError(PairkeepError):
    """The agent answered, and refused."""


@dataclass(frozen=True)
class Ended:
    """How a program in a guest ended. ``returncode`` is negative for a signal."""

    returncode: int
    stdout: bytes
    stderr: bytes


def parse_answer(line: bytes, sync_id: int | None) -> Any:
    """The value in one line of the agent, or None for a line that belongs to something else.

    ``sync_id``: only the answer to the sync with that number counts. The agent puts a byte 0xFF before
    such an answer, so that whatever half a line stands before it can be skipped.
    Raises AgentError for an error.
    """
    try:
        message = json.loads(line.rsplit(b"\xff", 1)[-1])
    except ValueError:
        return None
    if sync_id is not None:
        return True if message.get("return") == sync_id else None
    if "error" in message:
        raise AgentError(message["error"].get("desc", "unknown error"))
    return message["return"]


def parse_ended(status: Mapping[str, Any]) -> Ended | None:
    """What ``guest-exec-status`` says; None while the program runs."""
    if not status["exited"]:
        return None
    returncode = -status["signal"] if "signal" in status else status.get("exitcode", 0)
    return Ended(
        returncode,
        base64.b64decode(status.get("out-data", "")),
        base64.b64decode(status.get("err-data", "")),
    )


class Agent:
    """One machine's agent, spoken to over the unix socket ``path`` that QEMU listens on.

    Calls from several tasks are taken one after the other; a running program blocks nobody, for its
    end is asked for from time to time.
    """

    _numbers = itertools.count(1)

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._in_step = False

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def call(self, command: str, arguments: Mapping[str, object] | None = None, *, timeout_s: float) -> Any:
        """One command's answer. Raises AgentError, or AgentSilent after ``timeout_s``."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                reader, writer = await self._ready()
                # Whoever gives up half-way leaves an answer behind; the next caller skips it by a sync.
                self._in_step = False
                _send(writer, {"execute": command, "arguments": dict(arguments or {})})
                try:
                    answer = await self._read(reader, None)
                except AgentError:
                    self._in_step = True
                    raise
                self._in_step = True
                return answer
        except (ConnectionError, FileNotFoundError, EOFError) as error:
            raise AgentGone(f"{self._name} is off, or was switched off meanwhile") from error
        except TimeoutError as error:
            raise AgentSilent(
                f"the guest agent of {self._name} does not answer"
                f" ({command}, waited {time.monotonic() - started:.1f} s)",
                hint=f"what the machine prints: pairkeep lab console {self._name}",
            ) from error

    async def run(self, argv: Sequence[str], *, stdin: bytes | None, timeout_s: float) -> Ended:
        """Run ``argv`` in the guest, as root. Raises AgentSilent when the agent is silent or the
        program has not ended after ``timeout_s`` (it is then killed, as far as the guest still lets us),
        AgentError when it cannot be started.
        """
        arguments: dict[str, object] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        if stdin is not None:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        deadline = time.monotonic() + timeout_s
        # No answer to this one is final, for a second try might run the program twice.
        pid = (await self.call("guest-exec", arguments, timeout_s=timeout_s))["pid"]
        pause_s = _FIRST_POLL_S
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                # Waited for as long as may be: an agent that has told how a program ended forgets it, so whoever
                # gave up on the answer would hear that there is no such program (QEMU qga/commands.c).
                status = await self.call("guest-exec-status", {"pid": pid}, timeout_s=left_s)
            except AgentGone:
                raise
            except AgentSilent:
                break
            if (ended := parse_ended(status)) is not None:
                return ended
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LONGEST_POLL_S)
        kill = {"path": "/bin/kill", "arg": ["-KILL", str(pid)]}
        with contextlib.suppress(PairkeepError):
            await self.call("guest-exec", kill, timeout_s=2)
        raise AgentSilent(f"{argv[0]} on {self._name} has not ended after {timeout_s:g} s")

    async def read(self, path: str, *, timeout_s: float) -> str:
        """The first 64 KiB of a file in the guest, in base64. Raises AgentSilent, AgentError."""
        handle = await self.call("guest-file-open", {"path": path, "mode": "r"}, timeout_s=timeout_s)
        try:
            wanted = {"handle": handle, "count": _READ_BYTES}
            data: str = (await self.call("guest-file-read", wanted, timeout_s=timeout_s))["buf-b64"]
            return data
        finally:
            await self.call("guest-file-close", {"handle": handle}, timeout_s=timeout_s)

    async def _ready(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which the next answer is that to the next command."""
        if self._streams is None or self._streams[0].at_eof():
            self._streams = await asyncio.open_unix_connection(self._path, limit=_LINE_LIMIT)
            self._in_step = False
        reader, writer = self._streams
        if not self._in_step:
            number = next(self._numbers)
            # The leading 0xFF makes the agent forget half a command that may stand before it.
            writer.write(b"\xff")
            _send(writer, {"execute": "guest-sync-delimited", "arguments": {"id": number}})
            await self._read(reader, number)
            self._in_step = True
        return reader, writer

    async def _read(self, reader: asyncio.StreamReader, sync_id: int | None) -> Any:
        while True:
            line = await reader.readline()
            if not line:
                self.close()
                raise EOFError
            if (answer := parse_answer(line, sync_id)) is not None:
                return answer


def _send(writer: asyncio.StreamWriter, message: Mapping[str, object]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
