# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords as they stand in /etc/shadow, and as MariaDB keeps them."""

from __future__ import annotations

import ctypes
import hashlib
from functools import cache

from appliance.errors import PairkeepError

# Debian's own choice for new passwords (its common-password of PAM), see crypt(5).
_METHOD = b"$y$"
_SETTING_BYTES = 192


@cache
def _libcrypt() -> ctypes.CDLL:
    """Python 3.13 has no crypt module any more; the library is part of every Debian."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    library.crypt_gensalt_rn.restype = ctypes.c_char_p
    return library


def hashed(password: str) -> str:
    """With a new salt at every call."""
    setting = ctypes.create_string_buffer(_SETTING_BYTES)
    library = _libcrypt()
    # No count and no random bytes given: the method's own cost, and the kernel's randomness.
    if not library.crypt_gensalt_rn(_METHOD, ctypes.c_ulong(0), None, 0, setting, _SETTING_BYTES):
        raise PairkeepError("libcrypt knows no yescrypt")
    made: bytes | None = library.crypt(password.encode(), setting)
    if made is None or not made.startswith(_METHOD):
        raise PairkeepError("libcrypt could not hash the password")
    return made.decode("ascii")


def for_mariadb(password: str) -> str:
    """What its mysql_native_password compares with; clients say the password itself."""
    once = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return f"*{hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()}"


def matches(password: str, hashed_before: str) -> bool:
    made: bytes | None = _libcrypt().crypt(password.encode(), hashed_before.encode())
    return made is not None and made.decode("ascii") == hashed_before
