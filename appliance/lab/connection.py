# SPDX-License-Identifier: GPL-2.0-or-later
"""The asking end of the keeper's socket."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from appliance.errors import InputError, PairkeepError
from appliance.lab.keeper import SOCKET


class KeeperGone(PairkeepError):
    """The keeper has ended, and its lab with it."""


class Connection:
    """A connection to the keeper of the lab in ``folder``; not for two threads at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX)
        # By way of a descriptor: the full name may be longer than a socket's may (unix(7)).
        descriptor = os.open(folder, os.O_PATH)
        try:
            self._socket.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
        except OSError as error:
            raise self._gone() from error
        finally:
            os.close(descriptor)
        self._answers = self._socket.makefile("rb")

    def ask(self, do: str, **more: Any) -> Any:
        """One request (see keeper.py); returns its value, or raises what it answers as an error."""
        try:
            self._socket.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
            line = self._answers.readline()
        except OSError as error:
            raise self._gone() from error
        if not line:
            raise self._gone()
        answer = json.loads(line)
        if "error" in answer:
            raise (InputError if answer["input"] else PairkeepError)(answer["error"], hint=answer["hint"])
        return answer["ok"]

    def _gone(self) -> KeeperGone:
        return KeeperGone(
            f"the keeper of lab {self._folder.name} has ended",
            hint=f"its last words: {self._folder / 'keeper.log'}",
        )
