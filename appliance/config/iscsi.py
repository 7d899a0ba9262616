# SPDX-License-Identifier: GPL-2.0-or-later
"""What targets and initiators have in common: names, portals, numbers, and how they prove who they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from appliance.config.shape import Check, Path, Problem, shown, text
from appliance.config.values import reachable, unscoped

# What names that nobody chose begin with: "iqn.", a month in which the domain was its owner's, the domain reversed.
AUTHORITY = "iqn.2026-11.org.pairkeep"
PORT = 3260
# RFC 7143, 4.2.7.1.
LONGEST_NAME = 223
# Flat addressing of SAM-5 ends here.
LAST_LUN = 16383
# LIO takes what begins so for a name or password that was deleted (iscsi_target_nodeattrib.c's macros).
NOTHING = "NULL"
# Who proves what to whom by CHAP: the initiator itself, and with mutual CHAP the target too.
CHAP = (("user", "password_file"), ("target_user", "target_password_file"))
_user = text(
    f"a CHAP user name of at most 223 letters, digits, and . : _ @ -, which does not begin with {NOTHING}",
    rf"(?!{NOTHING})[A-Za-z0-9_.:@-]{{1,223}}",
)


@dataclass(frozen=True)
class Portal:
    """Where a target listens."""

    address: IPv4Address | IPv6Address
    port: int = PORT

    def __str__(self) -> str:
        """As iscsiadm(8) and LIO write it."""
        return f"{self.host}:{self.port}"

    @property
    def host(self) -> str:
        return f"[{self.address}]" if self.address.version == 6 else str(self.address)


def portal(written: str) -> Portal:
    """Raises ValueError for what is neither ADDRESS nor ADDRESS:PORT ([ADDRESS]:PORT with IPv6)."""
    try:
        return Portal(ip_address(unscoped(written)))
    except ValueError:
        address, _, port = written.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(written)
    version = 6 if address.startswith("[") and address.endswith("]") else 4
    found = ip_address(unscoped(address[1:-1] if version == 6 else address))
    if found.version != version:
        raise ValueError(written)
    return Portal(found, int(port))


PORTAL = reachable(
    'an address, or one with its port, like "10.9.1.50:3260" or "[fd00::50]:3260"', lambda v: portal(v).address
)


def chap_keys(password_file: Check) -> dict[str, Check]:
    """What each key of `CHAP` looks like; ``password_file`` checks the path of a file that holds a secret."""
    return {key: check for keys in CHAP for key, check in zip(keys, (_user, password_file), strict=True)}


def chap_problems(path: Path, table: Mapping[str, Any]) -> Iterator[Problem]:
    """What contradicts itself in the keys `CHAP` of ``table``, which stands at ``path``."""
    for keys in CHAP:
        for key, other in (keys, keys[::-1]):
            if key in table and other not in table:
                yield (*path, other), f"missing, expected it beside {key}"
    if "target_user" in table and "user" not in table:
        yield (*path, "user"), "missing, expected it beside target_user: a target proves itself only to who does"
    secrets = [table.get(key) for _user, key in CHAP]
    if None not in secrets and secrets[0] == secrets[1]:
        yield (
            (*path, "target_password_file"),
            f"found {shown(secrets[1])}, expected another file than password_file: with one secret for both "
            "ways whoever asks can answer for himself (RFC 7143, 12.1.3)",
        )
