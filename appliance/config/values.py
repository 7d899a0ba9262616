# SPDX-License-Identifier: GPL-2.0-or-later
"""Single values that several tables of `cluster.toml` have, or that come beside it, and what they may look like."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import PurePosixPath
from typing import Any

from appliance.config.shape import number, value_like

# The kernel's own limit of a DRBD resource name is 128; this one still fits a line of the status.
NAME = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
# drbdadm(8) takes `all` for every resource there is.
DRBD_NAME = rf"(?!all$){NAME}"
# What every machine calls itself (hosts.j2).
LOCAL_NAMES = ("localhost", "ip6-localhost", "ip6-loopback")
# RFC 1123, lower case: the name is corosync's, DRBD's and the kernel's host name at once. One of digits alone reads
# like a number of an address.
HOSTNAME = rf"(?!({'|'.join(LOCAL_NAMES)}|[0-9]+)$)[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?"
UNIT = r"[A-Za-z0-9:_.@\\-]{1,200}\.(service|socket|target)"
INTERFACE = r"[A-Za-z0-9_.-]{1,15}"
# corosync-keygen(8) writes 256 bytes; corosync.conf(5) takes 128 to 4096.
KEY_BYTES = range(128, 4097)
# Files below /etc/pairkeep that are not secrets to be given.
_OURS = ("cluster.toml", "database.sql")
# Of a fence agent. One is resourceGroup, another one tls1.0.
FENCE_OPTION = r"[A-Za-z0-9_.-]{1,40}"
# Options that agents themselves read files for, or write them; with any other, _file at its end is ours.
_FILES_OF_AGENTS = frozenset(
    {
        "cookie_file",
        "credentials_file",
        "debug_file",
        "identity_file",
        "key_file",
        "ssl_client_certificate_file",
        "status_file",
    }
)


def is_clean(value: Any) -> bool:
    """An absolute path that means one thing only. The kernel knows one / where two begin it; pathlib keeps both."""
    return (
        isinstance(value, str)
        and re.match("/(?!/)", value) is not None
        and str(PurePosixPath(value)) == value
        and ".." not in value
        and value.isprintable()
    )


def is_own_file(name: object) -> bool:
    """Whether a file below /etc/pairkeep may have this name that is a secret of somebody's own."""
    return (
        isinstance(name, str)
        and bool(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", name))
        and name not in _OURS
    )


def option_in_file(key: str) -> str | None:
    """Which option of a fence device stands in the file whose path ``key`` has; None when it is no such key."""
    return key.removesuffix("_file") if re.fullmatch(r".+_file", key) and key not in _FILES_OF_AGENTS else None


def is_plain(value: Any) -> bool:
    """One without a character that mount(8), drbd.conf(5), keepalived.conf(5) or a unit reads as something else."""
    return is_clean(value) and bool(re.fullmatch(r"[\w/.:@+=-]+", value))


def unscoped(value: Any) -> str:
    """Text that is no address with a scope, as fe80::1%eth0: to the module ipaddress that may be anything.

    Raises ValueError.
    """
    if not isinstance(value, str) or "%" in value:
        raise ValueError(value)
    return value


boolean = value_like("true or false", lambda v: isinstance(v, bool))
timeout = number(1, 3600, "seconds", whole=False)
address = value_like("an address without a prefix length", lambda v: bool(ip_address(unscoped(v))))
network = value_like(
    'a network without host bits, like "10.9.1.0/24"',
    lambda v: "/" in unscoped(v) and bool(ip_network(v)),
)
interface_address = value_like(
    'an address with its prefix length, like "10.9.1.100/24"',
    lambda v: "/" in unscoped(v) and bool(ip_interface(v)),
)
secret_file = value_like("the absolute path of a file, without '..' or blanks", is_plain)
