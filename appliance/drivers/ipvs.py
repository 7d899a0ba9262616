# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's virtual services, by ipvsadm: pyroute2 of Debian 13 has nothing for them, and later ones had faults.

Nothing else reads or changes them; keepalived, which makes them, has a way of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance.lvs.table import ServiceKey, Table, parse_listed, parse_saved
from appliance.run import run

PROC = Path("/proc/net/ip_vs")
IPVSADM_S = 20.0


@dataclass(frozen=True)
class Counts:
    """Of a service or a server: connections now, and since it was made; and what comes and goes each second."""

    active: int = 0
    inactive: int = 0
    connections: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connections_s: int = 0
    bytes_in_s: int = 0
    bytes_out_s: int = 0


# By service and server ("" for the service as a whole).
AllCounts = dict[tuple[ServiceKey, str], Counts]


def loaded() -> bool:
    """Without the module there are no services, and asking for them would load it."""
    return PROC.exists()


def saved() -> list[str]:
    """What the kernel has, but for limits, as text that is the same as long as nothing changes. Raises RunError."""
    return _lines("-S", "-n") if loaded() else []


def table(lines: list[str]) -> Table:
    """``lines``: what `saved` returned just now. Raises RunError, TableError."""
    return parse_saved(lines, _lines("-L", "-n", "--thresholds")) if lines else {}


def counts() -> AllCounts:
    """Raises RunError, TableError."""
    found: AllCounts = {}
    now = {(row.key, row.server): row.numbers for row in parse_listed(_lines("-L", "-n", "--exact"))}
    rates = {(row.key, row.server): row.numbers for row in parse_listed(_lines("-L", "-n", "--exact", "--rate"))}
    for row in parse_listed(_lines("-L", "-n", "--exact", "--stats")):
        at = (row.key, row.server)
        # A service's own row says nothing of connections now: they are its servers'.
        active, inactive = now[at][1:3] if row.server and at in now else (0, 0)
        connections, packets_in, packets_out, bytes_in, bytes_out = row.numbers
        per_second = rates.get(at, (0, 0, 0, 0, 0))
        found[at] = Counts(
            *(active, inactive, connections, packets_in, packets_out, bytes_in, bytes_out),
            *(per_second[0], *per_second[3:]),
        )
    return found


def carry_out(repairs: Iterable[tuple[str, ...]]) -> None:
    """Each of ``repairs``, ipvsadm's words. Raises RunError at the first that fails."""
    for words in repairs:
        run(("ipvsadm", *words), timeout_s=IPVSADM_S)


def _lines(*words: str) -> list[str]:
    return run(("ipvsadm", *words), timeout_s=IPVSADM_S).stdout.splitlines()
