# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulator's story, told to a person: what happened when, each thing once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.sim.clock import Story

# Words of the simulator that tell how it works rather than what happens.
SILENT = ("corosync", "judge")
# Within so many seconds all supervisors have told of the same thing.
SAME_S = 5.0
DID = {"start": "started", "stop": "stopped", "fence": "switched off"}


@dataclass(frozen=True)
class Line:
    """``at``: seconds since the beginning; ``who``: a node, a group, or "person"."""

    at: float
    who: str
    text: str


class Narrator:
    """``steps``: (node, step, seconds) of all that were carried out; ``last_news``: when something new was told."""

    def __init__(self, story: Story, began: float) -> None:
        self.lines: list[Line] = []
        self.steps: list[tuple[str, str, float]] = []
        self.last_news = 0.0
        self._story = story
        self._began = began
        self._begun: dict[tuple[str, str], float] = {}
        self._told: dict[str, float] = {}

    def say(self, who: str, text: str) -> None:
        self._add(self._story.clock.now - self._began, who, text)

    def listen(self) -> None:
        """Take up what was told since the last time."""
        told, self._story.lines[:] = list(self._story.lines), []
        for time, who, text in told:
            if who not in SILENT and text:
                self._hear(round(time - self._began, 2), who, text)

    def _hear(self, at: float, who: str, text: str) -> None:
        text = text.replace(" of fence:", " of ")
        begins = re.fullmatch(r"begins (\w+ of .+)", text)
        done = re.fullmatch(r"(\w+) of (.+) done", text)
        if begins is not None:
            self._begun[who, begins[1]] = at
        elif done is not None:
            seconds = at - self._begun.get((who, f"{done[1]} of {done[2]}"), at)
            self.steps.append((who, f"{done[1]} {done[2]}", seconds))
            did = f"{DID[done[1]]} {done[2]}" if done[1] in DID else f"{done[1]} of {done[2]}"
            self._add(at, who, f"has {did} ({seconds:.1f} s)" if done[1] in DID else f"{did} ({seconds:.1f} s)")
        elif text.startswith("["):
            event = text[1:-1]
            if self._matters(at, who, event):
                self._add(at, who, event)
        elif not text.startswith("fence of "):
            self._add(at, who, text)

    def _matters(self, at: float, who: str, event: str) -> bool:
        """What all supervisors notice is told by the first of them; what each says of itself, by each."""
        if event.startswith(("this node", "no longer")):
            return True
        if event == f"{who} takes part" or ": no quorum: " in event or f" failed on {who}: " in event:
            return False  # told in other words
        last = self._told.get(event)
        self._told[event] = at
        return last is None or at - last > SAME_S

    def _add(self, at: float, who: str, text: str) -> None:
        known = any(line.who == who and line.text == text for line in self.lines[-40:])
        if not known:
            self.last_news = at
        self.lines.append(Line(round(at, 1), who, text))
