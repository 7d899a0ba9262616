# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that end, that do not, and that leave others behind."""

from __future__ import annotations

import sys
import time

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
