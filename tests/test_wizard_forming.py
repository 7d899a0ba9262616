# SPDX-License-Identifier: GPL-2.0-or-later
"""Two wizards on two terminals, driven by keystrokes alone, form a cluster by the code that one of them shows.

They run in a network namespace of their own, in which both machines' addresses are there.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from appliance.run import run
from tests.typist import BACKSPACE, ENTER, RIGHT, Typist, walk

UNSHARE = ["unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), "--net", "--"]
CARDS = ("enp0s2", "enp0s3")
PAUSE_S = 0.1


class Pty:
    """The outer end of a terminal on which a wizard runs."""

    def __init__(self, name: str, folder: Path, term: str) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        folder.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.wizard_child", name, str(folder)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": term},
            start_new_session=True,
        )
        os.close(slave)

    def fileno(self) -> int:
        return self._master

    def recv(self, most: int) -> bytes:
        try:
            return os.read(self._master, most)
        except OSError:
            return b""

    def sendall(self, data: bytes) -> None:
        os.write(self._master, data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def play(folder: Path, term: str) -> None:
    """Inside the namespace."""
    run(["ip", "link", "set", "dev", "lo", "up"])
    run(["ip", "address", "add", "10.9.1.11/32", "dev", "lo"])
    lines = {name: Pty(name, folder / name, term) for name in ("alpha", "beta")}
    with Typist("alpha", lines["alpha"], PAUSE_S) as alpha, Typist("beta", lines["beta"], PAUSE_S) as beta:
        for typist, number in ((alpha, 11), (beta, 12)):
            typist.wait_for("Step 1 of")
            walk(typist, typist.name, {card: f"10.9.{net}.{number}/24" for net, card in enumerate(CARDS, start=1)})
        alpha.answer("Cluster", "", "shop")
        alpha.answer("Fencing", (RIGHT, RIGHT, RIGHT))
        alpha.answer("Service", "10.9.1.100/24", "shop", "shop", "pairkeep-lab")
        code = alpha.wait_for(r"Code +([A-Z0-9]{4}-[A-Z0-9]{4})")[1]
        beta.answer("Cluster", RIGHT, "10.9.1.11", "XXXX-XXXX")
        beta.answer("Fencing", "")
        beta.answer("Summary")
        beta.wait_for("the code is wrong; 2 tries are left")
        alpha.wait_for("a wrong code; 2 tries are left")
        erased: list[bytes | str] = [BACKSPACE] * len(code)
        beta.answer("Cluster", "", "", (*erased, code))
        beta.answer("Fencing", "")
        beta.answer("Summary")
        beta.wait_for("alpha lets this machine join")
        alpha.wait_for("nobody: go on")
        alpha.answer("The other machines")
        alpha.answer("Summary")
        alpha.wait_for("alpha is set up")
        # Its one step failed; the cluster is formed all the same, and the second time it goes through.
        beta.wait_for("! the disk is not blank")
        beta.answer("Summary")
        beta.wait_for("beta is set up")
        for typist in (alpha, beta):
            typist.type(ENTER)
            assert lines[typist.name].process.wait(20) == 0


@pytest.mark.parametrize("term", ["vt220", "linux"])
def test_two_wizards_form_a_cluster_by_keystrokes_and_a_code(tmp_path: Path, term: str) -> None:
    inside = [
        sys.executable,
        "-c",
        f"from tests.test_wizard_forming import *; play(Path({str(tmp_path)!r}), {term!r})",
    ]
    run([*UNSHARE, *inside], timeout_s=300)
    made = [(tmp_path / name / "cluster.toml").read_text() for name in ("alpha", "beta")]
    keys = [(tmp_path / name / "key").read_bytes() for name in ("alpha", "beta")]
    assert made[0] == made[1]
    assert keys[0] == keys[1]
    assert "[node.beta]" in made[0]
    assert 'fencing = "manual"' in made[0]


def test_a_wizard_ends_when_its_terminal_is_gone(tmp_path: Path) -> None:
    """It must not go on reading from nothing, which takes a whole processor."""
    master, slave = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.wizard_child", "alpha", str(tmp_path)],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "vt220"},
        start_new_session=True,
    )
    os.close(slave)
    try:
        # Until it has drawn its page, and mostly reads.
        until = time.monotonic() + 4
        while time.monotonic() < until and select.select([master], [], [], 4)[0]:
            os.read(master, 4096)
        os.close(master)
        child.wait(timeout=60)
    finally:
        child.kill()
        child.wait()
