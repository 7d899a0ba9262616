# SPDX-License-Identifier: GPL-2.0-or-later
"""The root file system as a tar file: what packages brought, with our files laid over it.

Nothing here needs root: owners and modes are only written down, and ``mke2fs -d`` believes them.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from appliance.errors import InputError, PairkeepError

# Stands in an overlay only because git keeps no empty folders.
_PLACEHOLDER = ".gitkeep"
_CHUNK = 1 << 30
# In a member's header (tar(5), ustar).
_MTIME = slice(136, 148)
_CHECKSUM = slice(148, 156)


@dataclass(frozen=True)
class Entry:
    """One file, folder or symbolic link of the image, owned by root.

    ``path`` is relative to the root (``etc/hosts``). Exactly one kind: a folder has neither
    ``content`` nor ``link``; a file has ``content`` (its bytes); a link has ``link``.
    """

    path: str
    mode: int
    content: bytes | None = None
    link: str | None = None


@dataclass(frozen=True)
class Index:
    """What is where in a tar file.

    ``starts`` maps each member's path to the offset of its first header; ``kinds`` to tarfile's type
    byte as text. ``linked`` are files that other members are hard links to. ``end`` is the offset
    behind the last member. ``epoch`` is the newest time among what packages bring and no script writes:
    programs, kernel, Python's sources (Unix seconds). Nothing in an image is newer, so that the same
    inputs give the same image; byte code of Python goes by its source's time, which therefore stays.
    """

    starts: Mapping[str, int]
    kinds: Mapping[str, str]
    linked: frozenset[str]
    end: int
    epoch: int

    def to_json(self) -> str:
        """The index as text for ``from_json``."""
        return json.dumps(
            {
                "starts": dict(self.starts),
                "kinds": dict(self.kinds),
                "linked": sorted(self.linked),
                "end": self.end,
                "epoch": self.epoch,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Index:
        """Read what ``to_json`` wrote."""
        values = json.loads(text)
        return cls(**{**values, "linked": frozenset(values["linked"])})


def index_tar(path: Path, extract: Mapping[str, Path]) -> Index:
    """Index the tar file ``path``, and write the members whose paths start with a key of ``extract``.

    Each such key must match exactly one regular file ("boot/vmlinuz-"); otherwise PairkeepError.
    """
    starts: dict[str, int] = {}
    kinds: dict[str, str] = {}
    linked: set[str] = set()
    found: dict[str, str] = {}
    end = epoch = 0
    with tarfile.open(path) as archive:
        for member in archive:
            name = _plain(member.name)
            starts[name] = end
            kinds[name] = member.type.decode()
            end = member.offset_data + (-(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
            if member.islnk():
                linked.add(_plain(member.linkname))
            if member.isfile() and _is_brought(name):
                epoch = max(epoch, int(member.mtime))
            for prefix, target in extract.items():
                if member.isfile() and name.startswith(prefix):
                    if prefix in found:
                        raise PairkeepError(f"the packages brought both /{found[prefix]} and /{name}")
                    found[prefix] = name
                    content = archive.extractfile(member)
                    assert content is not None  # noqa: S101 - isfile() says so
                    target.write_bytes(content.read())
    lacking = [prefix for prefix in extract if prefix not in found]
    if lacking:
        raise PairkeepError(f"the packages brought no /{lacking[0]}*")
    return Index(starts=starts, kinds=kinds, linked=frozenset(linked), end=end, epoch=epoch)


def date(path: Path, epoch: int) -> None:
    """Give every member of the tar file ``path`` that is newer than ``epoch`` that time, in place.

    Only a script at build time wrote those. Times are whole seconds in the members' own headers: that
    is how mmdebstrap has tar write them. An extended header before a member bears the time at which tar
    ran, and gets the same.
    """
    late = set()
    with tarfile.open(path) as archive:
        for member in archive:
            own = member.offset_data - tarfile.BLOCKSIZE
            if member.mtime > epoch:
                late.add(own)
            if member.offset != own:
                late.add(member.offset)
    with path.open("r+b") as file:
        for at in sorted(late):
            file.seek(at)
            header = bytearray(file.read(tarfile.BLOCKSIZE))
            header[_MTIME] = b"%011o\0" % epoch
            header[_CHECKSUM] = b" " * 8
            header[_CHECKSUM] = b"%06o\0 " % sum(header)
            file.seek(at)
            file.write(header)


def tree_entries(folder: Path) -> list[Entry]:
    """The tree below ``folder`` as entries, sorted by path.

    Files are 0755 when their owner may execute them, else 0644: git knows no more, and a checkout's
    umask must not show in an image.
    """
    entries = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.name == _PLACEHOLDER:
            continue
        name = relative.as_posix()
        if path.is_symlink():
            entries.append(Entry(name, 0o777, link=str(path.readlink())))
        elif path.is_dir():
            entries.append(Entry(name, 0o755))
        elif path.is_file():
            executable = path.stat().st_mode & stat.S_IXUSR
            entries.append(Entry(name, 0o755 if executable else 0o644, content=path.read_bytes()))
        else:
            raise InputError(f"{path} is neither a file, a folder nor a symbolic link")
    return entries


def merge(layers: Iterable[Iterable[Entry]], index: Index) -> list[Entry]:
    """Lay ``layers`` over each other and over the indexed tar: later entries win, missing folders are added.

    Folders that the tar has already are left out, so that they keep their modes.
    Raises InputError for an entry below a file or a link (``lib/x`` where /lib is a link to usr/lib),
    for a file in a folder's place or the reverse, and for replacing a file that has hard links.
    """
    wanted: dict[str, Entry] = {}
    for layer in layers:
        for entry in layer:
            for parent in reversed(PurePosixPath(entry.path).parents[:-1]):
                wanted.setdefault(str(parent), Entry(str(parent), 0o755))
            _check(entry, wanted.get(entry.path), index)
            wanted[entry.path] = entry
    for entry in wanted.values():
        above = wanted.get(str(PurePosixPath(entry.path).parent))
        if above and not _is_folder(above):
            raise InputError(f"the overlay puts /{entry.path} below /{above.path}, which it has as a file")
        if _is_folder(entry) and index.kinds.get(entry.path, "5") != "5":
            raise InputError(f"the overlay has a folder /{entry.path}, which is no folder in the image")
    return [
        entry for path, entry in sorted(wanted.items()) if not (_is_folder(entry) and index.kinds.get(path) == "5")
    ]


def compose(base: Path, index: Index, entries: Iterable[Entry], target: Path) -> None:
    """Write the tar file ``target``: ``base`` without what ``entries`` replace, and then ``entries``."""
    entries = list(entries)
    replaced = {entry.path for entry in entries}
    with base.open("rb") as source, target.open("wb") as out:
        for start, end in _kept(index, replaced):
            at = start
            while at < end:
                # In the kernel, and where the file system can, without copying at all.
                at += os.copy_file_range(source.fileno(), out.fileno(), min(end - at, _CHUNK), at)
        out.seek(0, os.SEEK_END)
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for entry in entries:
                archive.addfile(_member(entry, index.epoch), io.BytesIO(entry.content or b""))


def _is_brought(name: str) -> bool:
    return name.startswith(("usr/bin/", "usr/sbin/", "boot/vmlinuz-")) or (
        name.startswith("usr/lib/python3") and name.endswith(".py")
    )


def _check(entry: Entry, earlier: Entry | None, index: Index) -> None:
    kind = index.kinds.get(entry.path)
    folder_there = kind == "5" if earlier is None else _is_folder(earlier)
    if not _is_folder(entry) and folder_there:
        raise InputError(f"the overlay has a file /{entry.path}, which is a folder in the image")
    if not _is_folder(entry) and entry.path in index.linked:
        raise InputError(f"the overlay replaces /{entry.path}, which has hard links in the image")


def _is_folder(entry: Entry) -> bool:
    return entry.content is None and entry.link is None


def _kept(index: Index, replaced: set[str]) -> list[tuple[int, int]]:
    """The byte ranges of the tar file without ``replaced`` members, adjacent ones joined."""
    order = sorted((start, path) for path, start in index.starts.items())
    ends = [start for start, _ in order[1:]] + [index.end]
    ranges: list[tuple[int, int]] = []
    for (start, path), end in zip(order, ends, strict=True):
        if path in replaced:
            continue
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges


def _member(entry: Entry, epoch: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo("./" + entry.path)
    member.mode = entry.mode
    member.mtime = epoch
    member.uname = member.gname = "root"
    if entry.link is not None:
        member.type = tarfile.SYMTYPE
        member.linkname = entry.link
    elif entry.content is None:
        member.type = tarfile.DIRTYPE
    else:
        member.size = len(entry.content)
    return member


def _plain(name: str) -> str:
    return name.removeprefix("./").rstrip("/")
