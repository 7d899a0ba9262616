# SPDX-License-Identifier: GPL-2.0-or-later
"""What fills an image: how many bytes each package has in it, after all that was left out."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

_LISTS = "var/lib/dpkg/info/"
# Files that no package lists, because its scripts made them.
_MADE = (
    ("byte code of Python", lambda path: "/__pycache__/" in path),
    ("initrd", lambda path: path.startswith("boot/initrd")),
    ("hardware database of udev", lambda path: path == "usr/lib/udev/hwdb.bin"),
    ("database of dpkg and apt", lambda path: path.startswith(("var/lib/dpkg/", "var/lib/apt/", "var/cache/"))),
    ("index of the kernel's modules", lambda path: path.startswith("usr/lib/modules/")),
)


def contents(packages: Path) -> list[tuple[str, int]]:
    """Packages, and what their scripts made, with their bytes in a packages layer's tar file; largest first."""
    sizes: dict[str, int] = {}
    owners: dict[str, str] = {}
    with tarfile.open(packages) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isfile():
                sizes[name] = member.size
            if member.isfile() and name.startswith(_LISTS) and name.endswith(".list"):
                file = archive.extractfile(member)
                assert file is not None  # noqa: S101 - isfile() says so
                owner = name.removeprefix(_LISTS).removesuffix(".list").split(":")[0]
                owners |= dict.fromkeys((path.lstrip("/") for path in file.read().decode().splitlines()), owner)
    filled: Counter[str] = Counter()
    for path, size in sizes.items():
        filled[_owner(path, owners)] += size
    return filled.most_common()


def _owner(path: str, owners: dict[str, str]) -> str:
    # Packages of before the merge of /bin, /lib and /sbin into /usr list files where they no longer are.
    owner = owners.get(path) or owners.get(path.removeprefix("usr/"))
    if owner is not None:
        return owner
    return next((what for what, fits in _MADE if fits(path)), "everything else")
