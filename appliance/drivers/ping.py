# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether an address answers."""

from __future__ import annotations

from appliance.run import RunError, run

ANSWER_S = 2


def ping_argv(address: str) -> tuple[str, ...]:
    """One packet (ping(8))."""
    return ("ping", "-q", "-n", "-c", "1", "-W", str(ANSWER_S), address)


def answered(address: str) -> bool:
    """Blocks for at most a few seconds."""
    try:
        return run(ping_argv(address), check=False, timeout_s=ANSWER_S + 3).returncode == 0
    except RunError:
        return False
