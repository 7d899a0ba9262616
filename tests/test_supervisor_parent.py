# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's parent, with real processes and signals."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Each child tells its number and, once one was left, what the kept descriptor refers to. The letter that it then
# reads says how it ends.
CHILD = """
import os, pathlib, signal, sys
from appliance.supervisor import parent
parent.PAUSE_S = 0.01
parent.BUSY_S = 0.5
ready = []
prepare = lambda: ready.append(1)
keep = parent.Parent({}, lambda name, handle: print("left", name, flush=True), prepare).fork()
path = pathlib.Path(sys.argv[1])
handle = keep.handle("file")
kept = "nothing" if handle is None else os.readlink(f"/proc/self/fd/{handle}")
print("child", os.getpid(), os.getppid(), kept, len(ready), flush=True)
for word in sys.stdin.readline().split():
    if word == "leave":
        keep.leave("file", os.open(path, os.O_RDONLY))
    elif word == "wait":
        signal.pause()
    else:
        sys.exit(int(word))
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "kept").touch()
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", CHILD, str(tmp_path / "kept")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def _line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def _say(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{words}\n")
    process.stdin.flush()


def test_one_child_follows_another_and_finds_what_was_left(started: subprocess.Popen[str], tmp_path: Path) -> None:
    _, first, parent, kept, _ready = _line(started)
    assert (int(parent), kept) == (started.pid, "nothing")
    _say(started, "leave 3")
    assert _line(started) == ["left", "file"]
    _, second, parent, kept, _ready = _line(started)
    assert (int(parent), kept) == (started.pid, str(tmp_path / "kept"))
    assert second != first
    _say(started, "wait")
    os.kill(int(second), signal.SIGKILL)
    assert _line(started)[3] == str(tmp_path / "kept")


def test_what_was_prepared_while_one_lived_the_next_has(started: subprocess.Popen[str]) -> None:
    first = _line(started)
    _say(started, "wait")
    time.sleep(2)
    os.kill(int(first[1]), signal.SIGKILL)
    assert (first[4], _line(started)[4]) == ("0", "1")


def test_sigterm_ends_the_child_and_then_the_parent(started: subprocess.Popen[str]) -> None:
    child = int(_line(started)[1])
    _say(started, "wait")
    started.send_signal(signal.SIGTERM)
    assert started.wait(10) == 0
    assert not Path(f"/proc/{child}").exists()


def test_a_child_does_not_outlive_its_parent(started: subprocess.Popen[str]) -> None:
    child = int(_line(started)[1])
    _say(started, "wait")
    watch = os.pidfd_open(child)
    started.kill()
    started.wait()
    assert select.select([watch], [], [], 10)[0], "it still runs"
    os.close(watch)
