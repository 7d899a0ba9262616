# SPDX-License-Identifier: GPL-2.0-or-later
"""A node's configuration in one file, and back: what first boot and `pairkeep apply` have written, keys included.

Not in it: the data, and the record of whose data are the newest. A restored node learns that from the others; an
old copy of it would be a wrong memory.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from appliance import __version__
from appliance.config.load import parse
from appliance.config.model import Cluster
from appliance.errors import InputError
from appliance.files import replace_file

# Relative to the root. The last one makes a machine a node, so it is written last.
COMMIT = "etc/pairkeep/cluster.toml"
PLACES = (
    "etc/hostname",
    "etc/hosts",
    "etc/nftables.conf",
    "etc/systemd/network",
    "etc/corosync/corosync.conf",
    "etc/corosync/authkey",
    "etc/drbd.d",
    "etc/iscsi/initiatorname.iscsi",
    "etc/pairkeep",
    "var/lib/pairkeep/versions",
)
# Drop-ins of services have a name of ours among those of others.
DROP_INS = ("etc/systemd/system", "50-pairkeep.conf")
ABOUT = "backup.json"
FORMAT = 1


@dataclass(frozen=True)
class Backup:
    """``files``: by path below the root, content and mode."""

    node: str
    cluster: Cluster
    files: dict[str, tuple[bytes, int]]


def pack(node: str, at: float, root: Path = Path("/")) -> bytes:
    """The backup of ``node``. Raises InputError when this machine is no node."""
    if not (root / COMMIT).exists():
        raise InputError(f"there is no /{COMMIT}: this machine is no node of a cluster")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        about = {"format": FORMAT, "version": __version__, "node": node, "at": at}
        _add(tar, ABOUT, json.dumps(about).encode(), 0o600, at)
        for path in _files(root):
            _add(tar, str(path.relative_to(root)), path.read_bytes(), path.stat().st_mode & 0o777, at)
    return out.getvalue()


def unpack(data: bytes, name: str) -> Backup:
    """Raises InputError for what is no backup, or would write where a backup has no business."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            members = {m.name: (_content(tar, m), m.mode & 0o777) for m in tar.getmembers()}
        about: dict[str, Any] = json.loads(members.pop(ABOUT)[0])
        found, node = about["format"], str(about["node"])
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{name}: found no backup of a node ({error})") from error
    if found != FORMAT:
        raise InputError(f"{name}: found format {found}, expected {FORMAT}: it is of another version of Pairkeep")
    for path in members:
        if not _belongs(path):
            raise InputError(f"{name}: found {path!r}, which belongs in no backup")
    if COMMIT not in members:
        raise InputError(f"{name}: found no {COMMIT} in it")
    cluster = parse(members[COMMIT][0].decode(errors="replace"), f"{COMMIT} of {name}")
    if node not in [n.name for n in cluster.nodes]:
        raise InputError(f"{name}: found node {node!r}, expected one of its cluster.toml")
    return Backup(node, cluster, members)


def put_back(backup: Backup, prepare: Callable[[], None], root: Path = Path("/")) -> None:
    """Write all of it; ``prepare`` does what needs the files and has to be done before the machine is a node.

    After a power cut on the way it is none yet: then do it again.
    """
    (root / COMMIT).unlink(missing_ok=True)
    for name, (content, mode) in backup.files.items():
        if name != COMMIT:
            replace_file(root / name, content, mode)
    prepare()
    replace_file(root / COMMIT, *backup.files[COMMIT])


def _files(root: Path) -> Iterator[Path]:
    for place in PLACES:
        path = root / place
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (p for p in found if p.is_file() and not p.is_symlink())
    folder, name = DROP_INS
    yield from sorted((root / folder).glob(f"*.service.d/{name}"))


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int, at: float) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), mode, int(at)
    tar.addfile(member, io.BytesIO(data))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise InputError(f"found {member.name!r}, which is no plain file")
    return file.read()


def _belongs(name: str) -> bool:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return False
    folder, drop_in = DROP_INS
    known = any(path == PurePosixPath(place) or PurePosixPath(place) in path.parents for place in PLACES)
    return known or (path.name == drop_in and path.parent.parent == PurePosixPath(folder))
