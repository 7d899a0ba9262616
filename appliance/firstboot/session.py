# SPDX-License-Identifier: GPL-2.0-or-later
"""One sitting at the wizard: its pages, and what is done when they are answered. Screens and prompts drive this."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from appliance.config.load import load
from appliance.errors import PairkeepError
from appliance.firstboot import compose, forming, state, steps
from appliance.firstboot.answers import Answers
from appliance.firstboot.forming import Gathering
from appliance.firstboot.given import Given
from appliance.firstboot.install import Report, install
from appliance.firstboot.machine import Machine
from appliance.firstboot.pages import settings_pages
from appliance.firstboot.state import State
from appliance.firstboot.summary import settings_summary, summary
from appliance.firstboot.wizard import Wizard


class Session(Protocol):
    """`FirstBoot`, or `Settings` of a machine that is set up."""

    wizard: Wizard
    gathering: Gathering | None

    def gather(self, changed: Callable[[], None], /) -> Gathering:
        """Let others join; see Gathering. The one that is there already, if so. Raises JoinError."""

    def stop_gathering(self) -> None:
        """Somebody went back: those who have joined do so anew."""

    def summary(self) -> list[tuple[str, str]]: ...

    def carry_out(self, report: Report) -> str:
        """Do it; returns what to say in the end. Raises PairkeepError; the wizard is then where it is mended."""


class FirstBoot:
    """Of a blank machine."""

    def __init__(self, machine: Machine, path: Path = state.STATE) -> None:
        self.wizard = Wizard(machine, state.load(path), lambda now: state.save(now, path))
        self.gathering: Gathering | None = None

    def gather(self, changed: Callable[[], None], /) -> Gathering:
        if self.gathering is None:
            gathering = Gathering(self.wizard.given, changed)
            gathering.start()
            self.gathering = gathering
        return self.gathering

    def stop_gathering(self) -> None:
        if self.gathering is not None:
            self.gathering.close()
            self.gathering = None

    def summary(self) -> list[tuple[str, str]]:
        return summary(self.wizard.given, self.gathering.joined if self.gathering else ())

    def carry_out(self, report: Report) -> str:
        given = self.wizard.given
        page = "gather" if given.creates else "cluster"
        try:
            made = forming.form(given, self.gathering, report)
            # The cluster is formed: from here on only this machine can fail, and what it does can be done again.
            page = "summary"
            install(compose.answers(given, made), report)
        except PairkeepError as error:
            self.wizard.go_to(page, str(error))
            raise
        self.stop_gathering()
        return f"{given.name} is set up. To look at the cluster: pairkeep status"


class Settings:
    """Of a machine that is set up: what belongs to the machine alone. The rest stands in cluster.toml."""

    def __init__(self, machine: Machine) -> None:
        self.wizard = Wizard(machine, State(), lambda _: None, settings_pages)
        self.gathering: Gathering | None = None

    def gather(self, _changed: Callable[[], None], /) -> Gathering:
        raise PairkeepError("this machine is set up already, so nobody joins here")

    def stop_gathering(self) -> None:
        """Nobody joins here."""

    def summary(self) -> list[tuple[str, str]]:
        return settings_summary(self.wizard.given)

    def carry_out(self, report: Report) -> str:
        given = self.wizard.given
        try:
            install(_settings(given), report, steps.SETTINGS)
        except PairkeepError as error:
            self.wizard.go_to("summary", str(error))
            raise
        return "The settings are changed."


def _settings(given: Given) -> Answers:
    return Answers(
        node=given.facts.name,
        cluster_key=b"",
        interfaces=(),
        cluster_toml="",
        cluster=load(steps.CLUSTER_TOML),
        database=None,
        settings=compose.settings(given),
    )
