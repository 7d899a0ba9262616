# SPDX-License-Identifier: GPL-2.0-or-later
"""A node's configuration in one file, and back: what first boot and `pairkeep apply` have written, keys included.

Not in it: the data, and the record of whose data are the newest and of what was applied. A restored node learns
that from the others; an old copy of it would be a wrong memory. Where all are restored nobody knows, and the record
begins anew at version 0 of cluster.toml: so the text that was in force comes back as that one.
"""

from __future__ import annotations

import io
import json
import re
import shutil
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
from appliance.render import SECRET, peers, replication, write
from appliance.supervisor import store
from appliance.upkeep.versions import ABOUT as ABOUT_VERSION
from appliance.upkeep.versions import FILE, Versions

# Relative to the root. The last one makes a machine a node, so it is written last.
COMMIT = "etc/pairkeep/cluster.toml"
KEY = str(peers.KEY.relative_to("/"))
PLACES = (
    "etc/hostname",
    "etc/hosts",
    "etc/nftables.conf",
    "etc/nftables.d",
    "etc/udev/rules.d/90-pairkeep-data.rules",
    "etc/vconsole.conf",
    "etc/locale.conf",
    "etc/systemd/timesyncd.conf.d/pairkeep.conf",
    "root/.ssh/authorized_keys",
    "etc/systemd/network",
    "etc/corosync/corosync.conf",
    KEY,
    "etc/drbd.d",
    "etc/iscsi/initiatorname.iscsi",
    "etc/pairkeep",
)
# In backups that were taken before the text in force was all that counts; it is not written back.
HISTORY = "var/lib/pairkeep/versions"
# Drop-ins of services have a name of ours among those of others. By its keys a machine is known to who logs in.
NAMED = (
    "etc/systemd/system/*.service.d/50-pairkeep.conf",
    "etc/ssh/ssh_host_*_key",
    "etc/ssh/ssh_host_*_key.pub",
)
# Of it only root's own password is kept, as hashed in crypt(5): the other accounts are the image's.
SHADOW = "etc/shadow"
HASH = re.compile(r"\$[A-Za-z0-9./$=,+-]+")
ABOUT = "backup.json"
FORMAT = 1


@dataclass(frozen=True)
class Backup:
    """``files``: by path below the root, content and mode. ``version``: of the cluster.toml that was in force.

    ``password``: that of root, hashed; empty when it had none.
    """

    node: str
    cluster: Cluster
    files: dict[str, tuple[bytes, int]]
    version: int
    at: float
    password: str = ""


def pack(node: str, at: float, root: Path = Path("/")) -> bytes:
    """The backup of ``node``. Raises InputError when this machine is no node, or runs by no cluster.toml."""
    if not (root / COMMIT).exists():
        raise InputError(f"there is no /{COMMIT}: this machine is no node of a cluster")
    files = {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mode & 0o777) for p in _files(root)}
    version, text = _versions(root).in_force(store.load(_below(root, store.PATH)))
    parse(text, f"version {version} of cluster.toml, which is in force")
    draft, mode = files[COMMIT]
    if draft != text.encode():
        # Nobody has applied it, and no other node may ever hear of it: so it is not what a restored node runs by.
        files[f"{COMMIT}.unapplied"] = (draft, mode)
    files[COMMIT] = (text.encode(), mode)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        about = {"format": FORMAT, "version": __version__, "node": node, "at": at, "config": version}
        about["password"] = _password(root)
        _add(tar, ABOUT, json.dumps(about).encode(), 0o600, at)
        for name, (content, mode) in files.items():
            _add(tar, name, content, mode, at)
    return out.getvalue()


def unpack(data: bytes, name: str) -> Backup:
    """Raises InputError for what is no backup, or would write where a backup has no business."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            members = {m.name: (_content(tar, m), m.mode & 0o777) for m in tar.getmembers()}
        about: dict[str, Any] = json.loads(members.pop(ABOUT)[0])
        found, node = about["format"], str(about["node"])
        version, at = int(about.get("config", 0)), float(about.get("at", 0))
        password = str(about.get("password", ""))
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
    if password and not HASH.fullmatch(password):
        raise InputError(f"{name}: found a password that is not hashed as in crypt(5)")
    if KEY not in members:
        raise InputError(f"{name}: found no {KEY} in it, without which nobody takes part in a cluster")
    return Backup(node, cluster, members, version, at, password)


def put_back(backup: Backup, prepare: Callable[[], None], root: Path = Path("/")) -> None:
    """Write all of it; ``prepare`` does what needs the files and has to be done before the machine is a node.

    After a power cut on the way it is none yet: then do it again.
    """
    (root / COMMIT).unlink(missing_ok=True)
    (root / "root/.ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, (content, mode) in backup.files.items():
        if name != COMMIT and not _is_below(name, HISTORY):
            replace_file(root / name, content, mode)
    shutil.rmtree(root / HISTORY, ignore_errors=True)
    about = {"who": "restore", "why": f"version {backup.version}, from a backup", "at": backup.at}
    replace_file(root / HISTORY / "0" / ABOUT_VERSION, json.dumps(about).encode())
    replace_file(root / HISTORY / "0" / FILE, backup.files[COMMIT][0])
    # Not those of the backup: they may be of a Pairkeep that made them otherwise than the other node's does.
    write(replication(backup.cluster, backup.node, root), root, SECRET)
    prepare()
    replace_file(root / COMMIT, *backup.files[COMMIT])


def _versions(root: Path) -> Versions:
    had = Versions()
    return Versions(_below(root, had.edited), _below(root, had.folder), _below(root, had.running), root)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _files(root: Path) -> Iterator[Path]:
    for place in PLACES:
        path = root / place
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (p for p in found if p.is_file() and not p.is_symlink())
    for pattern in NAMED:
        yield from sorted(p for p in root.glob(pattern) if p.is_file() and not p.is_symlink())


def _password(root: Path) -> str:
    """Empty when root has none, or is locked."""
    path = root / SHADOW
    lines = path.read_text().splitlines() if path.exists() else []
    found = next((line.split(":")[1] for line in lines if line.startswith("root:")), "")
    return found if HASH.fullmatch(found) else ""


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
    known = any(_is_below(name, place) for place in (*PLACES, HISTORY))
    return known or any(len(path.parts) == pattern.count("/") + 1 and path.match(pattern) for pattern in NAMED)


def _is_below(name: str, place: str) -> bool:
    return PurePosixPath(name).is_relative_to(place)
