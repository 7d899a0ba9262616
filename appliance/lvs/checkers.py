# SPDX-License-Identifier: GPL-2.0-or-later
"""What keepalived's checkers mean to have in the kernel's table, and what they say in the log.

They have no JSON: on a signal they write all they know as text (check_data.c of keepalived 2.3). This reads the few
lines of it that tell a server's state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from appliance.lvs.table import Protocol, ServiceKey, endpoint

_PROTOCOLS: dict[str, Protocol] = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


@dataclass(frozen=True)
class Checked:
    """A real server as keepalived sees it. ``present``: it means to have it in the table, with ``weight``."""

    up: bool
    present: bool
    weight: int


# By service and the server's address and port.
Health = Mapping[tuple[ServiceKey, str], Checked]


def parse_dump(lines: Iterable[str]) -> dict[tuple[ServiceKey, str], Checked]:
    """The virtual and real servers of ``keepalived_check.data``, sorry servers included."""
    found: dict[tuple[ServiceKey, str], Checked] = {}
    for service, blocks in _services(lines):
        key = _key(service)
        if key is None:
            continue
        quiesced = service.get("Inhibit on failure") == "ON"
        replaced = False
        if "sorry server" in service:
            replaced = service.get("alive") == "1"
            at = _endpoint_in_brackets(service["sorry server"])
            present = service.get("set") == "1"
            found[key, at] = Checked(up=replaced, present=present, weight=1)
        for block in blocks:
            up = block.get("alive") == "1"
            weight = int(block.get("effective weight", "1"))
            own = block.get("Inhibit on failure", "ON" if quiesced else "OFF") == "ON"
            at = endpoint(str(ip_address(block["RIP"])), int(block.get("RPORT", "0")))
            # One that is not taken out has no weight while it is down, nor while the sorry server answers instead.
            quiet = own and (replaced or not up)
            found[key, at] = Checked(up, block.get("RS set") == "1", 0 if quiet else max(0, weight))
    return found


def _services(lines: Iterable[str]) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """The words of each virtual server, and of each of its real servers."""
    service: dict[str, str] | None = None
    blocks: list[dict[str, str]] = []
    for raw in lines:
        line = raw.strip()
        if line.startswith("------<"):
            if "Real server" in line and service is not None:
                blocks.append({})
                continue
            if service is not None:
                yield service, blocks
            service, blocks = ({}, []) if "Virtual server" in line else (None, [])
        elif service is not None:
            words = blocks[-1] if blocks else service
            for part in line.removeprefix("VS ").split(", "):
                name, separator, value = re.sub(r"\bis (ON|OFF)$", r"= \1", part).partition(" = ")
                if separator:
                    # What is said first is the server's own; the sorry server says some of it once more.
                    words.setdefault(name.strip(), value.strip().split(" EFF ")[0])
    if service is not None:
        yield service, blocks


def _key(service: Mapping[str, str]) -> ServiceKey | None:
    if "FWMARK" in service:
        return ServiceKey.of_mark(int(service["FWMARK"]), 6 if service.get("Address family") == "inet6" else 4)
    if "VIP" not in service:
        return None
    protocol = _PROTOCOLS.get(service.get("protocol", "TCP"), "tcp")
    return ServiceKey.at(protocol, ip_address(service["VIP"]), int(service.get("VPORT", "0")))


def _endpoint_in_brackets(text: str) -> str:
    """``[10.9.1.24]:tcp:80`` as the other modules write it."""
    found = re.fullmatch(r"\[([0-9a-fA-F.:]+)\](?::\w+)?(?::(\d+))?", text)
    return endpoint(str(ip_address(found[1])), int(found[2] or 0)) if found else text
