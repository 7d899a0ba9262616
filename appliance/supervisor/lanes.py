# SPDX-License-Identifier: GPL-2.0-or-later
"""Worker threads, one a lane: what blocks is done here, in order within a lane, apart from other lanes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Lanes:
    """``post`` hands a finished job's follow-up to the main loop's thread; it must be thread-safe."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._queues: dict[str, queue.SimpleQueue[Callable[[], Callable[[], None]]]] = {}

    def put(self, lane: str, job: Callable[[], Callable[[], None]]) -> None:
        """Run ``job`` in its lane; the function that it returns then runs in the main loop."""
        if lane not in self._queues:
            self._queues[lane] = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(self._queues[lane],), name=lane, daemon=True).start()
        self._queues[lane].put(job)

    def _work(self, jobs: queue.SimpleQueue[Callable[[], Callable[[], None]]]) -> None:
        while True:
            self._post(jobs.get()())
