# SPDX-License-Identifier: GPL-2.0-or-later
"""CHAP passwords in files that only root may read; no word of what stands in them leaves this module by itself."""

from __future__ import annotations

from pathlib import Path

from appliance.config.iscsi import NOTHING
from appliance.drivers import secret
from appliance.drivers.base import DriverError

# At least 96 bits by RFC 7143, 12.1.3; Microsoft's initiator takes no more than 16 bytes.
SHORTEST, LONGEST = 12, 16


def read(path: Path, shortest: int = SHORTEST, longest: int = LONGEST) -> str:
    """The password in ``path``, of ``shortest`` to ``longest`` characters.

    Raises DriverError for a file that others may read, and for what will not do.
    """
    password = secret.read(path)
    if not shortest <= len(password) <= longest:
        raise DriverError(
            f"{path}: found a CHAP password of {len(password)} characters, expected {shortest} to {longest}"
        )
    if password.startswith(NOTHING):
        raise DriverError(f"{path}: found a CHAP password that begins with {NOTHING}, which targets take for none")
    if not all("!" <= character <= "~" for character in password):
        raise DriverError(f"{path}: found a CHAP password with blanks or other than ASCII, expected neither")
    return password
