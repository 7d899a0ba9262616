# SPDX-License-Identifier: GPL-2.0-or-later
"""``images/NAME.toml``: what an image is made of."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import voluptuous as vol

from appliance.build import bootstrap
from appliance.config import toml
from appliance.errors import InputError

MAX_SIZE_MIB = 1024 * 1024

# Debian policy 5.6.1; a suite and a folder name are held to what cannot be taken for an option or a path.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_UNIT = re.compile(r"[\w@.:-]+\.(service|socket|timer|mount|automount|path|target)")
_MASKED = re.compile(rf"{_UNIT.pattern}|[\w-]+-generator")
# As snapshot.debian.org writes moments: 20261101T000000Z.
_MOMENT = re.compile(r"20\d{6}T\d{6}Z")
_SNAPSHOTS = "http://snapshot.debian.org/archive"
_KERNELS = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}
_LISTS = ("packages", "overlays", "enable", "mask", "before_packages", "after_packages")


class SpecError(InputError):
    """One or more mistakes in image specifications; ``problems`` holds a line for each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Spec:
    """One image, with all that it extends merged in.

    ``kernel`` is "cloud" or "generic". ``packages`` is sorted and has the kernel's. With ``snapshot`` the
    packages come from Debian's archive as it was at that moment. ``enable`` and ``mask`` are systemd
    units, ``mask`` generators as well. ``overlays`` are names of folders below ``overlays/``, later ones
    laid over earlier ones. ``before_packages`` and ``after_packages`` are the *texts* of shell scripts.
    """

    name: str
    suite: str
    mirror: str
    security_mirror: str | None
    snapshot: str | None
    kernel: str
    size_mib: int
    packages: tuple[str, ...]
    enable: tuple[str, ...]
    mask: tuple[str, ...]
    overlays: tuple[str, ...]
    before_packages: tuple[str, ...]
    after_packages: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The lines of the image's own sources.list: where its updates come from."""
        return bootstrap.sources(self.suite, self.mirror, self.security_mirror)

    @property
    def sources_of_build(self) -> tuple[str, ...]:
        """The lines of sources.list by which the image is built."""
        if self.snapshot is None:
            return self.sources
        mirror = f"{_SNAPSHOTS}/debian/{self.snapshot}"
        security = None if self.security_mirror is None else f"{_SNAPSHOTS}/debian-security/{self.snapshot}"
        # What was signed then may have expired since.
        return tuple(
            line.replace("deb ", "deb [check-valid-until=no] ", 1)
            for line in bootstrap.sources(self.suite, mirror, security)
        )


def _expect(expected: str, accept: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not accept(value):
            raise vol.Invalid(f"expected {expected}")
        return value

    return check


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


_URL = _expect("an http:// or https:// address", _matches(re.compile(r"https?://[^\s\[\]]+")))
_SCRIPT = _expect("the path of a script inside images/", _matches(re.compile(r"(?!.*\.\.)[a-z0-9][\w./-]*")))
_SCHEMA = vol.Schema(
    {
        "extends": _expect("the name of another image", _matches(_NAME)),
        "suite": _expect("the name of a Debian suite", _matches(_NAME)),
        "mirror": _URL,
        "security_mirror": _URL,
        "snapshot": _expect("a moment as in 20261101T000000Z", _matches(_MOMENT)),
        "kernel": _expect(" or ".join(map(repr, _KERNELS)), lambda value: value in tuple(_KERNELS)),
        "size_mib": _expect(
            f"a whole number from 256 to {MAX_SIZE_MIB} (MiB)",
            lambda value: type(value) is int and 256 <= value <= MAX_SIZE_MIB,
        ),
        "packages": [_expect("the name of a Debian package", _matches(_PACKAGE))],
        "overlays": [_expect("the name of a folder in overlays/", _matches(_NAME))],
        "enable": [_expect("the name of a systemd unit", _matches(_UNIT))],
        "mask": [_expect("the name of a systemd unit or generator", _matches(_MASKED))],
        "before_packages": [_SCRIPT],
        "after_packages": [_SCRIPT],
    }
)


def names(project: Path) -> list[str]:
    """The names of the images that ``images/`` describes, sorted."""
    return sorted(path.stem for path in (project / "images").glob("*.toml"))


def load(name: str, project: Path) -> Spec:
    """Read ``images/NAME.toml`` of the checkout ``project`` and all that it extends.

    Raises SpecError with every mistake of every file: each names the file, the key, what was found
    and what was expected.
    """
    problems: list[str] = []
    merged: dict[str, Any] = {}
    for path, values in reversed(_chain(name, project, problems)):
        for key, value in values.items():
            merged[key] = [*merged.get(key, []), *value] if key in _LISTS else value
        for key, folder in (
            ("overlays", "overlays"),
            ("before_packages", "images"),
            ("after_packages", "images"),
        ):
            for entry in values.get(key, []):
                wanted = project / folder / entry
                if not (wanted.is_dir() if key == "overlays" else wanted.is_file()):
                    problems.append(f"{_shown(path)}: {key}: found {entry!r}, but {folder}/{entry} does not exist")
    required = ("suite", "mirror", "kernel", "size_mib", "packages")
    if not problems:
        problems = [f"images/{name}.toml: {key}: missing" for key in required if key not in merged]
    if problems:
        raise SpecError(tuple(problems))
    return Spec(
        name=name,
        suite=merged["suite"],
        mirror=merged["mirror"],
        security_mirror=merged.get("security_mirror"),
        snapshot=merged.get("snapshot"),
        kernel=merged["kernel"],
        size_mib=merged["size_mib"],
        packages=tuple(sorted({*merged["packages"], _KERNELS[merged["kernel"]]})),
        enable=tuple(merged.get("enable", [])),
        mask=tuple(merged.get("mask", [])),
        overlays=tuple(dict.fromkeys(merged.get("overlays", []))),
        before_packages=_texts(project, merged.get("before_packages", [])),
        after_packages=_texts(project, merged.get("after_packages", [])),
    )


def layer_inputs(spec: Spec) -> dict[str, Any]:
    """What decides the packages layer of ``spec``: all that mmdebstrap is told."""
    values = dataclasses.asdict(spec)
    later = ("name", "overlays", "enable", "mask", "size_mib")
    return {key: value for key, value in values.items() if key not in later}


def _texts(project: Path, scripts: list[str]) -> tuple[str, ...]:
    return tuple((project / "images" / script).read_text() for script in scripts)


def _chain(name: str, project: Path, problems: list[str]) -> list[tuple[Path, Mapping[str, Any]]]:
    """The file of ``name`` and those it extends, the image itself first; mistakes go to ``problems``."""
    chain: list[tuple[Path, Mapping[str, Any]]] = []
    wanted: str | None = name
    named_by = ""
    while wanted is not None:
        path = project / "images" / f"{wanted}.toml"
        if any(path == seen for seen, _ in chain):
            problems.append(f"{named_by}found {wanted!r}, which extends this image itself")
            break
        if not path.is_file():
            known = ", ".join(names(project))
            problems.append(f"{named_by}found {wanted!r}, expected the name of an image: {known}")
            break
        values = _read(path, problems)
        chain.append((path, values))
        named_by = f"{_shown(path)}: extends: "
        wanted = values.get("extends")
    return chain


def _read(path: Path, problems: list[str]) -> Mapping[str, Any]:
    try:
        values = toml.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{_shown(path)}: not TOML: {error}")
        return {}
    try:
        _SCHEMA(values)
    except vol.MultipleInvalid as errors:
        problems += [_problem(path, values, error) for error in errors.errors]
        return {key: values[key] for key in values if key not in {error.path[0] for error in errors.errors}}
    return values


def _problem(path: Path, values: Any, error: vol.Invalid) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in error.path)
    if error.error_message == "extra keys not allowed":
        near = difflib.get_close_matches(key, [str(known) for known in _SCHEMA.schema], n=1)
        return f"{_shown(path)}: {key}: unknown key" + (f", did you mean {near[0]}?" if near else "")
    found = values
    for part in error.path:
        found = found[part]
    expected = "expected a list" if error.error_message == "expected a list" else error.error_message
    return f"{_shown(path)}: {key}: found {found!r}, {expected}"


def _shown(path: Path) -> str:
    return f"images/{path.name}"
