# SPDX-License-Identifier: GPL-2.0-or-later
"""What the supervisor's loop needs of the world: the real one (`service.py`) or a simulated one (`sim`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from appliance.decide.messages import Message
from appliance.decide.steps import Step
from appliance.decide.view import Configuration, Record


@dataclass(frozen=True)
class Event:
    """Something worth telling: ``kind`` for programs, ``text`` for people, ``data`` JSON values."""

    kind: str
    text: str
    data: Mapping[str, str | float | int | bool | None] = field(default_factory=dict)


class World(Protocol):
    """Nothing in here blocks but ``persist``, which returns when the record is safely on disk."""

    def now(self) -> float:
        """Seconds of a clock that never goes back and does not stop while the machine sleeps."""

    def multicast(self, message: Message) -> None:
        """Send to all members, this node included, in the order of calls."""

    def persist(self, record: Record) -> None:
        """Once it returns, ``record`` survives a power cut. Raises OSError when it cannot be written."""

    def begin(self, step: Step) -> None:
        """Carry out ``step``; its end is told by ``Core.on_step_done``."""

    def pet(self) -> None:
        """Give the watchdog its full time again."""

    def disarm(self) -> None:
        """Stop the watchdog: nothing runs here, or the others know that something does."""

    def answer(self, drbd: str, code: int) -> None:
        """Answer the kernel's fence-peer handler (codes: drbd.conf(5), and drbd_nl.c)."""

    def take_up(self, config: Configuration) -> None:
        """Prepare to run by ``config``, then end and be started again. Services run on.

        The loop goes on until then: it feeds the watchdog.
        """

    def tell(self, event: Event) -> None: ...

    def finished(self) -> None:
        """The supervisor has nothing left to do and may end."""
