# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers that make a blank machine a real server: its name, its network, who may in, and realserver.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.config import toml
from appliance.config.load import ConfigError
from appliance.config.realserver_file import FILE, parse
from appliance.config.shape import Problem, array, table
from appliance.files import replace_file
from appliance.firstboot import answers, answers_rules, answers_shape, steps
from appliance.firstboot.answers import Settings
from appliance.firstboot.network import LinkSettings
from appliance.run import run

Report = Callable[[str], None]

_SHAPE = table(
    "tables",
    {
        "name": answers_shape.host_name,
        "realserver": answers_shape.written("the text of realserver.toml"),
        "network": array("at least one [[network]] table", answers_shape.NETWORK, least=1),
    },
    answers_shape.PERSONAL,
)


@dataclass(frozen=True)
class RealServerAnswers:
    """``text``: realserver.toml as written."""

    node: str
    networks: tuple[LinkSettings, ...]
    text: str
    settings: Settings


def is_for_realserver(text: str) -> bool:
    try:
        return "realserver" in toml.loads(text)
    except tomllib.TOMLDecodeError:
        return False


def parse_answers(text: str, name: str = "pairkeep.toml") -> RealServerAnswers:
    """Raises ConfigError, naming ``name`` and of each mistake the key, what was found and what was expected."""
    raw = answers.checked(text, _SHAPE, _problems, name)
    return RealServerAnswers(
        raw["name"],
        tuple(map(answers.network_of, raw["network"])),
        raw["realserver"],
        answers.settings_of(raw),
    )


def _problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """As in `answers_rules`, what was refused by itself is absent here."""
    if "realserver" in raw:
        try:
            parse(raw["realserver"])
        except ConfigError as error:
            yield from ((("realserver",), problem) for problem in error.problems)
    yield from answers_rules.cards(raw)


def install(given: RealServerAnswers, report: Report) -> None:
    """Power may go at any moment: until realserver.toml is there, nothing counts as done."""
    report(f"setting up {given.node} as a real server")
    steps.set_name(given)
    steps.set_networks(given.networks)
    steps.set_personal(given)
    steps.let_in(given)
    steps.make_ssh_host_key(given)
    replace_file(FILE, given.text.encode())
    os.sync()
    run(["systemctl", "start", "--no-block", "pairkeep-realserver.service", "ssh.service"], timeout_s=30)
