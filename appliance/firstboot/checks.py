# SPDX-License-Identifier: GPL-2.0-or-later
"""What single answers look like. Each check takes what was typed and says what is wrong with it, or None."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable, Collection
from difflib import get_close_matches
from ipaddress import IPv4Interface, ip_address, ip_interface

from appliance.config.model import IPAddress, IPInterface
from appliance.config.shape import shown
from appliance.config.values import HOSTNAME, LOCAL_NAMES, NAME, unreachable, unscoped
from appliance.errors import InputError

PASSWORD_LENGTH = range(8, 129)
RSA_BITS = 2048
# What ssh-keygen(1) makes, and sshd of Debian 13 takes without being told to.
SSH_KEYS = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
# MariaDB's own, and the administrator who has no password there.
_MARIADB_DATABASES = ("mysql", "sys", "information_schema", "performance_schema")
_MARIADB_USERS = ("root", "mysql")
_DNS_NAME = (
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def host_name(value: str) -> str | None:
    if value.isdigit():
        return f"found {shown(value)}, expected at least one letter: this reads like a number of an address"
    if value in LOCAL_NAMES:
        return f"found {shown(value)}, expected a name that is not every machine's own"
    if not re.fullmatch(HOSTNAME, value):
        return f"found {shown(value)}, expected small letters, digits and -, no - at either end (at most 63)"
    return None


def cluster_name(value: str) -> str | None:
    if re.fullmatch(NAME, value):
        return None
    return f"found {shown(value)}, expected letters, digits, - and _, a letter first (at most 32)"


def one_of(known: Collection[str], what: str) -> Callable[[str], str | None]:
    """For more than fit a row of choices."""

    def check(value: str) -> str | None:
        if value in known:
            return None
        near = get_close_matches(value, known, n=1)
        advice = f'; did you mean "{near[0]}"?' if near else ""
        return f"found {shown(value)}, expected {what}{advice}"

    return check


def interface_address(version: int) -> Callable[[str], str | None]:
    """An address of this machine with its prefix length; ``version`` 4 or 6."""
    example = "10.9.1.11/24" if version == 4 else "fd00:9:1::11/64"

    def check(value: str) -> str | None:
        what = f"an IPv{version} address with its prefix length, like {example}"
        try:
            address = ip_interface(unscoped(value))
        except ValueError:
            return f"found {shown(value)}, expected {what}"
        if "/" not in value or address.version != version:
            return f"found {shown(value)}, expected {what}"
        return _unusable(value, address.ip) or _whole_network(value, address)

    return check


def host_address(value: str) -> str | None:
    """Somebody's address, without a prefix length."""
    try:
        address = ip_address(unscoped(value))
    except ValueError:
        return f"found {shown(value)}, expected an address without a prefix length, like 10.9.1.1"
    return _unusable(value, address)


def each(check: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """``check`` for each of several words."""
    return lambda value: next((fault for word in value.split() if (fault := check(word)) is not None), None)


def server(value: str) -> str | None:
    """A name or an address."""
    if ":" in value or re.fullmatch(r"[0-9.]+", value):
        return host_address(value)
    if re.fullmatch(_DNS_NAME, value):
        return None
    return f"found {shown(value)}, expected the name or the address of a server"


def password(value: str) -> str | None:
    """Of the administrator."""
    if len(value) not in PASSWORD_LENGTH:
        return f"found {len(value)} characters, expected {PASSWORD_LENGTH.start} to {PASSWORD_LENGTH.stop - 1}"
    if not value.isprintable():
        return "found a control character, expected what every keyboard can type"
    if len(set(value)) < 4:
        return f"found {len(set(value))} different characters, expected at least 4"
    return None


def ssh_keys(value: str) -> str | None:
    """One key a line."""
    return next((fault for line in value.splitlines() if line.strip() and (fault := _ssh_key(line.strip()))), None)


def database_name(value: str) -> str | None:
    if value.lower() in _MARIADB_DATABASES:
        return f"found {shown(value)}, expected a name that is not one of MariaDB's own databases"
    return identifier(value)


def database_user(value: str) -> str | None:
    if value.lower() in _MARIADB_USERS:
        return f"found {shown(value)}, expected a name that is not MariaDB's administrator"
    return identifier(value)


def identifier(value: str) -> str | None:
    if re.fullmatch(r"[A-Za-z_]\w{0,31}", value, re.ASCII):
        return None
    return f"found {shown(value)}, expected letters, digits and _, no digit first (at most 32)"


def database_password(value: str) -> str | None:
    """It stands between quotes in the files of many a client."""
    if not re.fullmatch(r"[\x20-\x7e]{8,128}", value) or set(value) & set("'\\"):
        return "expected 8 to 128 printable ASCII characters without ' and \\"
    return None


def join_code(value: str) -> str | None:
    # Only here, since its cryptography takes longer to import than all the rest.
    from appliance.joining.code import normalised

    try:
        normalised(value)
    except InputError as error:
        return error.message.removeprefix("the code: ")
    return None


def file_word(what: str) -> Callable[[str], str | None]:
    """A word that stands in a file of settings, with nothing that means anything there."""
    return lambda value: None if re.fullmatch(r"[\w.@-]{1,32}", value) else f"found {shown(value)}, expected {what}"


def fence_option(what: str, *, secret: bool = False) -> Callable[[str], str | None]:
    """Text that a fence agent reads from one line of its standard input. One that is ``secret`` is not told."""

    def check(value: str) -> str | None:
        if value and value.isprintable() and value.isascii() and len(value) <= 128:
            return None
        if secret and value:
            return f"expected {what}, in at most 128 printable ASCII characters; found {_unfit(value)}"
        return f"found {shown(value) if value else 'nothing'}, expected {what}"

    return check


def _unfit(value: str) -> str:
    """What is wrong with a fence agent's password, without a character of it."""
    if len(value) > 128:
        return f"{len(value)} characters"
    return "one that is not ASCII" if not value.isascii() else "a control character"


def network_device(value: str) -> str | None:
    """A MAC address or a name of the kernel's."""
    if re.fullmatch(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}|[\w.-]{1,15}", value):
        return None
    return f"found {shown(value)}, expected a MAC address or an interface's name"


def _unusable(value: str, address: IPAddress) -> str | None:
    wrong = unreachable(address)
    return None if wrong is None else f"found {shown(value)}, expected a machine's address, not {wrong}"


def _whole_network(value: str, address: IPInterface) -> str | None:
    network = address.network
    if network.num_addresses < 4:
        return f"found {shown(value)}, expected a prefix length that leaves room for the other machines"
    if network.prefixlen == 0:
        return f"found {shown(value)}, expected the prefix length of one network, not of the whole world"
    ends = (network[0], network[-1]) if isinstance(address, IPv4Interface) else (network[0],)
    if address.ip in ends:
        return f"found {shown(value)}, expected a machine's address, not one that means all of {network}"
    return None


def _ssh_key(line: str) -> str | None:
    if "PRIVATE KEY" in line:
        return "found a private key, expected a public one: the file whose name ends in .pub"
    words = line.split()
    kind = words[0]
    if kind == "ssh-dss":
        return "found a DSA key, which sshd takes no more, expected one like ssh-ed25519"
    if kind not in SSH_KEYS:
        return f"found a line that begins with {shown(kind)}, expected a public key, like ssh-ed25519 AAAA… name"
    if len(words) < 2:
        return f"found {kind} alone, expected the key itself after it"
    try:
        blob = base64.b64decode(words[1], validate=True)
        fields = _ssh_strings(blob)
    except (binascii.Error, struct.error, ValueError):
        return "found a key that is not whole, expected the line as it stands in the .pub file"
    if not fields or fields[0].decode("ascii", "replace") != kind:
        return f"found a key of another kind than the {kind} before it"
    if kind == "ssh-rsa" and (bits := int.from_bytes(fields[-1], "big").bit_length()) < RSA_BITS:
        return f"found an RSA key of {bits} bits, expected at least {RSA_BITS}"
    return None


def _ssh_strings(blob: bytes) -> list[bytes]:
    """The fields of a public key (RFC 4253, 6.6). Raises ValueError when it ends in the middle of one."""
    fields = []
    while blob:
        (length,) = struct.unpack(">I", blob[:4])
        if len(blob) < 4 + length:
            raise ValueError("cut off")
        fields.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return fields
