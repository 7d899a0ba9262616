# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that join by a code over loopback, each with its own disk."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import replace
from pathlib import Path

from appliance.joining import Bundle, Candidate, Host, JoinError, join

ALPHA = Candidate("alpha", "worker", "1.2.3", time.time(), ("10.9.1.11/24",), "/dev/disk/by-id/a", 1 << 30, {})
FENCE: dict[str, str | int | bool] = {"agent": "fence_ipmilan", "ip": "10.9.3.112", "password": "x"}
BETA = replace(ALPHA, name="beta", links=("10.9.1.12/24", "fd00:9::12/64"), fence=FENCE, version="1.2.9")
WITNESS = replace(ALPHA, name="witness", role="witness", disk=None, disk_bytes=None)
TOML = """\
[cluster]
name = "shop"
networks = ["10.9.1.0/24"]
[node.alpha]
links = ["10.9.1.11"]
[node.beta]
links = ["10.9.1.12"]
"""
BUNDLE = Bundle(TOML, bytes(range(256)), {"bmc.password": "s3cret"}, {"name": "shop", "user": "x"})
THREE = replace(BUNDLE, cluster_toml=f'{TOML}[node.witness]\nlinks = ["10.9.1.13"]\nvotes_only = true\n')


class Machine:
    """One side of a join, with its own disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: queue.Queue[tuple[str, str]] = queue.Queue()
        self.result: Bundle | Exception | None = None
        self._thread = threading.Thread()

    def on_event(self, kind: str, text: str) -> None:
        self.events.put((kind, text))

    def join(self, creator: Host, own: Candidate, code: str | None = None, at: str = "127.0.0.1") -> Machine:
        """In the background; `joined` waits for it."""

        def work() -> None:
            try:
                self.result = join(
                    at,
                    code or creator.code,
                    replace(own, clock_s=own.clock_s if own.clock_s != ALPHA.clock_s else time.time()),
                    on_event=self.on_event,
                    port=creator.port,
                    folder=self.folder,
                )
            except Exception as error:
                self.result = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return self

    def joined(self) -> Bundle:
        self._thread.join(20)
        assert isinstance(self.result, Bundle), self.result
        return self.result

    def refusal(self) -> str:
        self._thread.join(20)
        assert isinstance(self.result, JoinError), self.result
        return self.result.message

    def heard(self, kind: str) -> str:
        """The text of the next event of this kind."""
        while True:
            found, text = self.events.get(timeout=20)
            if found == kind:
                return text


Creator = tuple[Host, Machine]
