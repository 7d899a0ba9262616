# SPDX-License-Identifier: GPL-2.0-or-later
"""The wizard's pages in their order, made from what is known of the machine and what was answered so far."""

from __future__ import annotations

from dataclasses import replace

from appliance.config.shape import shown
from appliance.firstboot import checks, help_texts
from appliance.firstboot.facts import LEAST_DISK_BYTES, Disk, size_in_words
from appliance.firstboot.fields import Choice, Faults, Field, Page, Values, optional
from appliance.firstboot.given import WITNESS, Given
from appliance.firstboot.machine import Machine
from appliance.firstboot.pages_cluster import cluster_page, fencing_page, gather_page, service_page
from appliance.firstboot.pages_network import link_pages, trial_page

# Machines whose clocks differ by more are refused by the cluster's first machine.
CLOCK_S = 60.0
ROLE_WORDS = {"database": "a database machine", WITNESS: "a witness"}


def pages(given: Given) -> tuple[Page, ...]:
    """Which pages there are depends on the answers: going on and back always asks here anew."""
    found = [_keyboard(given)]
    if len(given.facts.roles) > 1:
        found.append(_role(given))
    found += [_name(given), *link_pages(given), trial_page(given)]
    if not given.votes_only:
        found.append(_disk(given))
    found += [_time(), _admin(given), cluster_page(given)]
    if not given.votes_only:
        found.append(fencing_page(given))
    if given.creates:
        found += [service_page(given), gather_page(given)]
    return (*found, _summary())


def settings_pages(given: Given) -> tuple[Page, ...]:
    """Of a machine that is set up: what cluster.toml does not say. There is a way in already."""
    return (_keyboard(given), _time(), replace(_admin(given), check=_passwords_differ), _summary())


def _keyboard(given: Given) -> Page:
    languages = tuple(Choice(name, name) for name in given.facts.languages)
    return Page(
        key="keyboard",
        title="Keyboard and language",
        intro="Answer with Enter, and go from field to field with Tab or the arrow keys.",
        help=help_texts.KEYBOARD,
        fields=(
            Field(
                "layout",
                "Keyboard",
                "The name of a layout, like us, uk, de or fr-latin1.",
                default="us",
                check=checks.one_of(given.facts.keyboards, "a layout that Linux knows, like us or de"),
            ),
            Field(
                "language",
                "Language",
                "Of the system's own programs.",
                kind="choice",
                default=given.facts.languages[0],
                choices=languages,
            ),
        ),
        live=lambda machine, values: machine.use_keyboard(values["layout"]),
    )


def _role(given: Given) -> Page:
    return Page(
        key="role",
        title="What this machine is to be",
        intro="Two machines keep the service alive; a third, small one may help them to decide.",
        help=help_texts.ROLE,
        fields=(
            Field(
                "role",
                "Role",
                "Two of the first, and at most one of the second.",
                kind="choice",
                default=given.facts.roles[0],
                choices=tuple(Choice(role, ROLE_WORDS.get(role, role)) for role in given.facts.roles),
            ),
        ),
    )


def _name(given: Given) -> Page:
    return Page(
        key="name",
        title="Host name",
        intro="What this machine is called, in the cluster as well.",
        help=help_texts.NAME,
        fields=(Field("name", "Host name", "Like alpha.", default=given.facts.name, check=checks.host_name),),
    )


def _disk(given: Given) -> Page:
    good = [disk for disk in given.facts.disks if not disk.in_use]
    listed = "\n".join(_disk_line(disk) for disk in given.facts.disks) or "  This machine has no disk."
    choices = tuple(Choice(disk.path, disk.name) for disk in good)
    chosen = _usable(given)
    return Page(
        key="disk",
        title="Data disk",
        intro=f"All that the service stores will be on this disk, and on that of the other machine.\n\n{listed}",
        help=help_texts.DISK,
        fields=(
            Field(
                "disk",
                "Data disk",
                "One that holds nothing you need.",
                kind="choice",
                default=chosen.path if chosen else "",
                choices=choices,
                check=lambda path: _disk_fault(given, path),
            ),
            Field(
                "wipe",
                "Wipe it",
                "Type the disk's name to have everything on it erased.",
                when=lambda values: bool((disk := given.facts.disk(values["disk"])) and disk.content),
            ),
        ),
        looks=True,
        check=lambda values: _wipe_fault(given, values),
    )


def _usable(given: Given) -> Disk | None:
    """The one that is proposed: blank, free, large enough."""
    fit = [disk for disk in given.facts.disks if not disk.in_use and disk.size_bytes >= LEAST_DISK_BYTES]
    return next((disk for disk in fit if not disk.content), fit[0] if fit else None)


def _disk_line(disk: Disk) -> str:
    words = [size_in_words(disk.size_bytes), disk.model, disk.serial and f"serial {disk.serial}"]
    holds = f"IN USE: {disk.in_use}" if disk.in_use else disk.content or "blank"
    return f"  {disk.name}: {', '.join(word for word in words if word)}; {holds}"


def _disk_fault(given: Given, path: str) -> str | None:
    disk = given.facts.disk(path)
    least = size_in_words(LEAST_DISK_BYTES)
    if disk is None:
        free = " or ".join(d.path for d in given.facts.disks if not d.in_use)
        if not free:
            return f"this machine has no disk that is free, expected one of at least {least}"
        return f"found {shown(path)}, which is not a disk of this machine, expected {free}"
    if disk.in_use:
        return f"found a disk that is in use ({disk.in_use}), expected one that is free"
    if disk.size_bytes < LEAST_DISK_BYTES:
        return f"found a disk of {size_in_words(disk.size_bytes)}, expected one of at least {least}"
    return None


def _wipe_fault(given: Given, values: Values) -> Faults:
    disk = given.facts.disk(values["disk"])
    if disk is None or not disk.content or values["wipe"] == disk.name:
        return {}
    if not values["wipe"]:
        return {"wipe": f"the disk is not blank: it holds {disk.content}. To erase it, type {disk.name}"}
    return {"wipe": f"found {shown(values['wipe'])}, expected {disk.name}, the name of the disk to be erased"}


def _time() -> Page:
    return Page(
        key="time",
        title="Time",
        intro="The clocks of a cluster have to agree: by them you read its logs.",
        help=help_texts.TIME,
        fields=(
            Field(
                "servers",
                "Time servers",
                "Like ntp.example.org 10.9.1.1; empty for none.",
                check=optional(checks.each(checks.server)),
            ),
            Field(
                "clock",
                "This clock",
                "Set it when it is wrong.",
                kind="choice",
                default="keep",
                choices=(Choice("keep", "leave it"), Choice("set", "set it from the server")),
            ),
        ),
        check=lambda values: (
            {"servers": "found none, expected a server to set the clock from"}
            if values["clock"] == "set" and not values["servers"].split()
            else {}
        ),
        live=_clock_faults,
    )


def _clock_faults(machine: Machine, values: Values) -> Faults:
    servers = values["servers"].split()
    for server in servers:
        ahead_s = machine.clock_ahead_s(server)
        if ahead_s is None:
            continue
        if abs(ahead_s) <= CLOCK_S:
            return {}
        if values["clock"] == "set":
            machine.set_clock(-ahead_s)
            return {}
        return {"clock": f"this clock is {_ahead_in_words(ahead_s)} {server}; choose to set it from the server"}
    if not servers:
        return {}
    return {"servers": f"no answer from {' or '.join(servers)}, expected a server that can be reached, or none"}


def _ahead_in_words(ahead_s: float) -> str:
    minutes = round(abs(ahead_s) / 60)
    parts = [f"{minutes // 60} h" if minutes >= 60 else "", f"{minutes % 60} min" if minutes % 60 else ""]
    return f"{' '.join(part for part in parts if part)} {'ahead of' if ahead_s > 0 else 'behind'}"


def _admin(given: Given) -> Page:
    return Page(
        key="admin",
        title="Administrator",
        intro="How you get in later, as root: with a password, with SSH keys, or with both.",
        help=help_texts.ADMIN,
        fields=(
            Field(
                "password",
                "Password",
                "At least 8 characters, or empty.",
                kind="secret",
                check=optional(checks.password),
            ),
            Field("again", "Once more", "The same, to find slips.", kind="secret"),
            Field("keys", "SSH keys", "Public keys, one a line.", kind="lines", check=checks.ssh_keys),
        ),
        check=lambda values: _admin_faults(given, values),
    )


def _passwords_differ(values: Values) -> Faults:
    return {"again": "the two passwords differ"} if values["password"] != values["again"] else {}


def _admin_faults(given: Given, values: Values) -> Faults:
    if faults := _passwords_differ(values):
        return faults
    if not values["password"] and not values["keys"].strip():
        return {"password": "found neither a password nor a key, expected one of them: nobody could log in"}
    if values["password"].lower() in (given.name, "pairkeep", "password"):
        return {"password": "found a name that others would try first, expected a password"}
    return {}


def _summary() -> Page:
    return Page(
        key="summary",
        title="Summary",
        intro="",
        help=help_texts.SUMMARY,
        kind="summary",
    )
