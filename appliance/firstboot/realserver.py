# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers that make a blank machine a real server: its name, its network, who may in, and realserver.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass

import voluptuous as vol

from appliance.config import toml
from appliance.config.realserver_file import FILE, parse
from appliance.files import replace_file
from appliance.firstboot import answers, steps
from appliance.firstboot.answers import Settings
from appliance.firstboot.network import LinkSettings
from appliance.run import run

Report = Callable[[str], None]

_SCHEMA = vol.Schema(
    {
        vol.Required("name"): answers.host_name,
        vol.Required("realserver"): str,
        vol.Required("network"): vol.All([answers.NETWORK], vol.Length(min=1, msg="expected at least one card")),
        **answers.PERSONAL,
    }
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
    """Raises ConfigError or InputError, naming ``name``, the key, what was found and what was expected."""
    found = answers.checked(text, _SCHEMA, name)
    parse(found["realserver"], f"{name}: realserver")
    return RealServerAnswers(
        found["name"],
        tuple(answers.network_of(one) for one in found["network"]),
        found["realserver"],
        answers.settings_of(found),
    )


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
