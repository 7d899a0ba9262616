# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that end, that do not, and that leave others behind."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from appliance.run import KILLED_S, RunError, run

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


def test_who_is_interrupted_lets_the_program_tidy_up(tmp_path: Path) -> None:
    made = tmp_path / "made"

    def interrupted(*_: object) -> None:
        if made.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            run([sys.executable, "-c", TIDIES, str(made)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
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
