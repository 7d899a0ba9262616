# SPDX-License-Identifier: GPL-2.0-or-later
"""What a simulated cluster is put through, as plain data: it can be kept, cut down, and lived through again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Value = float | str


@dataclass(frozen=True)
class Act:
    """One fault, and the seconds that pass ``after`` it. ``node`` is a name, or @GROUP: whoever serves it then."""

    fault: str
    node: str
    values: tuple[Value, ...] = ()
    after: float = 0.0


@dataclass(frozen=True)
class Round:
    """``wait`` seconds, then the acts, judged as the ``kind`` wants it; then all is put right, and has to heal."""

    kind: str
    wait: float
    acts: tuple[Act, ...]


@dataclass(frozen=True)
class Script:
    """A cluster's life. ``seed`` decides how long everything takes; ``shape`` is one of `shapes.SHAPES`."""

    shape: str
    seed: int
    rounds: tuple[Round, ...]

    @property
    def acts(self) -> int:
        return sum(len(r.acts) for r in self.rounds)

    def text(self) -> str:
        """For a person: one line a fault."""
        lines = [f"cluster {self.shape!r}, timing of seed {self.seed}"]
        for number, each in enumerate(self.rounds, start=1):
            lines.append(f"round {number}, {each.kind}, after {each.wait:.1f} s")
            for act in each.acts:
                values = " ".join(v if isinstance(v, str) else f"{v:g}" for v in act.values)
                what = " ".join(filter(None, (act.fault.replace("_", " "), values)))
                lines.append(f"  {what} on {act.node}, then {act.after:.1f} s")
        return "\n".join(lines)


def save(script: Script, path: Path, why: str) -> None:
    """``why``: what went wrong, for whoever finds the file."""
    path.write_text(json.dumps({"why": why, **asdict(script)}, indent=1) + "\n")


def load(path: Path) -> Script:
    data: dict[str, Any] = json.loads(path.read_text())
    rounds = tuple(
        Round(r["kind"], r["wait"], tuple(Act(**{**a, "values": tuple(a["values"])}) for a in r["acts"]))
        for r in data["rounds"]
    )
    return Script(data["shape"], data["seed"], rounds)
