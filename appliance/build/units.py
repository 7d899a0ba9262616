# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd units of an image that are started at boot, or never, as files and links (systemctl(1))."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from appliance.build.rootfs import Entry
from appliance.errors import InputError

_OURS = "usr/lib/systemd/system"
_LOCAL = "etc/systemd/system"
# What makes units at boot (systemd.generator(7)).
_GENERATORS = "etc/systemd/system-generators"


def unit_entries(enable: Sequence[str], mask: Sequence[str], entries: Iterable[Entry]) -> list[Entry]:
    """The links that enable and mask units; ``entries`` are the files that the overlays bring.

    Only units of the overlays can be enabled: packages enable their own. Raises InputError for one
    that no overlay brings, that says nowhere by what it is wanted, or that is masked as well.
    """
    contents = {entry.path: entry.content for entry in entries}
    links = []
    for unit in enable:
        content = contents.get(f"{_OURS}/{unit}")
        if content is None:
            raise InputError(f"enable: found {unit!r}, but no overlay has {_OURS}/{unit}")
        if unit in mask:
            raise InputError(f"enable: found {unit!r}, which is masked as well")
        targets = wanted_by(content.decode())
        if not targets:
            raise InputError(f"enable: found {unit!r}, but it has no WantedBy= in [Install]")
        links += [Entry(f"{_LOCAL}/{target}.wants/{unit}", 0o777, link=f"/{_OURS}/{unit}") for target in targets]
    for unit in mask:
        folder = _GENERATORS if unit.endswith("-generator") else _LOCAL
        links.append(Entry(f"{folder}/{unit}", 0o777, link="/dev/null"))
    return links


def wanted_by(text: str) -> list[str]:
    """The targets in all ``WantedBy=`` lines of a unit file's [Install] section."""
    section = ""
    targets: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        key, _, value = line.partition("=")
        if section == "[Install]" and key.strip() == "WantedBy":
            targets += value.split()
    return targets
