# SPDX-License-Identifier: GPL-2.0-or-later
"""Who switches whom off. Only what nobody has heard from, and only when something has to wait for it."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.decide.view import ClusterView


def shots(view: ClusterView, awaited: Iterable[str]) -> dict[str, list[str]]:
    """For each node whom it is to switch off, of the ``awaited`` ones. All members must have reported.

    One member tries at a time: the one that has failed least often in this membership, workers first.
    """
    found: dict[str, list[str]] = {}
    for target in awaited:
        if view.cluster.node(target).fence and suspected(view, target):
            shooters = [n for n in _in_order(view) if n != target]
            if shooters:
                least = min(shooters, key=lambda n: _tries(view, n, target))
                found.setdefault(least, []).append(target)
    return found


def suspected(view: ClusterView, node: str) -> bool:
    """``node`` may be running what nobody controls any more: it fell silent, or cannot stop what it has."""
    if view.surely_down(node) or node in view.record.detached:
        return False
    if node in view.members:
        return any(share.stuck for share in view.reports[node].groups.values())
    return any(node in report.suspects for report in view.reports.values())


def trouble(view: ClusterView, node: str) -> str | None:
    """Why ``node`` could not be switched off yet; None while nobody has failed."""
    found = [r.fence_troubles[node] for r in view.reports.values() if node in r.fence_troubles]
    return max(found, key=lambda t: t.tries).text if found else None


def _in_order(view: ClusterView) -> list[str]:
    return sorted(view.members, key=lambda n: view.cluster.node(n).votes_only)


def _tries(view: ClusterView, shooter: str, target: str) -> int:
    had = view.reports[shooter].fence_troubles.get(target)
    return had.tries if had else 0
