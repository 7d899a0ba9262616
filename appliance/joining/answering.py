# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells machines that are in doubt how it ended. See records.py."""

from __future__ import annotations

from pathlib import Path

from appliance.joining import records
from appliance.joining.channel import HANDSHAKE_S, UNKNOWN, Hello, Wire, refuse, take_up


def answer(wire: Wire, hello: Hello, folder: Path, *, deciding: bool) -> None:
    """One machine's question. ``deciding``: an open attempt is one that this program works on. Raises Lost."""
    record = records.load_hosted(folder)
    key = record.members.get(hello.session_id) if record is not None else None
    if record is None or key is None:
        refuse(wire, UNKNOWN)
        return
    asker = take_up(wire, hello, key)
    asked = asker.receive(HANDSHAKE_S).get("attempt")
    if asked == record.attempt and record.decision == "open" and deciding:
        asker.send("wait")
        return
    ended = asked == record.attempt and record.decision in ("commit", "begun anew")
    asker.send(record.decision if ended else "give up")
    asker.receive(HANDSHAKE_S)
    records.settle_member(folder, hello.session_id)
