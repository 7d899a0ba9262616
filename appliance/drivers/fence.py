# SPDX-License-Identifier: GPL-2.0-or-later
"""Switches another machine off and on, by the agents of the fence-agents project.

Their contract (FenceAgentAPI.md of fence-agents): what to do is told on standard input, one ``key=value`` a
line, so that no secret stands in a process list. ``status`` ends with 0 when the machine is on, with 2 when
it is off, and with anything else when that could not be learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.config.model import FenceDevice, Node
from appliance.drivers import secret
from appliance.drivers.base import DriverError
from appliance.run import run

FOLDER = Path("/usr/sbin")
IS_ON = 0
IS_OFF = 2
# Of timeout(1): ended, or killed a second later because it did not end.
TIMED_OUT = (124, 137)


def agent_input(device: FenceDevice, action: str, secrets: Mapping[str, str]) -> str:
    """What the agent reads; ``secrets``: the options that stand in files."""
    told = {**device.options, **secrets, "action": action}
    return "".join(f"{key}={value}\n" for key, value in told.items())


@dataclass(frozen=True)
class FenceState:
    """``problems``: what is wrong with devices, in words. ``off``: all that answer say that the machine is off."""

    problems: tuple[str, ...]
    off: bool


class Fence:
    """The devices of ``node``. All calls block, each for at most the sum of the devices' time-outs, twice."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def off(self) -> None:
        """Returns once a device says that the machine is off. Raises DriverError when none could do it."""
        complaints: list[str] = []
        for device in self._node.fence:
            try:
                _act(device, "off")
                if _is_on(device):
                    raise DriverError("it says that it switched off, and that the power is on")
            except DriverError as error:
                complaints.append(f"{device.agent}: {error.message}")
            else:
                return
        raise DriverError("; ".join(complaints))

    def on(self) -> None:
        """Switch it on again. Raises DriverError."""
        complaints: list[str] = []
        for device in self._node.fence:
            try:
                _act(device, "on")
            except DriverError as error:
                complaints.append(f"{device.agent}: {error.message}")
            else:
                return
        raise DriverError("; ".join(complaints))

    def check(self) -> FenceState:
        """Ask all devices; nothing is switched."""
        problems: list[str] = []
        answers: list[bool] = []
        for device in self._node.fence:
            try:
                answers.append(_is_on(device))
            except DriverError as error:
                problems.append(f"{device.agent}: {error.message}")
        return FenceState(tuple(problems), off=bool(answers) and not any(answers))


def _act(device: FenceDevice, action: str) -> None:
    returncode, said = _run(device, action)
    if returncode != 0:
        raise DriverError(f"{action} failed: {said}")


def _is_on(device: FenceDevice) -> bool:
    returncode, said = _run(device, "status")
    if returncode not in (IS_ON, IS_OFF):
        raise DriverError(f"its status could not be learnt: {said}")
    return returncode == IS_ON


def _run(device: FenceDevice, action: str) -> tuple[int, str]:
    """The agent's exit code and its last words."""
    agent = FOLDER / device.agent
    if not agent.exists():
        raise DriverError(f"{agent} is not installed")
    told = agent_input(device, action, {option: secret.read(Path(file)) for option, file in device.files.items()})
    # By timeout(1), which ends what the agent has started too: an "off" that is given up must not come true later.
    done = run(["timeout", "--kill-after=1", f"{device.timeout_s:g}", agent], stdin=told, check=False)
    if done.returncode in TIMED_OUT:
        raise DriverError(f"{action} took longer than {device.timeout_s:g} s")
    said = (done.stderr or done.stdout).strip().splitlines()
    return done.returncode, said[-1] if said else f"it ended with {done.returncode}"
