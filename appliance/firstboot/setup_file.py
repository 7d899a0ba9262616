# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers for the wizard's own pages, in a file: `[setup.PAGE]` tables, checked by the pages themselves."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from appliance.config import toml
from appliance.config.load import ConfigError, read_toml
from appliance.config.shape import shown_of
from appliance.firstboot.facts import LEAST_DISK_BYTES, Disk, Facts, Link, name_of
from appliance.firstboot.fields import Values
from appliance.firstboot.given import LINK_PAGE, WITNESS, Given
from appliance.firstboot.pages import ROLE_WORDS, pages
from appliance.firstboot.wizard import Wizard

SETUP = "setup"
# The page of the data disk, and what is said there to have one erased that DRBD has replicated.
DISK, DRBD = "disk", "drbd"
Setup = Mapping[str, Values]


def is_setup(text: str) -> bool:
    """Whether a file answers the wizard's pages, and not all that a node of a known cluster needs."""
    try:
        return SETUP in toml.loads(text)
    except tomllib.TOMLDecodeError:
        return False


def parse_setup(text: str, name: str = "pairkeep.toml") -> Setup:
    """Page key -> field -> answer. Raises ConfigError with every mistake that can be seen without the machine."""
    raw = read_toml(text, name, secret=True)
    problems = [f"{key}: unknown key, expected only [{SETUP}.…] tables" for key in raw if key != SETUP]
    found: dict[str, Values] = {}
    if not isinstance(raw[SETUP], dict):
        raise ConfigError(name, (f"{SETUP}: expected tables like [{SETUP}.name]",))
    for key, table in _tables(raw[SETUP]):
        if not isinstance(table, dict):
            problems.append(f"{SETUP}.{key}: found {shown_of(key, table)}, expected a table [{SETUP}.{key}]")
            continue
        values = {}
        for field, value in table.items():
            text_value = _text(value)
            if text_value is None:
                found_words = shown_of(field, value)
                problems.append(f"{SETUP}.{key}.{field}: found {found_words}, expected text, or an array of texts")
            else:
                values[field] = text_value
        found[key] = values
    problems += _problems(Given(_imagined(found), found))
    if problems:
        raise ConfigError(name, tuple(problems))
    return found


def feed(wizard: Wizard, setup: Setup, name: str = "pairkeep.toml") -> None:
    """Answer page after page, up to the one that waits for others or asks whether to begin.

    Raises InputError for an answer that the machine refuses; the wizard then stays on its page. Pages that the file
    says nothing of get their defaults; a card that it speaks of, and that is not there, is missed in the cluster.
    """
    cards = [f"{LINK_PAGE}{link.name}" for link in wizard.facts.links]
    if absent := [key for key in setup if key.startswith(LINK_PAGE) and key not in cards]:
        there = " or ".join(f"{SETUP}.{card}" for card in cards) or "none, for it has no card"
        raise ConfigError(
            name, tuple(f"{SETUP}.{key}: this machine has no such card, expected {there}" for key in absent)
        )
    while wizard.page.kind not in ("gather", "summary"):
        key = wizard.page.key
        values = setup.get(key, {})
        if key == DISK:
            _keep_replicated(wizard.facts, wizard.page.filled(values), name)
        faults = wizard.answer(_typed(key, values))
        if faults:
            raise ConfigError(name, tuple(f"{_named(key, field)}: {fault}" for field, fault in faults.items()))


def _keep_replicated(facts: Facts, values: Values, name: str) -> None:
    """A file may stay attached, and this be a node's new system disk: its data are erased for no name in a file."""
    disk = facts.disk(values["disk"])
    if disk is not None and "drbd" in disk.content and values["wipe"] == disk.name:
        text = f'it may hold the newest data of a cluster; expected "{DRBD}" if they are needed no more'
        raise ConfigError(name, (f"{_named(DISK, 'wipe')}: DRBD has replicated {disk.name}, so {text}",))


def _typed(page: str, values: Values) -> Values:
    """What a person would type who has seen what is on the disk."""
    if page == DISK and values.get("wipe") == DRBD and "disk" in values:
        return {**values, "wipe": name_of(values["disk"])}
    return values


def _tables(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of pages; those of network cards stand one level deeper."""
    for key, table in raw.items():
        if f"{key}." == LINK_PAGE and isinstance(table, dict):
            yield from ((f"{LINK_PAGE}{card}", of_card) for card, of_card in table.items())
        else:
            yield key, table


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        # Keys of administrators have blanks in them, addresses have none.
        return ("\n" if any(" " in item for item in value) else " ").join(value)
    return None


def _problems(given: Given) -> Iterator[str]:
    known = {page.key: page for page in pages(given)}
    for key, values in given.values.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            yield f"{SETUP}.{key}: there is no such page with these answers; {advice}"
            continue
        names = [field.name for field in known[key].fields]
        for name in values:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                advice = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names) or 'none'}"
                yield f"{SETUP}.{key}.{name}: unknown key; {advice}"
    for key, page in known.items():
        for name, fault in page.faults(_typed(key, given.values.get(key, {}))).items():
            yield f"{_named(key, name)}: {fault}"


def _named(page: str, field: str) -> str:
    return ".".join(word for word in (SETUP, page, field) if word)


def _imagined(found: Setup) -> Facts:
    """A machine that has all that the file speaks of: what it really has shows at its first boot."""

    def said(page: str, field: str, default: str) -> str:
        return found.get(page, {}).get(field, default)

    path = said("disk", "disk", "/dev/disk/by-id/data")
    content = "something" if said("disk", "wipe", "") else ""
    return Facts(
        roles=(*(role for role in ROLE_WORDS if role != WITNESS), WITNESS),
        name="",
        links=tuple(Link(key.removeprefix(LINK_PAGE), "", True) for key in found if key.startswith(LINK_PAGE)),
        disks=(Disk(path, "", "", LEAST_DISK_BYTES, content),),
        keyboards=(said("keyboard", "layout", "us"),),
        languages=(said("keyboard", "language", "C.UTF-8"),),
        fence_agents=(said("fencing", "agent", "fence_ipmilan"),),
    )
