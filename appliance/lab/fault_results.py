# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of the cases of the fault suite: kept after each one, so that a run can go on later, and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.build import folders


@dataclass(frozen=True)
class Result:
    """``found`` is an outcome of the table, or what was seen instead, in words; ``wrong`` is empty for a
    case that went as it should. ``outage_s``: the longest pause of the client from the fault to the
    outcome, None where it did not write all the time. ``rows_lost``, ``both_primary_s``: None where the
    service did not come back, so that nobody could look.
    """

    fault: str
    moment: str
    expected: str
    found: str
    outage_s: float | None
    repaired_s: float | None
    rows_acknowledged: int
    rows_lost: int | None
    both_primary_s: float | None
    wrong: str = ""

    @property
    def case(self) -> str:
        return f"{self.fault}@{self.moment}"


def folder() -> Path:
    return folders.build_folder() / "faults"


def table_path() -> Path:
    return folder() / "table.md"


def save(cluster: str, results: Iterable[Result]) -> None:
    """Write the table as Markdown and as JSON to `folder`. ``cluster`` names what the cases were run on."""
    found = list(results)
    folder().mkdir(parents=True, exist_ok=True)
    table_path().write_text(table(found))
    value = {"cluster": cluster, "results": [asdict(result) for result in found]}
    _kept().write_text(json.dumps(value, indent=1) + "\n")


def load(cluster: str) -> list[Result]:
    """What `save` kept of the same ``cluster``; nothing when that was another one, or nothing is kept."""
    try:
        kept = json.loads(_kept().read_text())
        return [Result(**result) for result in kept["results"]] if kept["cluster"] == cluster else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _kept() -> Path:
    return folder() / "results.json"


def table(results: Iterable[Result]) -> str:
    """The results as a Markdown table; what went wrong is told below it."""
    head = ("fault", "moment", "outcome", "outage s", "rows acknowledged", "rows lost", "")
    lines = [head, ("---",) * len(head)]
    notes = []
    for result in results:
        outage = "" if result.outage_s is None else f"{result.outage_s:.1f}"
        lost = "not known" if result.rows_lost is None else str(result.rows_lost)
        rows = (str(result.rows_acknowledged), lost)
        mark = "WRONG" if result.wrong else "ok"
        # A sentence of the product's would tear the table apart.
        outcome = result.found.partition(":")[0]
        lines.append((result.fault, result.moment, outcome, outage, *rows, mark))
        if result.wrong:
            notes.append(f"- {result.case}: {result.found}; {result.wrong}")
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n" + ("\n" + "\n".join(notes) + "\n" if notes else "")
