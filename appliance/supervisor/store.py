# SPDX-License-Identifier: GPL-2.0-or-later
"""The record on disk. What `save` has returned from survives a power cut."""

from __future__ import annotations

from pathlib import Path

from appliance.decide.view import BLANK, Record
from appliance.errors import PairkeepError
from appliance.files import replace_file
from appliance.membership.codec import CodecError, record_from_json, record_to_json

PATH = Path("/var/lib/pairkeep/record.json")


def load(path: Path = PATH) -> Record:
    """The record of this node; blank before the first. Raises PairkeepError when it cannot be read.

    A damaged record is no reason to go on without one: it may be the only memory of whose data is stale.
    """
    try:
        return record_from_json(path.read_text())
    except FileNotFoundError:
        return BLANK
    except CodecError as error:
        raise PairkeepError(
            f"{path} is damaged: {error.message}",
            hint="copy it from the other worker or the witness, whichever ran last",
        ) from error


def save(record: Record, path: Path = PATH) -> None:
    """Replace the file so that after a power cut either the old or the new one is there, whole."""
    replace_file(path, record_to_json(record).encode())
