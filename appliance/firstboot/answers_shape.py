# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in an answers file, and what each value looks like by itself: in the words of the wizard's pages."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from appliance.config.shape import Check, Unknown, array, named, shown_of, table, tables, value_like
from appliance.config.values import KEY_BYTES, OWN_FILE, boolean, is_plain
from appliance.firstboot import checks, fields
from appliance.firstboot.facts import ALIAS


def _said(what: str, check: fields.Check, *, secret: bool = False) -> Check:
    """A check of the wizard's, whose words are complete."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str):
            raise Unknown(f"found {shown_of('secret' if secret else '', value)}, expected text")
        if (fault := check(value)) is not None:
            raise Unknown(fault)
        return value

    return named(what, validate)


def _key_fault(value: str) -> str | None:
    try:
        key = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return "expected the cluster's key in base64"
    if len(key) not in KEY_BYTES:
        return f"expected a key of {KEY_BYTES.start} to {KEY_BYTES.stop - 1} bytes, found {len(key)}"
    return None


def _address_fault(value: str) -> str | None:
    return checks.interface_address(6 if ":" in value else 4)(value)


def _hash_fault(value: str) -> str | None:
    if re.fullmatch(r"\$(?:y|gy|7|2b|6|5)\$[\w./$=,-]{10,200}", value, re.ASCII):
        return None
    return "expected a password's hash as in /etc/shadow, such as mkpasswd prints"


def written(what: str) -> Check:
    """Any text."""
    return value_like(what, lambda v: isinstance(v, str))


_card = _said("a MAC address or an interface's name", checks.network_device)
_host = _said("an address without a prefix length, like 10.9.1.1", checks.host_address)
host_name = _said("a host name", checks.host_name)
NETWORK = table(
    'a table like { interface = "enp0s2", dhcp = true }',
    {"interface": _card},
    {
        "address": _said("an address with its prefix length", _address_fault),
        "dhcp": boolean,
        "router_advertisements": boolean,
        "gateway": _host,
        "dns": array("an array of addresses", _host),
    },
)
# What any machine may be told, whatever it is to be.
PERSONAL: dict[str, Check] = {
    "keyboard": _said("a layout", checks.file_word("a keyboard layout's name, like us")),
    "language": _said("a locale", checks.file_word("a locale's name, like C.UTF-8")),
    "time_servers": array("an array of names and addresses of servers", _said("a server", checks.server)),
    "password_hash": _said("a password's hash", _hash_fault, secret=True),
    "ssh_keys": array("an array of public keys", _said("a public key", checks.ssh_keys)),
}
NODE = table(
    "tables",
    {
        "node": written("the name of one of the cluster's nodes"),
        "cluster_key": _said("the cluster's key in base64", _key_fault, secret=True),
        "interfaces": array("an array of a MAC address or a name for each of cluster.networks", _card),
        "cluster": written("the text of cluster.toml"),
    },
    {
        "database": table(
            "a table with name, user and password",
            {
                "name": _said("a database's name", checks.database_name),
                "user": _said("a user's name", checks.database_user),
                "password": _said("the user's password", checks.database_password, secret=True),
            },
        ),
        "network": array("[[network]] tables", NETWORK),
        "secrets": tables(
            "a table of texts by the names of their files",
            "the name of a file of your own, without a folder",
            OWN_FILE,
            _said("text", fields.anything, secret=True),
        ),
        **PERSONAL,
        "disk": value_like(
            "the path of a disk below /dev that is its own",
            lambda v: is_plain(v) and v.startswith("/dev/") and v != ALIAS,
        ),
        "wipe": value_like(
            'true, false, or "drbd" for what DRBD has replicated too', lambda v: isinstance(v, bool) or v == "drbd"
        ),
    },
)
