# SPDX-License-Identifier: GPL-2.0-or-later
"""Cached layers: a folder made once for what goes into it, and trusted only while its sums agree."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from appliance.build.progress import Progress
from appliance.run import run

# Beside a layer's files: their sizes and SHA-256 sums. Written last, so its absence means "unfinished".
SUMS = "sums.json"
# Matches what `key_of` gives, and so tells "database-KEY" from "database-metal-KEY".
ANY_KEY = "[0-9a-f]" * 20


def key_of(inputs: Any) -> str:
    """A short name (20 hex digits) for ``inputs``, which must be plain JSON values."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:20]


@contextlib.contextmanager
def locked(file: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock ``file``; says so when another build holds it, and waits for that one to end."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.phase("waiting for another build to end"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its name if the body succeeds, and goes away if not.

    What stood at ``target`` before is replaced; nobody ever finds a half-made folder there, nor after a power loss.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    making, replaced = (Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)) for _ in range(2))
    try:
        making.chmod(0o755)
        yield making
        settle(making)
        if target.exists():
            target.rename(replaced)
        making.rename(target)
    finally:
        remove(making)
        remove(replaced)


def settle(folder: Path) -> None:
    """Have all that was written to ``folder`` on the disk: before it takes a name by which it counts as whole.

    As one syncfs(2): a tools tree has thousands of files, and a write that fails is told of as well.
    """
    run(["sync", "--file-system", folder])


def remove(folder: Path) -> None:
    """Delete ``folder``; nothing happens when it is not there."""
    if folder.exists():
        shutil.rmtree(folder)


def sweep(folder: Path, names: str) -> None:
    """Remove what ``atomic_folder`` left in ``folder`` of builds that were killed; call with their lock held.

    ``names`` matches the names of their targets, as for glob, and must match no others.
    """
    for left in folder.glob(f".{names}.*"):
        if left.is_dir():
            remove(left)


def record_sums(folder: Path) -> None:
    """Write SUMS of all regular files directly in ``folder``."""
    sums = {
        path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    (folder / SUMS).write_text(json.dumps(sums, indent=1) + "\n")


def damage(folder: Path) -> str | None:
    """Why the layer in ``folder`` cannot be used ("root.tar has changed"), or None when all sums agree."""
    try:
        sums = json.loads((folder / SUMS).read_text())
        for name, recorded in sums.items():
            path = folder / name
            if path.stat().st_size != recorded["size"] or sha256_of(path) != recorded["sha256"]:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{SUMS} is unreadable"
    return None


def ensure(
    folder: Path, make: Callable[[Path], None], progress: Progress, *, what: str, anew: bool = False
) -> bool:
    """Have the layer ``what`` in ``folder``: as it is if undamaged, else made by ``make(new_folder)``.

    A damaged layer is made again, and said so. ``anew`` makes any again, and what is there stays until then.
    Returns whether it was made. Call with the lock held.
    """
    if folder.exists() and not anew:
        with progress.phase(f"checking the cached {what}"):
            why = damage(folder)
        if why is None:
            return False
        progress.note(f"the cached {what} is damaged ({why}): making it again")
    sweep(folder.parent, folder.name)
    with atomic_folder(folder) as making:
        make(making)
        record_sums(making)
    return True


def sha256_of(path: Path) -> str:
    """The SHA-256 sum of a file's content, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
