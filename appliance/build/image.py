# SPDX-License-Identifier: GPL-2.0-or-later
"""Images: a packages layer, Pairkeep's own package and overlays, made into a root disk.

``build/images/NAME`` is a symbolic link to the newest image; each image has a folder of its own,
``build/images/.store/NAME-KEY``, so that machines that run from an older one keep their disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.build import bootstrap, folders, layers, package, rootfs, slim, spec, tools, units
from appliance.build.identity import uuid_of
from appliance.build.progress import SILENT, Progress
from appliance.build.requirements import require_bootstrap, require_programs, require_space
from appliance.build.rootfs import Entry, Index
from appliance.errors import PairkeepError
from appliance.run import run

# Part of every key: raise it when the same inputs shall give another image.
FORMAT = 2
# Older images of the same name that stay, for machines that still run from them.
KEPT = 3
BOOTSTRAP_MIB = 900  # mmdebstrap's own folder, in TMPDIR
PACKAGES_MIB = 1300  # the packages layer, and one that it replaces
IMAGE_MIB = 1800  # root.tar and the root disk, with room to spare

_BOOTED = ("vmlinuz", "initrd")
_FILES = (*_BOOTED, "root.raw")


@dataclass(frozen=True)
class Image:
    """A finished image. ``key`` names its content; the paths stay valid when a newer one is built.

    ``root`` is a whole-disk ext4 file system, raw and sparse: use it as a backing file, never write to it.
    ``epoch`` is the time (Unix seconds) of the newest thing that packages brought into it.
    """

    name: str
    key: str
    folder: Path
    kernel: Path
    initrd: Path
    root: Path
    epoch: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Plan:
    """What an image would be made of now, and the two keys that follow from it."""

    spec: spec.Spec
    files: dict[str, bytes]
    overlays: tuple[tuple[Entry, ...], ...]
    fixed: tuple[Entry, ...]
    layer: Path
    inputs: str


def ensure(name: str, progress: Progress = SILENT) -> Image:
    """The image ``name`` as the sources say now: the one that is there, or a new one.

    Takes under a second when nothing changed. Raises InputError before anything is changed (bad
    specification, missing host tool, too little space), other PairkeepErrors when the build failed;
    the last good image stays in either case.
    """
    return build(name, progress)[0]


def build(name: str, progress: Progress, *, refresh: bool = False) -> tuple[Image, bool]:
    """As ``ensure``; says also whether a new image was made.

    ``refresh`` fetches the packages anew, for updates: a cached layer stays as it is otherwise.
    """
    plan = _plan(name)
    made = False
    image = _is_current(plan)
    if image is None or refresh:
        _check_host(plan, refresh)
        programs = tools.ensure(progress)
        with layers.locked(_lock_of(name), progress):
            image, made = _build(plan, programs, progress, refresh)
    return image, made


def current(name: str) -> Image | None:
    """The newest finished image ``name``, up to date or not; None without one."""
    link = folders.build_folder() / "images" / name
    return _read(link.resolve()) if link.exists() else None


def packages_of(image: Image) -> Path:
    """The tar file of packages that ``image`` was made of. Raises PairkeepError when it is gone."""
    path = folders.cache_folder() / _layer_of(image.folder) / "root.tar"
    if not path.exists():
        raise PairkeepError(f"the packages of {image.name} are no longer there: {path}")
    return path


def list_images() -> list[tuple[str, Image | None, bool]]:
    """Each image that ``images/`` describes: its name, its newest build, and whether that is up to date."""
    names = spec.names(folders.project_folder())
    return [(name, current(name), _is_current(_plan(name)) is not None) for name in names]


def _plan(name: str) -> _Plan:
    project = folders.project_folder()
    wanted = spec.load(name, project)
    files = package.sources(project)
    overlays = tuple(tuple(rootfs.tree_entries(project / "overlays" / overlay)) for overlay in wanted.overlays)
    layer_inputs = {
        "format": FORMAT,
        "path_rules": slim.IMAGE,
        **spec.layer_inputs(wanted),
    }
    layer = folders.cache_folder() / f"packages-{layers.key_of(layer_inputs)}"
    brought = [entry for overlay in overlays for entry in overlay]
    sources = Entry("etc/apt/sources.list", 0o644, content=_lines(wanted.sources))
    fixed = (*units.unit_entries(wanted.enable, wanted.mask, brought), sources, *_FIXED)
    described = [
        [entry.path, entry.mode, entry.link, hashlib.sha256(entry.content or b"").hexdigest()]
        for entry in (*brought, *fixed)
    ]
    inputs = {
        "layer": layer.name,
        "package": package.digest(files),
        "overlays": described,
        "size_mib": wanted.size_mib,
        "name": name,
    }
    return _Plan(wanted, files, overlays, fixed, layer, layers.key_of(inputs))


def _check_host(plan: _Plan, refresh: bool) -> None:
    require_programs(("dpkg-deb",))
    tools.check()
    needed = IMAGE_MIB
    if refresh or not plan.layer.exists():
        require_bootstrap()
        needed += PACKAGES_MIB
        require_space(Path(tempfile.gettempdir()), BOOTSTRAP_MIB, "unpacking the packages")
    require_space(folders.build_folder(), needed, f"building the image {plan.spec.name}")


def _build(plan: _Plan, programs: tools.Tools, progress: Progress, refresh: bool) -> tuple[Image, bool]:
    """Make the image of ``plan`` and its layer, each unless it is there; says whether the image was made."""
    layer = _packages(plan, progress, refresh)
    index = Index.from_json((layer / "index.json").read_text())
    content = json.loads((layer / layers.SUMS).read_text())["root.tar"]["sha256"]
    key = layers.key_of({"inputs": plan.inputs, "packages": content})
    folder = folders.build_folder() / "images" / ".store" / f"{plan.spec.name}-{key}"
    made = _read(folder) is None
    if made:
        layers.sweep(folder.parent, f"{plan.spec.name}-{layers.ANY_KEY}")
        with layers.atomic_folder(folder) as making:
            _make(plan, programs, layer, index, key, making, progress)
    _point_to(folder, plan.spec.name)
    _forget_old(plan.spec.name, folder)
    image = _read(folder)
    if image is None:
        raise PairkeepError(f"{folder} vanished while it was built")
    return image, made


def _packages(plan: _Plan, progress: Progress, refresh: bool) -> Path:
    def make(folder: Path) -> None:
        with progress.phase(f"packages of {plan.spec.name} ({len(plan.spec.packages)} and what they need)"):
            bootstrap.bootstrap(
                folder / "root.tar",
                plan.layer,
                variant="minbase",
                suite=plan.spec.suite,
                source_lines=plan.spec.sources_of_build,
                path_rules=slim.IMAGE,
                packages=plan.spec.packages,
                before_packages=plan.spec.before_packages,
                after_packages=plan.spec.after_packages,
            )
            wanted = {
                "boot/vmlinuz-": folder / "vmlinuz",
                "boot/initrd.img-": folder / "initrd",
                "var/lib/dpkg/status": folder / "status",
            }
            index = rootfs.index_tar(folder / "root.tar", wanted)
            rootfs.date(folder / "root.tar", index.epoch)
            (folder / "index.json").write_text(index.to_json())

    # Images with the same packages share a layer, so it has a lock of its own.
    with layers.locked(plan.layer.with_name(f".{plan.layer.name}.lock"), progress):
        layers.ensure(plan.layer, make, progress, what=f"packages layer of {plan.spec.name}", anew=refresh)
    return plan.layer


def _make(
    plan: _Plan,
    programs: tools.Tools,
    layer: Path,
    index: Index,
    key: str,
    folder: Path,
    progress: Progress,
) -> None:
    """Fill the empty ``folder`` with the image of ``plan``."""
    status = (layer / "status").read_text()
    with progress.phase("pairkeep's own package"):
        ours = package.build(plan.files, programs, folder, index.epoch)
    with progress.phase(f"root file system of {plan.spec.name}"):
        ours_in_database = package.database_entries(ours, status)
        entries = rootfs.merge([ours.entries, ours_in_database, *plan.overlays, plan.fixed], index)
        packed = folder / "root.tar"
        rootfs.compose(layer / "root.tar", index, entries, packed)
        _make_disk(programs, packed, folder / "root.raw", plan.spec.size_mib, key, index.epoch)
        packed.unlink()
    for name in _BOOTED:
        shutil.copyfile(layer / name, folder / name)
    manifest = {
        "name": plan.spec.name,
        "key": key,
        "inputs": plan.inputs,
        "layer": layer.name,
        "epoch": index.epoch,
        "bytes": {name: (folder / name).stat().st_size for name in _FILES},
        "versions": {one.name: one.version for one in package.installed(status)} | {package.NAME: ours.version},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


# An empty machine-id makes systemd choose one and keep it, without the full "first boot" in which it
# would enable every unit by preset. (machine-id(5)) The initrd hands its /dev over, and needs a place for it.
_FIXED = (Entry("etc/machine-id", 0o444, content=b""), Entry("dev", 0o755))


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _make_disk(programs: tools.Tools, packed: Path, disk: Path, size_mib: int, key: str, epoch: int) -> None:
    identity = str(uuid_of(key))
    # All tables are ready at the first boot, which would otherwise write them in the background.
    extended = f"lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed={identity}"
    words = ("-q", "-F", "-t", "ext4", "-L", "pairkeep", "-m", "1", "-J", "size=16", "-U", identity)
    run(
        [*programs.argv("mke2fs"), *words, "-E", extended, "-d", packed, disk, f"{size_mib}M"],
        env={"SOURCE_DATE_EPOCH": str(epoch)},
    )


def _read(folder: Path) -> Image | None:
    """The image in ``folder``; None when there is none, or not the whole of it."""
    try:
        manifest = _manifest(folder)
        if any((folder / name).stat().st_size != manifest["bytes"][name] for name in _FILES):
            return None
        return Image(
            name=manifest["name"],
            key=manifest["key"],
            folder=folder,
            kernel=folder / "vmlinuz",
            initrd=folder / "initrd",
            root=folder / "root.raw",
            epoch=manifest["epoch"],
            versions=manifest["versions"],
        )
    except (OSError, ValueError, KeyError):
        return None


def _is_current(plan: _Plan) -> Image | None:
    """The image of ``plan``, if it is there and made of just what the plan says; None otherwise."""
    image = current(plan.spec.name)
    if image is None or _manifest(image.folder)["inputs"] != plan.inputs:
        return None
    return image


def _lock_of(name: str) -> Path:
    return folders.build_folder() / "images" / f".{name}.lock"


def _point_to(folder: Path, name: str) -> None:
    """Make ``build/images/NAME`` point to ``folder``, in one step."""
    link = folders.build_folder() / "images" / name
    making = link.with_name(f".{name}.{os.getpid()}")
    making.unlink(missing_ok=True)
    making.symlink_to(folder.relative_to(link.parent))
    making.replace(link)


def _forget_old(name: str, newest: Path) -> None:
    """Remove all but the newest KEPT older images of ``name``, and layers of it that none of these uses."""
    built = newest.parent.glob(f"{name}-{layers.ANY_KEY}")
    older = sorted((path for path in built if path != newest), key=lambda path: path.stat().st_mtime, reverse=True)
    gone = _layers_of(older[KEPT:])
    for path in older[KEPT:]:
        layers.remove(path)
    for layer in gone - _layers_of(newest.parent.glob("[!.]*")):
        layers.remove(folders.cache_folder() / layer)


def _layers_of(built: Iterable[Path]) -> set[str]:
    """The layers that images were made of, as far as that can be read."""
    found = set()
    for path in built:
        with contextlib.suppress(OSError, ValueError, KeyError):
            found.add(_layer_of(path))
    return found


def _layer_of(folder: Path) -> str:
    return str(_manifest(folder)["layer"])


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found
