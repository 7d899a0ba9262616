# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two machines of a DRBD resource know each other by: made from the cluster's key, which both have."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from appliance.errors import InputError

KEY = Path("/etc/corosync/authkey")
# Of those in /proc/crypto; hmac and sha256 are part of Debian's kernels.
ALGORITHM = "sha256"
# Twice as many characters, of which drbd.conf(5) takes 63.
BYTES = 31


def read_key(root: Path = Path("/")) -> bytes:
    """Raises InputError."""
    try:
        return (root / KEY.relative_to("/")).read_bytes()
    except OSError as error:
        raise InputError(f"{KEY}: {error.strerror}; DRBD's machines know each other by it") from error


def shared_secret(key: bytes, resource: str) -> str:
    """Of DRBD resource ``resource``. Who learns it knows neither ``key`` nor that of another resource."""
    return hkdf(key, b"", b"pairkeep drbd shared-secret " + resource.encode(), BYTES).hex()


def hkdf(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Extract and expand with SHA-256 (RFC 5869)."""
    extracted = hmac.digest(salt or bytes(hashlib.sha256().digest_size), key, hashlib.sha256)
    block, out = b"", b""
    for number in range(1, 256):
        block = hmac.digest(extracted, block + info + bytes([number]), hashlib.sha256)
        out += block
        if len(out) >= length:
            break
    return out[:length]
