# SPDX-License-Identifier: GPL-2.0-or-later
"""What a page of the wizard consists of, as values: whoever shows it decides how it looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from appliance.firstboot.machine import Machine

# The answers of one page, by the names of its fields.
Values = Mapping[str, str]
# What is wrong, by the name of the field under which it is told; "" for what concerns the whole page.
Faults = Mapping[str, str]
# Says what is wrong with one value, or None.
Check = Callable[[str], str | None]
Kind = Literal["text", "secret", "choice", "lines"]


def anything(_value: str) -> None:
    """The check of a field that takes what is typed."""


def optional(check: Check) -> Check:
    """``check``, for a field that may stay empty."""
    return lambda value: check(value) if value else None


@dataclass(frozen=True)
class Choice:
    value: str
    label: str


@dataclass(frozen=True)
class Field:
    """One answer. ``when`` says, of the page's answers so far, whether it is asked at all."""

    name: str
    label: str
    help: str
    kind: Kind = "text"
    default: str = ""
    choices: tuple[Choice, ...] = ()
    check: Check = anything
    when: Callable[[Values], bool] = lambda _: True

    def fault(self, value: str) -> str | None:
        """What is wrong with ``value`` by itself."""
        fault = self.check(value)
        if fault is None and self.kind == "choice" and value not in (known := [c.value for c in self.choices]):
            return f'found "{value}", expected {" or ".join(known)}'
        return fault


@dataclass(frozen=True)
class Page:
    """One step of the wizard.

    ``check`` compares the fields with each other and with earlier pages; ``live`` asks the machine and the
    network, which takes a moment, and is asked only when nothing else is wrong. ``kind`` tells pages that
    are more than fields: ``trial`` is confirmed in time or undone, ``gather`` waits for other machines. ``looks``:
    whoever comes to it sees the machine as it is then, for something may have been plugged in.
    """

    key: str
    title: str
    intro: str
    help: str
    fields: tuple[Field, ...] = ()
    kind: Literal["form", "trial", "gather", "summary"] = "form"
    looks: bool = False
    check: Callable[[Values], Faults] = lambda _: {}
    live: Callable[[Machine, Values], Faults] = lambda _machine, _values: {}

    def asked(self, values: Values) -> tuple[Field, ...]:
        """The fields that are asked when the others hold ``values``."""
        complete = self.filled(values)
        return tuple(field for field in self.fields if field.when(complete))

    def filled(self, values: Values) -> dict[str, str]:
        """``values`` with the defaults of what has not been answered, and nothing that does not belong here."""
        return {field.name: values.get(field.name, field.default) for field in self.fields}

    def faults(self, values: Values) -> Faults:
        """Everything that can be said without asking anyone: each field by itself, then all together."""
        complete = self.filled(values)
        own = ((field.name, field.fault(complete[field.name])) for field in self.asked(values))
        found = {name: fault for name, fault in own if fault is not None}
        return found or self.check(complete)
