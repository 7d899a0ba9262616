# SPDX-License-Identifier: GPL-2.0-or-later
"""The one-time code: shown on one machine's screen, typed on another's keyboard."""

from __future__ import annotations

import secrets

from appliance.errors import InputError

# Nothing that is mistaken for something else: no 0 and O, 1 and I and L, U and V.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
# 30 to the power of 8 codes: three tries find one of them once in 2 · 10¹¹ times.
LENGTH = 8
EXAMPLE = "K7QX-3M9T"


def new_code() -> str:
    """A code as it is shown to people."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def normalised(typed: str) -> str:
    """What was typed in whatever case, with or without dashes and spaces, as it is shown.

    Raises InputError for what cannot be a code, so that a slip of the hand costs no try.
    """
    letters = "".join(typed.split()).replace("-", "").upper()
    if strange := sorted(set(letters) - set(ALPHABET)):
        raise InputError(f"the code: found {' '.join(strange)}, which is in no code; expected one like {EXAMPLE}")
    if len(letters) != LENGTH:
        raise InputError(f"the code: found {len(letters)} letters and digits, expected {LENGTH}, like {EXAMPLE}")
    return f"{letters[:4]}-{letters[4:]}"
