# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of this machine's own for data disks: cluster.toml is the same on all nodes, and their disks are not."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.run import run

# After those of udev that name disks (60-persistent-storage.rules).
RULES = Path("/etc/udev/rules.d/90-pairkeep-data.rules")
_RULE = re.compile(r'^SUBSYSTEM=="block", (?:SYMLINK|KERNEL)=="([^"]+)", SYMLINK\+="([^"]+)"$', re.MULTILINE)


def rule(disk: str, alias: str) -> str:
    """The line of udev's that lets ``disk`` go by ``alias`` too; both below /dev."""
    # Matches what earlier rules have named; a disk that has no lasting name goes by the kernel's.
    match = f'SYMLINK=="{disk.removeprefix("/dev/")}"' if "/disk/" in disk else f'KERNEL=="{Path(disk).name}"'
    return f'SUBSYSTEM=="block", {match}, SYMLINK+="{alias.removeprefix("/dev/")}"\n'


def named(rules: str) -> dict[str, str]:
    """By alias the disks that ``rules`` name."""
    return {f"/dev/{alias}": f"/dev/{disk}" for disk, alias in _RULE.findall(rules)}


def give() -> None:
    """Let udev read the rules, and wait until the disks have their names."""
    run(["udevadm", "control", "--reload"], timeout_s=30)
    run(["udevadm", "trigger", "--subsystem-match=block"], timeout_s=30)
    run(["udevadm", "settle", "--timeout=30"], timeout_s=40)
