# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that build and run images: the host's own, or a Debian 13 tools tree's.

Needed are QEMU 10 (7.2 of Debian 12 corrupts guests under TCG), mke2fs 1.47.1 with libarchive
(``-d root.tar`` keeps owners without root), Python 3.13 (byte code for the image) and Debian 13's
boot loader. On an older host they come from a tree of unpacked Debian 13 packages. Its programs run
without root and without chroot: through the tree's own ``ld.so``, with its own libraries.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from appliance.build import bootstrap, folders, layers, slim
from appliance.build.progress import SILENT, Progress
from appliance.build.requirements import find, require_bootstrap, require_space
from appliance.errors import InputError
from appliance.run import run

SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://deb.debian.org/debian-security"
PACKAGES = (
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "grub-common",
    "grub-efi-amd64-signed",
    "grub-pc-bin",
    "libarchive13t64",
    "mtools",
    "ovmf",
    "python3-minimal",
    "qemu-system-x86",
    "qemu-utils",
    "shim-signed",
)
TREE_MIB = 600  # its tar and the unpacked tree

_PROGRAMS = (
    *("qemu-system-x86_64", "qemu-img", "mke2fs", "debugfs", "python3.13"),
    *("sfdisk", "mkfs.vfat", "mcopy", "mmd", "grub-mkimage"),
)
# Loaded or copied, so no program's absence tells of theirs.
_FILES = (
    "usr/lib/x86_64-linux-gnu/libarchive.so.13",
    "usr/lib/grub/i386-pc/boot.img",
    "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
    "usr/lib/shim/shimx64.efi.signed",
    "usr/share/OVMF/OVMF_CODE_4M.fd",
)
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_PROGRAM_FOLDERS = ("usr/bin", "usr/sbin")


@dataclass(frozen=True)
class Tools:
    """Where programs come from: ``tree`` is the tools tree, or None for the host's own."""

    tree: Path | None

    def argv(self, name: str) -> tuple[str, ...]:
        """The words that start the program ``name``; append its arguments. Raises InputError without it."""
        if self.tree is None:
            path = find(name)
            if path is None:
                raise InputError(f"missing on this host: {name}")
            return (path,)
        for folder in _PROGRAM_FOLDERS:
            program = self.tree / folder / name
            if program.exists():
                libraries = self.tree / _LIBRARIES
                loader = libraries / "ld-linux-x86-64.so.2"
                return (str(loader), "--library-path", str(libraries), "--argv0", name, str(program))
        raise InputError(f"the tools tree has no program {name}")

    def path(self, name: str) -> Path:
        """Where the file ``name`` ("usr/lib/shim/...") of the tools' packages is. Raises InputError without it."""
        path = (self.tree or Path("/")) / name
        if not path.exists():
            raise InputError(f"missing on this host: {path}")
        return path

    def environment(self, name: str) -> dict[str, str]:
        """Variables that the program ``name`` needs beyond those of this process."""
        if self.tree is not None and name.startswith("python3"):
            return {"PYTHONHOME": str(self.tree / "usr")}
        return {}

    def qemu_argv(self) -> tuple[str, ...]:
        """The words that start qemu-system-x86_64 with its firmware folders; append its arguments."""
        argv = self.argv("qemu-system-x86_64")
        if self.tree is None:
            return argv
        share = self.tree / "usr/share"
        return (*argv, "-L", str(share / "qemu"), "-L", str(share / "seabios"))


def host_suffices(os_release: Mapping[str, str]) -> bool:
    """Whether the host is Debian 13 or newer and has all programs and files installed."""
    if os_release.get("ID") != "debian" or int(os_release.get("VERSION_ID", "99").split(".")[0]) < 13:
        return False
    return all(find(name) for name in _PROGRAMS) and all((Path("/") / name).exists() for name in _FILES)


def tree_folder() -> Path:
    """Where the tools tree is, or will be."""
    inputs = {"format": 1, "packages": PACKAGES, "suite": SUITE, "mirrors": [MIRROR, SECURITY_MIRROR]}
    return folders.cache_folder() / f"tools-{layers.key_of(inputs)}"


def check() -> None:
    """Raise InputError when the tools are neither there nor could be made."""
    if not host_suffices(_os_release()) and not tree_folder().exists():
        require_bootstrap()
        require_space(folders.cache_folder(), TREE_MIB, "the tools tree")


def ensure(progress: Progress) -> Tools:
    """The tools, with the tree made first (half a minute) where it is needed and missing."""
    if host_suffices(_os_release()):
        return Tools(None)
    tree = tree_folder()
    if not tree.exists():
        check()
        with layers.locked(folders.cache_folder() / ".tools.lock", progress):
            # Another process may have made it while this one waited.
            if not tree.exists():
                layers.sweep(tree.parent, f"tools-{layers.ANY_KEY}")
                with (
                    progress.phase("Debian 13 tools tree (QEMU, e2fsprogs, GRUB, Python)"),
                    layers.atomic_folder(tree) as making,
                ):
                    _make_tree(making, tree)
    return Tools(tree)


@cache
def tools() -> Tools:
    """The tools, made silently where they are missing."""
    return ensure(SILENT)


def tool(name: str) -> tuple[str, ...]:
    """The words that start the program ``name``; append its arguments."""
    return tools().argv(name)


def qemu_argv() -> tuple[str, ...]:
    """The words that start qemu-system-x86_64 of a version that works; append its arguments."""
    return tools().qemu_argv()


def _make_tree(folder: Path, tree: Path) -> None:
    packed = folder / "tree.tar"
    bootstrap.bootstrap(
        packed,
        tree,
        variant="extract",  # unpacked and not configured: no maintainer script is needed to run programs
        suite=SUITE,
        source_lines=bootstrap.sources(SUITE, MIRROR, SECURITY_MIRROR),
        path_rules=slim.DOCUMENTATION,
        packages=PACKAGES,
    )
    run(["tar", "--extract", "--file", packed, "--directory", folder, "--no-same-owner", "--exclude=./dev/*"])
    packed.unlink()
    # Debian's hook for crash reports points out of the tree; it would break every start of Python.
    (folder / "usr/lib/python3.13/sitecustomize.py").unlink(missing_ok=True)


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
