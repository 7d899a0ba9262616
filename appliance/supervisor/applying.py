# SPDX-License-Identifier: GPL-2.0-or-later
"""A new cluster.toml for a running cluster: shown, checked by every node, and then in force on all or none."""

from __future__ import annotations

import time
from typing import Any

from appliance.config.load import parse
from appliance.config.model import Cluster
from appliance.decide.messages import Configure
from appliance.decide.view import Configuration
from appliance.errors import InputError
from appliance.supervisor.ballot import Answers, Ballot
from appliance.supervisor.core import Core
from appliance.supervisor.requests import Done
from appliance.upkeep.difference import Difference, difference


class Applying:
    """What the operations `preview` and `apply` do."""

    def __init__(self, core: Core, ballot: Ballot, text: str) -> None:
        self._core = core
        self._ballot = ballot
        self._text = text

    def preview(self, text: str) -> dict[str, Any]:
        """What ``text`` would change. Raises InputError when it is no cluster.toml."""
        found = self._difference(text)
        return {
            "version": self._core.view.record.config.version,
            "changes": list(found.lines),
            "same_text": text == self._text,
            "stops": [name for name in found.stops if self._runs(name)],
            "gone": list(found.gone),
            "refused": list(found.refused),
            "away": self._away(),
        }

    def apply(self, text: str, who: str, why: str, unchecked: bool, done: Done) -> None:
        """``done`` is called once the nodes have been told, or one of them could not run by it.

        ``unchecked``: also while nodes are away, which take it up when they are back. Raises InputError.
        """
        view = self._core.view
        found = self._difference(text)
        stops = [name for name in found.stops if self._runs(name)]
        if found.refused:
            raise InputError("\n  ".join(("this cannot change while the cluster runs", *found.refused)))
        if not (view.adopted and view.quorate):
            raise InputError("there is no quorum, so nothing can be changed", hint="pairkeep status")
        if view.record.config.name != self._core.config.name:
            raise InputError(f"version {view.record.config.version} is still being taken up")
        if stops and view.record.maintenance:
            raise InputError(
                f"{' and '.join(stops)} would have to stop, and the cluster is in maintenance",
                hint="pairkeep maintenance off",
            )
        if self._away() and not unchecked:
            raise InputError(
                f"{' and '.join(self._away())} cannot be asked whether it could run by that",
                hint="wait until all nodes are back, or: --unchecked",
            )
        number = view.record.config.version + 1
        config = Configuration(number, text, found.stops, who, why, round(time.time(), 1))

        def answered(answers: Answers) -> None:
            wrong = [f"{node}: {problem}" for node, found in answers.items() for problem in found]
            if wrong:
                done(InputError("\n  ".join(("refused, and nothing was changed", *wrong))))
                return
            try:
                self._core.wish(Configure("", config), done)
            except InputError as error:
                done(error)

        self._ballot.ask(text, answered)

    def _difference(self, text: str) -> Difference:
        new: Cluster = parse(text, "the new cluster.toml")
        return difference(self._core.cluster, new)

    def _runs(self, group: str) -> bool:
        reports = self._core.view.reports.values()
        return any(group in r.groups and r.groups[group].active for r in reports)

    def _away(self) -> list[str]:
        return [n.name for n in self._core.cluster.nodes if n.name not in self._core.view.members]
