# SPDX-License-Identifier: GPL-2.0-or-later
"""What targets and initiators have in common: names, portals, numbers. Imports nothing of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

# What names that nobody chose begin with: "iqn.", a month in which the domain was its owner's, the domain reversed.
AUTHORITY = "iqn.2026-11.org.pairkeep"
PORT = 3260
# RFC 7143, 4.2.7.1.
LONGEST_NAME = 223
# Flat addressing of SAM-5 ends here.
LAST_LUN = 16383
# Who proves what to whom by CHAP: the initiator itself, and with mutual CHAP the target too.
CHAP = (("user", "password_file"), ("target_user", "target_password_file"))


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
        return Portal(ip_address(written))
    except ValueError:
        address, _, port = written.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(written)
    version = 6 if address.startswith("[") and address.endswith("]") else 4
    found = ip_address(address[1:-1] if version == 6 else address)
    if found.version != version:
        raise ValueError(written)
    return Portal(found, int(port))
