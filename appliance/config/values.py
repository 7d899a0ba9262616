# SPDX-License-Identifier: GPL-2.0-or-later
"""Single values that several tables of `cluster.toml` have, or that come beside it, and what they may look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from pathlib import PurePosixPath
from typing import Any

import voluptuous as vol

from appliance.config.shape import Check, named, number, text, value_like

# The kernel's own limit of a DRBD resource name is 128; this one still fits a line of the status.
NAME = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
# drbdadm(8) takes `all` for every resource there is.
DRBD_NAME = rf"(?!all$){NAME}"
# What every machine calls itself (hosts.j2).
LOCAL_NAMES = ("localhost", "ip6-localhost", "ip6-loopback")
# RFC 1123, lower case: the name is corosync's, DRBD's and the kernel's host name at once. One of digits alone reads
# like a number of an address.
HOSTNAME = rf"(?!({'|'.join(LOCAL_NAMES)}|[0-9]+)$)[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?"
# Not a template without its instance, nor what programs take for an option.
UNIT = r"(?!-)(?!.*@\.)[A-Za-z0-9:_.@\\-]{1,200}\.(service|socket|target)"
INTERFACE = r"[A-Za-z0-9_.-]{1,15}"
# corosync-keygen(8) writes 256 bytes; corosync.conf(5) takes 128 to 4096.
KEY_BYTES = range(128, 4097)
# A file below /etc/pairkeep that is a secret of somebody's own.
OWN_FILE = r"(?!(cluster\.toml|database\.sql)$)[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}"
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


def unreachable(address: IPv4Address | IPv6Address) -> str | None:
    """What makes ``address`` one that no other machine can reach, or on one link only. None for a machine's own."""
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    kinds = (
        (mapped, "one that stands for an IPv4 address"),
        (address.is_unspecified, "one that means no machine"),
        (address.is_loopback, "one that every machine has for itself"),
        (address.is_multicast, "one of a multicast group"),
        (address.is_link_local, "a link-local one, which says nothing without its link"),
        (address.version == 4 and (address.is_reserved or int(address) >> 24 == 0), "one that is reserved"),
    )
    return next((what for is_so, what in kinds if is_so), None)


def means_all(address: IPv4Address | IPv6Address, of: IPv4Network | IPv6Network) -> bool:
    """Whether packets to ``address`` go to the whole network ``of``, or to nobody there."""
    return address.version == 4 and of.num_addresses > 2 and address in (of[0], of[-1])


def reachable(
    what: str, parse: Callable[[Any], IPv4Address | IPv6Address], whose: str = "a machine's address"
) -> Check:
    """A value in which ``parse`` finds an address that other machines reach, or raises ValueError."""
    well_formed = value_like(what, lambda value: bool(parse(value)))

    def check(value: Any) -> Any:
        well_formed(value)
        if (wrong := unreachable(parse(value))) is not None:
            raise vol.Invalid(f"expected {whose}, not {wrong}")
        return value

    return named(what, check)


def _prefixed(value: Any) -> str:
    if "/" not in unscoped(value):
        raise ValueError(value)
    return str(value)


boolean = value_like("true or false", lambda v: isinstance(v, bool))
timeout = number(1, 3600, "seconds", whole=False)
address = reachable("an address without a prefix length", lambda v: ip_address(unscoped(v)))
network = reachable(
    'a network without host bits, like "10.9.1.0/24"',
    lambda v: ip_network(_prefixed(v)).network_address,
    "a network of machines",
)
interface_address = reachable(
    'an address with its prefix length, like "10.9.1.100/24"', lambda v: ip_interface(_prefixed(v)).ip
)
unit = text("a systemd unit ending in .service, .socket or .target", UNIT)
secret_file = value_like("the absolute path of a file, without '..' or blanks", is_plain)
