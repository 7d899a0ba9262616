# SPDX-License-Identifier: GPL-2.0-or-later
"""After the questions: the others join, or this machine joins, and what comes of it. Shows nothing itself."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from appliance.firstboot import compose
from appliance.firstboot.given import Given
from appliance.firstboot.install import Report
from appliance.joining import Bundle, Candidate, Host, JoinError, abandon, join, resume

# How many of the last events the page of the creating machine shows.
EVENTS = 4
_EVENT_WORDS = {
    "joined": "{} has joined",
    "left": "{} is gone again",
    "refused": "refused: {}",
    "expired": "the code has expired; make a new one",
    "locked": "three wrong tries have ended the code; make a new one",
}
_JOIN_WORDS = {
    "connected": "{} knows the code",
    "admitted": "{} lets this machine join",
    "waiting": "waiting for the others; go on at {} when all have joined",
    "given up": "not yet: {}",
    "in doubt": "waiting to learn whether the cluster was formed: {}",
}


class Gathering:
    """The machine that creates waits for the others. ``changed`` is called, from any thread, when it has news."""

    def __init__(self, given: Given, changed: Callable[[], None]) -> None:
        self._given = given
        self._changed = changed
        self._lock = threading.Lock()
        self._events: list[str] = []
        self.own: Candidate = compose.candidate(given)
        self._host = Host(self.own, admit=lambda other: compose.admit(given, self.own, self._host.joined, other))

    def start(self) -> None:
        """Raises JoinError."""
        self._host.start(self._heard)

    @property
    def code(self) -> str:
        return self._host.code

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the others find this machine."""
        return tuple(link.partition("/")[0] for link in self.own.links)

    @property
    def joined(self) -> tuple[Candidate, ...]:
        return self._host.joined

    @property
    def missing(self) -> tuple[str, ...]:
        return compose.missing(self._given, self.joined)

    @property
    def events(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._events[-EVENTS:])

    def new_code(self) -> None:
        self._host.renew()
        self._changed()

    def finish(self) -> Bundle:
        """The cluster is formed, on all machines or on none. Raises JoinError."""
        made = compose.bundle(self._given, self.own, self.joined)
        self._host.finish(made)
        return made

    def close(self) -> None:
        self._host.close()

    def _heard(self, kind: str, text: str) -> None:
        with self._lock:
            self._events.append(_EVENT_WORDS[kind].format(text))
        self._changed()


def form(given: Given, gathering: Gathering | None, report: Report) -> Bundle:
    """What this machine is set up with: of a cluster that it forms, or that it joins. Raises JoinError.

    When the power went after the cluster was formed, this is that cluster.
    """
    made = taken_up(report)
    if made is not None:
        return made
    if gathering is not None:
        report("handing the configuration to the others")
        return gathering.finish()
    report(f"asking {given.get('cluster', 'host')}")
    return join(
        given.get("cluster", "host"),
        given.get("cluster", "code"),
        compose.candidate(given),
        on_event=_told(report),
    )


def taken_up(report: Report, within_s: float = math.inf) -> Bundle | None:
    """What was agreed upon before the power went; waits ``within_s`` while that is not known. Raises JoinError."""
    tell, until = _told(report), time.monotonic() + within_s

    def heard(kind: str, text: str) -> None:
        if time.monotonic() > until:
            raise JoinError(f"it is not known whether the cluster was formed: {text}")
        tell(kind, text)

    return resume(on_event=heard)


def _told(report: Report) -> Callable[[str, str], None]:
    said: list[str] = []

    def heard(kind: str, text: str) -> None:
        words = _JOIN_WORDS[kind].format(text)
        # Waiting is told every few seconds.
        if said[-1:] != [words]:
            said.append(words)
            report(words)

    return heard


def begin_anew() -> None:
    """A person gives up what was begun, also what may have been agreed upon."""
    abandon()
