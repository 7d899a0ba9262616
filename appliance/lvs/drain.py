# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that get no new connections for now, and keep those they have: their weight is 0 meanwhile.

keepalived must not take them out either, as it does with all servers when it lets the sorry server answer: their
connections would end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from appliance.config.model import Cluster
from appliance.config.virtual import Real
from appliance.errors import InputError


def drained_name(virtual: str, real: str) -> str:
    """As the record has it."""
    return f"{virtual}/{real}"


def with_drained(cluster: Cluster, drained: Collection[str], enabled: Collection[str] = ()) -> Cluster:
    """``cluster`` as its directors run by it. Names that it does not have any more are nobody's.

    ``enabled``: servers that were drained until just now. keepalived 2.3 gives a server that it has left in the
    kernel its weight back only as long as it may not be taken out; afterwards it may.
    """
    if not drained and not enabled:
        return cluster
    return replace(
        cluster,
        virtuals=tuple(
            replace(
                virtual,
                reals=tuple(_real(virtual.name, real, drained, enabled) for real in virtual.reals),
            )
            for virtual in cluster.virtuals
        ),
    )


def _real(virtual: str, real: Real, drained: Collection[str], enabled: Collection[str]) -> Real:
    name = drained_name(virtual, real.name)
    if name in drained:
        return replace(real, weight=0, stays=True)
    return replace(real, stays=True) if name in enabled else real


def chosen(cluster: Cluster, virtual: str, real: str) -> list[str]:
    """What is meant by ``real`` (a name or an address) of ``virtual``, or of all services where that is empty.

    Raises InputError when there is no such.
    """
    names = [v.name for v in cluster.virtuals]
    if virtual and virtual not in names:
        raise InputError(f"there is no virtual service {virtual!r}; there is {', '.join(names) or 'none'}")
    found = [
        drained_name(v.name, r.name)
        for v in cluster.virtuals
        for r in v.reals
        if (not virtual or v.name == virtual) and real in (r.name, str(r.address))
    ]
    if not found:
        where = f"of {virtual}" if virtual else "of any virtual service"
        raise InputError(f"there is no real server {real!r} {where}", hint="pairkeep lvs status")
    return found
