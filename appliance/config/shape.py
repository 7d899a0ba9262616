# SPDX-License-Identifier: GPL-2.0-or-later
"""What a TOML file's tables, arrays and values may look like, as checks that say what they expected.

Built on voluptuous, which collects errors; the words are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import voluptuous as vol

# Keys and, in arrays, positions (from 0) that lead to a value.
Path = tuple[str | int, ...]
Problem = tuple[Path, str]
Check = Callable[[Any], Any]
# What is in the name of a key whose value is a secret: in our files, in those of other programs, and in what fence
# agents call their options. The path of a file is none, nor is corosync's token, a time.
HIDDEN_KEY = (
    r"(?:passw|passphrase|secret|_key|apikey|privatekey|presharedkey|hexadecimal_kg"
    r"|(?<![a-z])(?:psk|community|token)(?![a-z_])(?!\W{1,5}\d{1,6}\b))(?!\w*_(?:file|script))"
)
# Messages reach consoles and journals.
_SECRET = re.compile(rf"(?i){HIDDEN_KEY}|\bagain\b")
# Tables of things that others refer to by name.
NAMED: tuple[Path, ...] = tuple(
    (name,) for name in ("node", "drbd", "initiator", "target", "lun", "virtual", "vrrp", "realserver")
)


class Unknown(vol.Invalid):
    """A key that does not exist; its message is complete."""


class Missing(vol.Invalid):
    """A key that has to be there and is not."""


def shown(value: object) -> str:
    """A value as it would stand in TOML, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table" if value else "an empty table"
    if isinstance(value, list):
        items = ("[…]" if isinstance(item, list) else shown(item) for item in value[:4])
        return f"[{', '.join(items)}{', …]' if len(value) > 4 else ']'}"
    # Python writes no decimal number of more than 4300 digits.
    huge = isinstance(value, int) and value.bit_length() > 64
    text = f'"{value}"' if isinstance(value, str) else f"{value:#x}" if huge else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def names_secret(text: str) -> bool:
    """Whether a key, or a line with a key and its value, is one whose value must not be told."""
    return _SECRET.search(text) is not None


def shown_of(key: str, value: object) -> str:
    """``value`` as `shown`, unless ``key`` says that it is a secret."""
    return "a value that is not shown" if names_secret(key) else shown(value)


def mistakes(check: Check, raw: Mapping[str, Any]) -> list[Problem]:
    """Everything in ``raw`` whose shape is not as ``check`` has it. Raises nothing."""
    try:
        vol.Schema(check)(raw)
    except vol.MultipleInvalid as errors:
        return [_problem(raw, error) for error in errors.errors]
    return []


def _problem(raw: Mapping[str, Any], error: vol.Invalid) -> Problem:
    path: Path = tuple(key if isinstance(key, int) else str(key) for key in error.path)
    if isinstance(error, Unknown):
        return path, error.msg
    if isinstance(error, Missing):
        return path, f"missing, {error.msg}"
    value: Any = raw
    for key in path:
        value = value[key]
    key = next((key for key in reversed(path) if isinstance(key, str)), "")
    return path, f"found {shown_of(key, value)}, {error.msg}"


def without(raw: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """A copy of ``raw`` that lacks what stands at ``paths``.

    None stands there instead in arrays, an empty table for what has a name of its own (a node, a DRBD resource):
    the thing exists, though nothing is known about it.
    """

    def copied(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            kept = {k: copied(v, (*path, k)) for k, v in value.items() if (*path, k) not in paths}
            return {k: kept.get(k, {}) for k in value} if path in NAMED else kept
        if isinstance(value, list):
            return [None if (*path, i) in paths else copied(v, (*path, i)) for i, v in enumerate(value)]
        return value

    copy: dict[str, Any] = copied(dict(raw), ())
    return copy


def apart(found: Iterable[Problem], wrong: Sequence[Path]) -> list[Problem]:
    """Those of ``found`` that neither stand at nor below one of the paths ``wrong``: of these enough is said.

    But what has a name of its own exists (see `without`), so that nobody uses it, for one, is still told.
    """
    telling = [one for one in wrong if one[:-1] not in NAMED]
    return [
        (path, text)
        for path, text in found
        if path not in telling and not any(path != one and path[: len(one)] == one for one in wrong)
    ]


def table(what: str, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A table with these keys and no others."""
    fields = {**required, **(optional or {})}

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise vol.Invalid(f"expected {what}")
        errors: list[vol.Invalid] = []
        for key in value.keys() - fields.keys():
            near = get_close_matches(key, fields, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(fields)}"
            errors.append(Unknown(f"unknown key; {advice}", path=[key]))
        errors.extend(
            Missing(f"expected {getattr(required[key], 'what', 'a value')}", path=[key])
            for key in required
            if key not in value
        )
        for key in fields.keys() & value.keys():
            errors.extend(errors_of(fields[key], value[key], key))
        return checked(value, errors)

    return named(what, check)


def tables(what: str, name: str, pattern: str, entry: Check) -> Check:
    """A table of tables whose keys are names."""

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise vol.Invalid(f"expected {what}")
        errors: list[vol.Invalid] = []
        for key, item in value.items():
            if not re.fullmatch(pattern, key):
                errors.append(Unknown(f'found the name "{key}", expected {name}', path=[key]))
            else:
                errors.extend(errors_of(entry, item, key))
        return checked(value, errors)

    return named(what, check)


def array(what: str, entry: Check, least: int = 0, most: int | None = None) -> Check:
    """An array whose items are all checked (voluptuous' own sequences stop at the first bad table)."""

    def check(value: Any) -> Any:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            raise vol.Invalid(f"expected {what}")
        return checked(value, [e for i, item in enumerate(value) for e in errors_of(entry, item, i)])

    return named(what, check)


def errors_of(check: Check, value: Any, key: str | int) -> list[vol.Invalid]:
    try:
        vol.Schema(check)(value)
    except vol.MultipleInvalid as found:
        found.prepend([key])
        return list(found.errors)
    return []


def checked(value: Any, errors: list[vol.Invalid]) -> Any:
    if errors:
        raise vol.MultipleInvalid(errors)
    return value


def named(what: str, check: Check) -> Check:
    check.what = what  # type: ignore[attr-defined]
    return check


def value_like(what: str, test: Callable[[Any], object]) -> Check:
    """A single value; ``test`` answers falsely or raises ValueError for one that will not do."""

    def check(value: Any) -> Any:
        try:
            good = test(value)
        except ValueError:
            good = False
        if not good:
            raise vol.Invalid(f"expected {what}")
        return value

    return named(what, check)


def text(what: str, pattern: str) -> Check:
    """In ``pattern`` letters and digits are those of ASCII: programs count others in bytes, or refuse them."""
    return value_like(what, lambda v: isinstance(v, str) and re.fullmatch(pattern, v, re.ASCII))


def number(low: float, high: float, unit: str, *, whole: bool = True, decimals: int | None = None) -> Check:
    what = f"a {'whole ' if whole else ''}number from {low} to {high}{unit and ' ' + unit}"

    def test(value: Any) -> bool:
        kind_fits = isinstance(value, int) or (isinstance(value, float) and not whole)
        fits = kind_fits and not isinstance(value, bool) and low <= value <= high
        return fits and (decimals is None or round(value, decimals) == value)

    return value_like(what if decimals is None else f"{what}, with at most {decimals} decimals", test)


def word(*words: str) -> Check:
    listed = " or ".join(f'"{word}"' for word in words)
    return value_like(listed, lambda v: v in words)
