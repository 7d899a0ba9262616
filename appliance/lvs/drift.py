# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's table against what is wanted: an entry that somebody deleted or changed is told, and put right.

keepalived never looks at the table again once it has made an entry, not even when it reloads. What it has taken out
or quiesced itself is no drift: what it means to have, by its own word, is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from appliance.config.virtual import Virtual
from appliance.lvs.checkers import Checked, Health
from appliance.lvs.table import Server, Service, Table
from appliance.lvs.wanted import key_of, server_of, service_of


@dataclass(frozen=True)
class Difference:
    """``text`` says what it is; ``repair``: ipvsadm's words that put it right, or none for what is left alone."""

    virtual: str
    text: str
    repair: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.virtual}: {self.text}"


def differences(virtuals: Iterable[Virtual], found: Table, health: Health) -> list[Difference]:
    """What is not as it should be, services before their servers.

    A service of which keepalived knows nothing is not looked at: it has just started, or does not run here.
    """
    all_of_it = tuple(virtuals)
    known = {key for key, _server in health}
    told = [d for v in all_of_it if key_of(v) in known for d in _of(v, found.get(key_of(v)), health)]
    ours = {key_of(virtual) for virtual in all_of_it}
    # Somebody may be trying something out; no client of ours goes there.
    told += [
        Difference(str(key), "nobody configured this service; it is left alone") for key in found if key not in ours
    ]
    return told


def confirmed(now: Iterable[Difference], before: Iterable[Difference]) -> list[Difference]:
    """Those that were there a look ago as well: keepalived may just have been about to do it."""
    had = set(before)
    return [difference for difference in now if difference in had]


def _of(virtual: Virtual, found: Service | None, health: Health) -> Iterator[Difference]:
    wanted = service_of(virtual)
    key = wanted.key
    if found is None:
        yield Difference(virtual.name, "the service is missing in the kernel", ("-A", *wanted.words))
        found = replace(wanted, servers=())
    elif found.bare != wanted.bare:
        yield Difference(virtual.name, f"the service was changed: {_told(found, wanted)}", ("-E", *wanted.words))
    expected: set[str] = set()
    for real in virtual.servers:
        server = server_of(virtual, real)
        checked = health.get((key, server.endpoint))
        expected.add(server.endpoint)
        if checked is not None:
            yield from _server(virtual, found, server, checked)
    for extra in found.servers:
        if extra.endpoint not in expected:
            text = f"{extra.endpoint} is a server that nobody configured"
            yield Difference(virtual.name, text, ("-d", *key.words, "-r", extra.endpoint))


def _server(virtual: Virtual, service: Service, configured: Server, checked: Checked) -> Iterator[Difference]:
    server = replace(configured, weight=checked.weight)
    found = service.server(server.endpoint)
    key = service.key
    if found is None and checked.present:
        yield Difference(virtual.name, f"{server.endpoint} is missing", ("-a", *key.words, *server.words))
    elif found is not None and not checked.present:
        text = f"{server.endpoint} is there although it is down"
        yield Difference(virtual.name, text, ("-d", *key.words, "-r", server.endpoint))
    elif found is not None and found != server:
        text = f"{server.endpoint} was changed: {_told(found, server)}"
        yield Difference(virtual.name, text, ("-e", *key.words, *server.words))


def _told(found: Service | Server, wanted: Service | Server) -> str:
    """Which of their values differ."""
    names = [name for name in found.__dataclass_fields__ if name not in ("key", "servers")]
    pairs = ((name, getattr(found, name), getattr(wanted, name)) for name in names)
    return ", ".join(f"{name} {_word(a)} instead of {_word(b)}" for name, a, b in pairs if a != b)


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    return str(value) if value != "" else "none"
