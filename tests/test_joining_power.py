# SPDX-License-Identifier: GPL-2.0-or-later
"""Power cuts while a cluster is formed, at every step of either side: all become nodes, or none does."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests import joining_machines
from tests.joining_machines import DONE, POWER_CUT

# From a process without threads, in which everything slow is imported already.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([joining_machines.__name__])
JOINERS = ("beta", "witness")
WITHIN_S = 30.0


class Site:
    """Three machines, one of which loses power at its step ``cut_at``."""

    def __init__(self, folder: Path, victim: str, cut_at: int) -> None:
        self.folder = folder
        self._victim, self._cut_at = victim, cut_at
        self._port = _free_port()
        self._told: Connection
        self.machines: dict[str, BaseProcess] = {}
        for name in ("alpha", *JOINERS):
            (folder / name).mkdir()

    def play(self) -> bool:
        """Form a cluster; returns whether the victim got as far as losing its power."""
        self._start_host(self._cut_at if self._victim == "alpha" else None)
        for name in JOINERS:
            code = self._heard("code")
            if code is not None:
                self._start_joiner(name, code, self._cut_at if self._victim == name else None)
                if self._heard("joined", name) is None:
                    # Only a power cut keeps it from joining.
                    self.machines[self._victim].join(WITHIN_S)
                    break
        else:
            self._tell("finish")
            _wait(lambda: not self._alive(self._victim) or self._over())
        lost = self._lost_power()
        if lost:
            self._start_again()
        # A host that has failed is there to be asked until it is closed; a third machine waits for that.
        settling = JOINERS if self._victim == "alpha" else (self._victim,)
        _wait(lambda: not any(self._alive(name) for name in settling))
        self._tell("close")
        _wait(self._over)
        return lost

    def nodes(self) -> set[str]:
        return {name for name in ("alpha", *JOINERS) if (self.folder / name / DONE).exists()}

    def end(self) -> None:
        for process in self.machines.values():
            process.kill()
            process.join()

    def _start_host(self, cut_at: int | None) -> None:
        self._told, far = PROCESSES.Pipe()
        self._start("alpha", joining_machines.host, self.folder / "alpha", self._port, cut_at, far)
        far.close()

    def _start_joiner(self, name: str, code: str | None, cut_at: int | None) -> None:
        self._start(name, joining_machines.joining, self.folder / name, self._port, name, code, cut_at)

    def _start_again(self) -> None:
        if self._victim == "alpha":
            self._start_host(None)
        else:
            self._start_joiner(self._victim, None, None)

    def _start(self, name: str, life: Callable[..., None], *args: object) -> None:
        process = PROCESSES.Process(target=life, args=args)
        process.start()
        self.machines[name] = process

    def _alive(self, name: str) -> bool:
        return name in self.machines and self.machines[name].is_alive()

    def _lost_power(self) -> bool:
        process = self.machines.get(self._victim)
        return process is not None and process.exitcode == POWER_CUT

    def _heard(self, kind: str, joiner: str | None = None) -> str | None:
        """The text of the host's next word of this kind; None when it, or ``joiner``, is gone."""
        while self._alive("alpha") or self._told.poll():
            if self._told.poll(0.01):
                try:
                    found, text = self._told.recv()
                except EOFError:
                    return None
                if found == kind:
                    return str(text)
            elif joiner is not None and not self._alive(joiner):
                return None
        return None

    def _over(self) -> bool:
        """A host that is a node may go on waiting for questions that nobody has."""
        host_done = not self._alive("alpha") or "alpha" in self.nodes()
        return host_done and not any(self._alive(name) for name in JOINERS)

    def _tell(self, word: str) -> None:
        # If it is gone, the scenario goes on without it.
        with contextlib.suppress(OSError):
            self._told.send(word)


# The witness takes the same steps as beta does.
@pytest.mark.parametrize("victim", ["alpha", "beta"])
def test_a_power_cut_at_any_step_leaves_no_half_made_cluster(tmp_path: Path, victim: str) -> None:
    outcomes: list[int] = []
    for cut_at in range(200):
        folder = tmp_path / str(cut_at)
        folder.mkdir()
        site = Site(folder, victim, cut_at)
        try:
            lost = site.play()
        finally:
            site.end()
        nodes = site.nodes()
        assert nodes in (set(), {"alpha", *JOINERS}), f"{victim} lost power at its step {cut_at}"
        outcomes.append(len(nodes))
        if not lost:
            break
    # None up to some step, all from there on: so the steps that decide were among them.
    assert outcomes == sorted(outcomes)
    print(outcomes)
    assert outcomes[0] == 0
    assert outcomes[-1] == 3
    assert len(outcomes) > 10


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.005)
