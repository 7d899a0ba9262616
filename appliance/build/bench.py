# SPDX-License-Identifier: GPL-2.0-or-later
"""How long image builds take: from nothing, after an edit, and beside mkosi's and mmdebstrap's by hand."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from appliance.build import bootstrap, folders, image, layers, spec, tools
from appliance.build.contents import contents
from appliance.build.progress import Progress
from appliance.build.requirements import SEARCH_PATH, require_bootstrap, require_programs, require_space
from appliance.build.tools import MIRROR, SUITE, Tools, tree_folder
from appliance.errors import InputError
from appliance.run import RunError, run

Figures = dict[str, Any]

_COMPARE_MIB = 12000
_COLD_MIB = 6000
_COMPRESSED = ("convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd")
# mkosi runs Debian 13's own programs out of this tree of packages.
_MKOSI = (
    *("mkosi", "apt", "bubblewrap", "cpio", "debian-archive-keyring", "dosfstools", "e2fsprogs", "kmod", "mtools"),
    *(
        "python3-pefile",
        "qemu-utils",
        "systemd-boot",
        "systemd-boot-efi",
        "systemd-repart",
        "systemd-ukify",
        "zstd",
    ),
)
# Its maintainer script fails where mkosi runs it, without a chroot.
_NOT_BY_MKOSI = ("drbd-utils",)


def build(name: str, progress: Progress) -> Figures:
    """Of the image ``name`` as the lab boots it, in seconds: with no layer cached, unchanged, after an edit.

    The tools tree, which is made once for all images, does not count.
    """
    require_bootstrap()
    tools.ensure(progress)
    with _work_folder(_COLD_MIB) as work:
        checkout = _checkout(work)
        once = _builder(checkout, ("build", name))
        return {
            "image": name,
            "cold_s": _timed("cold", once, progress),
            "unchanged_s": _timed("unchanged", once, progress),
            "edit_to_image_s": _after_an_edit(checkout, once, progress),
        }


def compare(name: str, progress: Progress) -> Figures:
    """Figures of builds of ``name`` by three builders; takes many minutes, and root.

    All get the same packages from the same mirror, one after the other on the same machine. Each ends with a
    disk as a zstd-compressed qcow2 file.
    """
    if os.geteuid() != 0:
        raise InputError("the benchmark of image builds has to be run by root, as mkosi's tree is made by root")
    require_bootstrap()
    require_programs(("unshare",))
    wanted = spec.load(name, folders.project_folder())
    found = tools.ensure(progress)
    with _work_folder(_COMPARE_MIB) as work:
        return {
            "image": name,
            "packages": list(wanted.packages),
            "pairkeep": _ours(name, work / "pairkeep", progress),
            "mkosi": _mkosi(wanted, work / "mkosi", found, progress),
            "mmdebstrap by hand": _by_hand(wanted, work / "by-hand", found, progress),
            "fills it": [
                {"name": what, "mb": _mb(size)}
                for what, size in contents(image.packages_of(image.ensure(name, progress)))[:30]
            ],
        }


@contextlib.contextmanager
def _work_folder(space_mib: int) -> Iterator[Path]:
    work = folders.build_folder() / "bench" / "work"
    layers.remove(work)
    work.mkdir(parents=True)
    require_space(work, space_mib, "the benchmark")
    try:
        yield work
    finally:
        layers.remove(work)


def _checkout(work: Path) -> Path:
    """A copy of what images are built from, for an edit that must not stay when the benchmark is killed."""
    for name in ("appliance", "images", "overlays"):
        shutil.copytree(folders.project_folder() / name, work / "checkout" / name, symlinks=True)
    return work / "checkout"


def _builder(checkout: Path, words: Sequence[str]) -> Callable[[], None]:
    """Runs ``pairkeep image`` of ``checkout``, in whose build folder nothing but the tools tree is cached."""
    cache = checkout / "build/cache"
    cache.mkdir(parents=True)
    if tree_folder().exists():
        (cache / tree_folder().name).symlink_to(tree_folder())

    def once() -> None:
        run(
            (sys.executable, "-m", "appliance.cli.main", "image", *words),
            env={"PAIRKEEP_BUILD": str(checkout / "build")},
            cwd=checkout,
        )

    return once


def _after_an_edit(checkout: Path, build: Callable[[], None], progress: Progress) -> float:
    with (checkout / "appliance/supervisor/store.py").open("a") as edited:
        edited.write("# edited by the benchmark\n")
    return _timed("after an edit of the supervisor", build, progress)


def _ours(name: str, work: Path, progress: Progress) -> Figures:
    checkout = _checkout(work)
    once = _builder(checkout, ("export", name, "--to", str(work / "out")))
    cold_s = _timed("pairkeep, cold", once, progress)
    warm_s = _after_an_edit(checkout, once, progress)
    (made,) = (work / "out").glob("*.qcow2")
    return {
        "cold_s": cold_s,
        "after_edit_s": warm_s,
        "qcow2_mb": _mb(made.stat().st_size),
        "boots": "BIOS and UEFI",
    }


def _mkosi(wanted: spec.Spec, work: Path, programs: Tools, progress: Progress) -> Figures:
    tree = work / "tree"
    tree.mkdir(parents=True)
    with progress.phase("a tree for mkosi"):
        _unpack(tree, _MKOSI)
    packages = [*(one for one in wanted.packages if one not in _NOT_BY_MKOSI), "systemd-boot", "systemd-boot-efi"]
    edited = work / "extra/etc/edited"
    edited.parent.mkdir(parents=True)
    for folder in ("cache", "out", "packages", "workspace"):
        (work / folder).mkdir()
    # A local mirror is one that mkosi adds no others to (it would want Debian's archive of debug symbols).
    words = (
        *("--distribution", "debian", "--release", wanted.suite, "--local-mirror", wanted.mirror),
        *("--format", "disk", "--bootable", "yes", "--bootloader", "systemd-boot", "--with-docs", "no"),
        *("--incremental", "yes", "--build-sources", "", "--workspace-directory", work / "workspace"),
        *("--cache-directory", work / "cache", "--output-directory", work / "out"),
        *("--package-cache-dir", work / "packages", "--extra-tree", work / "extra", "--tools-tree", tree),
        *("--output", "image", "--force", "--package", ",".join(packages)),
    )
    module = work / "module"
    module.mkdir()
    (module / "mkosi").symlink_to(tree / "usr/lib/python3/dist-packages/mkosi")
    env = {"PYTHONPATH": str(module), "PATH": SEARCH_PATH}

    def build() -> None:
        run([sys.executable, "-m", "mkosi", *words, "build"], env=env, cwd=work)
        run([*programs.argv("qemu-img"), *_COMPRESSED, work / "out/image.raw", work / "image.qcow2"])

    version = run([sys.executable, "-m", "mkosi", "--version"], env=env, cwd=work).stdout.strip()
    figures: Figures = {"version": version, "without": list(_NOT_BY_MKOSI), "boots": "UEFI"}
    try:
        edited.write_text("1\n")
        figures["cold_s"] = _timed("mkosi, cold", build, progress)
        edited.write_text("2\n")
        figures["after_edit_s"] = _timed("mkosi, after an edit", build, progress)
        figures["qcow2_mb"] = _mb((work / "image.qcow2").stat().st_size)
    except RunError as error:
        figures["failed"] = str(error)
    return figures


def _by_hand(wanted: spec.Spec, work: Path, programs: Tools, progress: Progress) -> Figures:
    """A root file system, as the manuals of the three programs show; it has no boot loader and nothing of ours."""
    work.mkdir(parents=True)

    include = f"--include={','.join(wanted.packages)}"
    packed = str(work / "root.tar")
    words = ("mmdebstrap", "--variant=minbase", include, wanted.suite, packed, *wanted.sources)

    def build() -> None:
        run(words, env={"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"})
        (work / "root.raw").unlink(missing_ok=True)
        made = (work / "root.raw", f"{wanted.size_mib}M")
        run([*programs.argv("mke2fs"), "-q", "-t", "ext4", "-d", packed, *made])
        run([*programs.argv("qemu-img"), *_COMPRESSED, work / "root.raw", work / "root.qcow2"])

    cold_s = _timed("mmdebstrap by hand", build, progress)
    return {
        "cold_s": cold_s,
        "after_edit_s": cold_s,
        "qcow2_mb": _mb((work / "root.qcow2").stat().st_size),
        "boots": "with a kernel that is handed to it",
    }


def _unpack(tree: Path, packages: Sequence[str]) -> None:
    packed = tree / "tree.tar"
    bootstrap.bootstrap(
        packed,
        tree,
        variant="apt",
        suite=SUITE,
        source_lines=bootstrap.sources(SUITE, MIRROR, None),
        path_rules=(),
        packages=packages,
    )
    run(["tar", "--extract", "--file", packed, "--directory", tree])
    packed.unlink()


def _timed(what: str, build: Callable[[], None], progress: Progress) -> float:
    with progress.phase(what):
        began = time.monotonic()
        build()
    return round(time.monotonic() - began, 1)


def _mb(size: int) -> float:
    return round(size / 1_000_000, 1)
