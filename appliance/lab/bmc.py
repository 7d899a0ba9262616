# SPDX-License-Identifier: GPL-2.0-or-later
"""The keeper's end of a machine's BMC (bmc_server.py): its process, and what ails it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from appliance.errors import PairkeepError
from appliance.lab.spec import BmcSpec
from appliance.run import MORTAL

READY = "ready"
"""What the process prints once it answers."""
_START_S = 20.0


def log_file(machine: str) -> Path:
    """What the BMC of ``machine`` was asked and answered, in the lab's folder; it outlives restores."""
    return Path(f"bmc-{machine}.log")


class BmcProcess:
    """The BMC of ``machine``, from ``start`` until the keeper ends."""

    def __init__(self, machine: str, spec: BmcSpec) -> None:
        self.mute = False
        self.delay_s = 0.0
        self._machine = machine
        self._spec = spec
        self._program: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it answers. Raises PairkeepError when it does not come so far."""
        spec = self._spec
        program = await asyncio.create_subprocess_exec(
            *(*MORTAL, sys.executable, "-m", "appliance.lab.bmc_server"),
            *(self._machine, spec.address, spec.user, spec.password, str(log_file(self._machine))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        if program.stdout is None:
            raise ValueError("the BMC's output must be a pipe")
        async with asyncio.timeout(_START_S):
            if (await program.stdout.readline()).decode().strip() != READY:
                raise PairkeepError(f"the BMC of {self._machine} did not start; keeper.log may tell why")
        self._program = program

    def trouble(self, *, mute: bool | None = None, delay_s: float | None = None) -> None:
        """From now on answer nothing, or take ``delay_s`` over each packet; None leaves it as it is."""
        self.mute = self.mute if mute is None else mute
        self.delay_s = self.delay_s if delay_s is None else delay_s
        if self._program is None or self._program.stdin is None:
            raise PairkeepError(f"the BMC of {self._machine} has not started")
        line = json.dumps({"mute": self.mute, "delay_s": self.delay_s})
        self._program.stdin.write(line.encode() + b"\n")

    def in_words(self) -> list[str]:
        """What ails it, for people."""
        slow = [f"BMC takes {self.delay_s:g} s over each packet"] if self.delay_s else []
        return ["BMC does not answer"] if self.mute else slow
