# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the wizard is, as a value in a file: written after each page, read by whichever console goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from appliance.files import replace_file
from appliance.firstboot.fields import Values

FOLDER = Path("/var/lib/pairkeep")
STATE = FOLDER / "setup.json"


@dataclass(frozen=True)
class State:
    """``values``: page key -> field -> answer. ``page``: the key of the page that is next; "" for the first.

    ``notice``: what a person has to be told there first, such as the fault of an answers file. ``file``: a hash of
    the answers file that was taken last; "" for none. ``by_person``: somebody has changed an answer on a console,
    so no file is taken any more.
    """

    values: Mapping[str, Values] = field(default_factory=dict)
    page: str = ""
    notice: str = ""
    file: str = ""
    by_person: bool = False


def load(path: Path = STATE) -> State:
    """The saved state; a fresh one when there is none, or none that can be read: nothing is lost but typing."""
    try:
        raw = json.loads(path.read_text())
        values = {str(p): {str(k): str(v) for k, v in page.items()} for p, page in raw["values"].items()}
        return State(values, str(raw["page"]), str(raw["notice"]), str(raw["file"]), raw["by_person"] is True)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return State()


def save(state: State, path: Path = STATE) -> None:
    """Answers hold passwords, so only root may read them."""
    replace_file(path, json.dumps(asdict(state), indent=1).encode(), 0o600)
