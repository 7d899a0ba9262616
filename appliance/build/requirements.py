# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host must have, checked before a build changes anything."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.errors import InputError

# An ordinary user's PATH lacks these on Debian, and mmdebstrap, dpkg and mke2fs live or look there.
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))

_PACKAGES: Mapping[str, str] = {"newuidmap": "uidmap", "newgidmap": "uidmap", "dpkg-deb": "dpkg"}


def find(program: str) -> str | None:
    """The path of ``program`` on the host, looking into the sbin folders too; None without it."""
    return shutil.which(program, path=SEARCH_PATH)


def require_programs(programs: Sequence[str]) -> None:
    """Raise InputError that names every one of ``programs`` that the host lacks and its package."""
    missing = [program for program in programs if find(program) is None]
    if missing:
        packages = sorted({_PACKAGES.get(program, program) for program in missing})
        raise InputError(
            f"missing on this host: {', '.join(missing)}", hint=f"apt-get install {' '.join(packages)}"
        )


def require_bootstrap() -> None:
    """Raise InputError unless mmdebstrap can run here: as root, or through a user namespace."""
    if os.geteuid() == 0:
        require_programs(("mmdebstrap", "tar"))
        return
    require_programs(("mmdebstrap", "tar", "newuidmap", "newgidmap"))
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        if not _has_range(file):
            raise InputError(
                f"user {os.geteuid()} has no range of ids in {file}",
                hint="as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
            )


def _has_range(file: Path) -> bool:
    names = {str(os.geteuid()), pwd.getpwuid(os.geteuid()).pw_name}
    lines = file.read_text().splitlines() if file.exists() else []
    return any(line.split(":")[0] in names for line in lines)


def require_space(folder: Path, needed_mib: int, purpose: str) -> None:
    """Raise InputError unless ``folder`` (or where it will be) is writable and has ``needed_mib`` free."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"{purpose} needs to write to {existing}, and this user may not",
            hint="set PAIRKEEP_BUILD to a folder of your own",
        )
    free_mib = shutil.disk_usage(existing).free // (1024 * 1024)
    if free_mib < needed_mib:
        raise InputError(
            f"{purpose} needs {needed_mib} MiB below {existing}, found {free_mib} MiB free",
            hint="make room, or set PAIRKEEP_BUILD (and TMPDIR) to folders on a larger disk",
        )
