# SPDX-License-Identifier: GPL-2.0-or-later
"""`[notify]`: who hears of changes, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.config.shape import array, table, text, value_like
from appliance.config.values import is_clean

# As much of RFC 5321 as an administrator's address has, and nothing that a header would take for something else.
_ADDRESS = text("a mail address", r"[A-Za-z0-9._%+-]{1,64}(@[A-Za-z0-9.-]{1,190})?")
NOTIFY = table(
    "a table",
    {},
    {
        "mail": array("an array of mail addresses", _ADDRESS, least=1),
        "sender": _ADDRESS,
        "program": value_like("the absolute path of a program, without '..'", is_clean),
    },
)


@dataclass(frozen=True)
class Notify:
    """``mail``: who gets mail, by /usr/sbin/sendmail. ``program`` is run with what there is to tell."""

    mail: tuple[str, ...] = ()
    sender: str = "root"
    program: str | None = None


def build(raw: Mapping[str, Any]) -> Notify:
    return Notify(**{**raw, "mail": tuple(raw.get("mail", ()))})
