# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that end, that do not, and that leave others behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.run import KILLED_S, TIDY_S, RunError, run

# Its child holds what it prints to open, as a program in the kernel's hands does.
LINGERS = """
import subprocess, sys
print("begun", flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(15)"])
child.wait()
"""


def test_what_it_is_told_and_what_it_says() -> None:
    assert run(["cat"], stdin="hello").stdout == "hello"
    assert run(["sh", "-c", "exit 3"], check=False).returncode == 3
    with pytest.raises(RunError, match="sh ended with 3: no"):
        run(["sh", "-c", "echo no >&2; exit 3"])


def test_its_time_is_a_bound_whatever_keeps_it() -> None:
    began = time.monotonic()
    with pytest.raises(RunError, match="ran out of time") as failure:
        run([sys.executable, "-c", LINGERS], timeout_s=1.0)
    assert time.monotonic() - began < 5 * (1.0 + KILLED_S)
    assert failure.value.returncode is None
    assert failure.value.left is None  # it could be killed


# mmdebstrap takes its mounts and its folder away when it is told to end.
TIDIES = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path(sys.argv[1]).unlink()))
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""


def interrupted_once(made: Path, argv: list[str], *, group: bool) -> None:
    """Run ``argv``, and interrupt it when it has made the file ``made``."""

    def interrupted(*_: object) -> None:
        if made.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(argv, group=group)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_who_is_interrupted_lets_the_program_tidy_up(tmp_path: Path) -> None:
    made = tmp_path / "made"
    interrupted_once(made, [sys.executable, "-c", TIDIES, str(made)], group=False)
    assert not made.exists()


# As `unshare --fork` and mmdebstrap do: it waits for the one that works, and does not hear that it is to end.
WAITS = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {TIDIES!r}, sys.argv[1]])
sys.exit(child.wait())
"""


def test_a_group_is_told_to_end_as_a_whole(tmp_path: Path) -> None:
    made = tmp_path / "made"
    began = time.monotonic()
    interrupted_once(made, [sys.executable, "-c", WAITS, str(made)], group=True)
    assert not made.exists()
    assert time.monotonic() - began < TIDY_S


def test_a_group_that_does_not_end_is_killed_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.run.TIDY_S", 0.2)
    deaf = "trap '' TERM; (while :; do sleep 0.05; echo >>\"$1\"; done) & wait"
    interrupted_once(tmp_path / "written", ["sh", "-c", deaf, "sh", str(tmp_path / "written")], group=True)
    so_far = (tmp_path / "written").stat().st_size
    time.sleep(0.5)
    assert (tmp_path / "written").stat().st_size == so_far


def test_who_signals_its_whole_group_does_not_end_who_asked_for_it() -> None:
    """mmdebstrap does so when the disk is full; `make` and this very process were in that group."""
    with pytest.raises(RunError, match="sh was ended by signal 1: No space left on device"):
        run(["sh", "-c", "echo No space left on device >&2; kill -HUP 0; sleep 10"], group=True)


ASKS = f"""
import sys
from appliance.cli import main as cli, image
from appliance.run import run
image.run_list = lambda args: run([sys.executable, "-c", {WAITS!r}, sys.argv[1]], group=True) and 0
sys.exit(cli.main(["image", "list"]))
"""


def test_a_command_that_is_told_to_end_tells_those_that_work_for_it(tmp_path: Path) -> None:
    made = tmp_path / "made"
    command = subprocess.Popen([sys.executable, "-c", ASKS, str(made)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not made.exists() and command.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        command.terminate()
        said = command.communicate(timeout=60)[1]
    finally:
        command.kill()
    assert (command.returncode, said) == (128 + signal.SIGTERM, "pairkeep: interrupted\n")
    assert not made.exists()


def test_what_is_shown_goes_where_this_process_prints(capfd: pytest.CaptureFixture[str]) -> None:
    done = run(["sh", "-c", "echo seen; echo wrong >&2"], shown=True)
    assert (done.stdout, done.stderr) == ("", "")
    told = capfd.readouterr()
    assert (told.out, told.err) == ("seen\n", "wrong\n")
    with pytest.raises(RunError, match="sh ended with 4"):
        run(["sh", "-c", "exit 4"], shown=True)
    with pytest.raises(RunError, match="ran out of time"):
        run(["sleep", "60"], shown=True, timeout_s=0.1)
