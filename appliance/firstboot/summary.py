# SPDX-License-Identifier: GPL-2.0-or-later
"""What is going to be done, in words."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.firstboot.given import Given
from appliance.firstboot.pages import ROLE_WORDS
from appliance.joining import Candidate

_FENCING = {
    "witness": "a witness votes, and a watchdog resets who is cut off",
    "devices": "by devices",
    "both": "by devices, and a witness votes",
    "manual": "a person says that a silent machine is off",
    "device": "by a device",
    "none": "no device of its own",
}


def summary(given: Given, joined: Sequence[Candidate] = ()) -> list[tuple[str, str]]:
    """A label and what was answered, line by line."""
    found = [("This machine", f"{given.name}, {ROLE_WORDS.get(given.role, given.role)}")]
    for link in given.facts.links:
        if given.use(link) != "unused":
            words = ", ".join(str(address) for address in given.addresses(link)) or "DHCP or announced"
            found.append((f"Card {link.name}", words))
    if (disk := given.facts.disk(given.disk)) is not None:
        holds = disk.content or "blank"
        found.append(("Data disk", f"{disk.name}, {f'ERASED: {holds}' if given.wipes else holds}"))
    found.append(("Time servers", given.get("time", "servers") or "none"))
    ways = (("a password", given.get("admin", "password")), ("SSH keys", given.get("admin", "keys").strip()))
    found.append(("Administrator", " and ".join(words for words, there in ways if there)))
    if not given.creates:
        found.append(("Cluster", f"joins the one that {given.get('cluster', 'host')} creates"))
    else:
        found.append(("Cluster", f"{given.get('cluster', 'name')}, with {_names(joined)}"))
    if not given.votes_only:
        found.append(("Fencing", _FENCING.get(given.fencing, given.fencing)))
    if given.creates:
        database = f"database {given.get('service', 'database')}, user {given.get('service', 'user')}"
        found.append(("Service", f"{given.get('service', 'address')}, {database}"))
    return found


def settings_summary(given: Given) -> list[tuple[str, str]]:
    """Of a machine that is set up already."""
    return [
        ("Keyboard", given.get("keyboard", "layout")),
        ("Time servers", given.get("time", "servers") or "none"),
        ("Administrator", "password and SSH keys as given; what was left empty stays as it is"),
    ]


def _names(joined: Sequence[Candidate]) -> str:
    return " and ".join(one.name for one in joined) or "no other machine yet"
