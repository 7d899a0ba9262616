# SPDX-License-Identifier: GPL-2.0-or-later
"""What the wizard does on the machine itself, as far as that can be tried without one."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from appliance.firstboot import sntp

SIT_DOWN = """
import sys, time
from pathlib import Path
from appliance.errors import InputError
from appliance.firstboot import console
console.LOCK = Path(sys.argv[1])
try:
    held = console._alone(take_over=sys.argv[2] == "take over")
except InputError as error:
    sys.exit(str(error))
print("here", flush=True)
time.sleep(60)
"""


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """A time server on a port of its own that answers with what is in the list."""
    answers: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            try:
                question, client = sock.recvfrom(512)
            except OSError:
                return
            if len(question) == 48 and question[0] & 7 == 3:
                sock.sendto(answers[0], client)

        threading.Thread(target=serve, daemon=True).start()
        yield sock.getsockname()[1], answers


def said(at: float, stratum: int = 2, mode: int = 4) -> bytes:
    """A server's answer, whose clock shows ``at``."""
    return struct.pack("!BB38xII", 0x20 | mode, stratum, int(at) + 2208988800, int(at % 1 * 2**32))


def test_a_clock_is_compared_with_a_servers(server: tuple[int, list[bytes]]) -> None:
    port, answers = server
    answers.append(said(time.time() - 3600))
    ahead_s = sntp.clock_ahead_s("127.0.0.1", port)
    assert ahead_s == pytest.approx(3600, abs=5)


@pytest.mark.parametrize("answer", [said(0, stratum=0), said(0, mode=3), b"short"])
def test_what_is_no_time_is_not_believed(server: tuple[int, list[bytes]], answer: bytes) -> None:
    port, answers = server
    answers.append(answer)
    assert sntp.clock_ahead_s("127.0.0.1", port) is None


def test_a_server_that_is_silent_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sntp, "ANSWER_S", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert sntp.clock_ahead_s("127.0.0.1", silent.getsockname()[1]) is None
        free = silent.getsockname()[1]
    assert sntp.clock_ahead_s("127.0.0.1", free) is None


class Sitter:
    """A process with a terminal of its own that sits down to set the machine up."""

    def __init__(self, lock: Path, how: str) -> None:
        self._master, slave = os.openpty()
        self.terminal = os.ttyname(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SIT_DOWN, str(lock), how],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(slave)

    def wait_here(self) -> None:
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == "here\n", (self.process.wait(60), self.process.stderr and self.process.stderr.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._master)


def test_one_person_at_a_time_and_the_next_may_take_over(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "setup.lock"
    with Sitter(lock, "alone") as first:
        first.wait_here()
        with Sitter(lock, "alone") as second:
            _, told = second.process.communicate(timeout=20)
            assert told.startswith(f"this machine is being set up on {first.terminal}\n")
        with Sitter(lock, "take over") as third:
            third.wait_here()
            assert first.process.wait(10) == -signal.SIGHUP
            assert lock.read_text() == f"{third.terminal} {third.process.pid}"
