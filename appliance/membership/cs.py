# SPDX-License-Identifier: GPL-2.0-or-later
"""What corosync's client libraries have in common (corosync/corotypes.h of 3.1)."""

from __future__ import annotations

import ctypes

from appliance.errors import PairkeepError

CS_OK = 1
CS_ERR_LIBRARY = 2
CS_ERR_TRY_AGAIN = 6
CS_DISPATCH_ALL = 2


class MembershipLost(PairkeepError):
    """corosync has gone, or has thrown this client out."""


class Busy(PairkeepError):
    """corosync takes no more messages for the moment: try again."""


def check(code: int, what: str) -> None:
    """Raises Busy or MembershipLost unless ``code`` is CS_OK."""
    if code == CS_ERR_TRY_AGAIN:
        raise Busy(f"corosync is busy ({what})")
    if code != CS_OK:
        raise MembershipLost(f"corosync refused {what} (code {code})", hint="systemctl status corosync")


def file_descriptor(library: ctypes.CDLL, function: str, handle: ctypes.c_uint64) -> int:
    number = ctypes.c_int(-1)
    check(getattr(library, function)(handle, ctypes.byref(number)), function)
    return number.value
