# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairkeep itself as a Debian package, made without debhelper and installed without dpkg.

The image builder lays the package's files over the root and enters it into dpkg's database, which
is all that ``dpkg -i`` would do: the package has no maintainer scripts. (deb(5), dpkg(1))
"""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import appliance
from appliance.build.layers import key_of
from appliance.build.rootfs import Entry, tree_entries
from appliance.build.tools import Tools
from appliance.errors import PairkeepError
from appliance.run import run

NAME = "pairkeep"
MODULES = Path("usr/lib/python3/dist-packages")

# What only the machine that builds and tests images needs. Leaving it out also means that an edit of
# it makes no new image.
HOST_ONLY = (
    "build",
    "lab",
    # The simulator itself is what `pairkeep simulate` runs in; these put it through faults of their own.
    "sim/breaking.py",
    "sim/disk_faults.py",
    "sim/fault.py",
    "sim/faults.py",
    "sim/life.py",
    "sim/mutants.py",
    "sim/repair.py",
    "sim/run.py",
    "sim/script.py",
    "sim/shared.py",
    "sim/shrink.py",
    "cli/bench.py",
    "cli/demo.py",
    "cli/fault.py",
    "cli/faults.py",
    "cli/image.py",
    "cli/lab.py",
    "cli/mutants.py",
    "cli/repeat.py",
    "cli/sim.py",
)
DEPENDS = (
    "python3 (>= 3.13)",
    "python3-argcomplete",
    "python3-cattr",
    "python3-cryptography",
    "python3-dbus",
    "python3-gi",
    "python3-jinja2",
    "python3-pyroute2",
    "python3-pyudev",
    "python3-spake2",
    "python3-systemd",
    "python3-urwid",
    "python3-voluptuous",
    "corosync",
    "drbd-utils",
    "nftables",
)
_SUFFIXES = (".py", ".j2", ".typed")
_SCRIPT = """\
#!/usr/bin/python3 -I
# SPDX-License-Identifier: GPL-2.0-or-later
import sys

from appliance.cli.main import main

sys.exit(main())
"""


@dataclass(frozen=True)
class Package:
    """The built package: its files, its control stanza, and the .deb file that holds both."""

    version: str
    entries: tuple[Entry, ...]
    control: str
    deb: Path


@dataclass(frozen=True)
class Installed:
    """A package that is installed. ``source`` is the source package's name; ``size_kib`` is dpkg's word."""

    name: str
    version: str
    architecture: str
    source: str
    maintainer: str
    size_kib: int


def sources(project: Path) -> dict[str, bytes]:
    """The files of the Python package ``appliance`` that go into an image, by path below it."""
    folder = project / "appliance"
    files: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in _SUFFIXES and not any(name == only or name.startswith(f"{only}/") for only in HOST_ONLY):
            files[name] = path.read_bytes()
    return files


def digest(files: dict[str, bytes]) -> str:
    """A short name for what ``sources`` gave."""
    return key_of({name: hashlib.sha256(content).hexdigest() for name, content in files.items()} | {"": _SCRIPT})


def build(files: dict[str, bytes], tools: Tools, work: Path, epoch: int) -> Package:
    """Make the package of ``files`` in the empty folder ``work``; ``epoch`` dates its content."""
    version = f"{appliance.__version__}+src.{digest(files)[:8]}"
    root = work / "root"
    modules = root / MODULES / "appliance"
    for name, content in files.items():
        target = modules / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    _compile(modules, tools)
    script = root / "usr/bin/pairkeep"
    script.parent.mkdir(parents=True)
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    entries = tuple(tree_entries(root))
    control = control_stanza(version, installed_kib(entries))
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(control)
    (root / "DEBIAN/md5sums").write_text(md5sums(entries))
    _open(root)
    deb = work / f"{NAME}_{version}_all.deb"
    run(
        ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", root, deb],
        env={"SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"},
    )
    shutil.rmtree(root)
    return Package(version, entries, control, deb)


def control_stanza(version: str, size_kib: int) -> str:
    """The package's control file (deb-control(5)), as dpkg's status file repeats it."""
    return (
        f"Package: {NAME}\n"
        f"Version: {version}\n"
        "Architecture: all\n"
        "Maintainer: Pairkeep <pairkeep@localhost>\n"
        "Section: admin\n"
        "Priority: optional\n"
        f"Installed-Size: {size_kib}\n"
        f"Depends: {', '.join(DEPENDS)}\n"
        "Description: keeps one service alive on two machines\n"
        " The supervisor decides by what the disks really hold which machine runs the service.\n"
    )


def database_entries(package: Package, status: str) -> list[Entry]:
    """dpkg's database with ``package`` entered as installed; ``status`` is its status file before."""
    name, rest = package.control.split("\n", 1)
    stanza = f"{name}\nStatus: install ok installed\n{rest}"
    listed = "".join(f"{path}\n" for path in ("/.", *(f"/{entry.path}" for entry in package.entries)))
    return [
        Entry("var/lib/dpkg/status", 0o644, content=f"{status.rstrip()}\n\n{stanza}\n".encode()),
        Entry(f"var/lib/dpkg/info/{NAME}.list", 0o644, content=listed.encode()),
        Entry(f"var/lib/dpkg/info/{NAME}.md5sums", 0o644, content=md5sums(package.entries).encode()),
    ]


def installed(status: str) -> tuple[Installed, ...]:
    """The installed packages in the text of dpkg's status file, by name."""
    found = []
    for stanza in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found.append(
                Installed(
                    name=fields["Package"],
                    version=fields["Version"],
                    architecture=fields["Architecture"],
                    source=fields.get("Source", fields["Package"]).split(" ")[0],
                    maintainer=fields["Maintainer"],
                    size_kib=int(fields.get("Installed-Size", "0")),
                )
            )
    return tuple(sorted(found, key=lambda one: (one.name, one.architecture)))


def md5sums(entries: Iterable[Entry]) -> str:
    """The content of a package's ``md5sums`` file, against which ``dpkg --verify`` checks."""
    return "".join(
        f"{hashlib.md5(entry.content, usedforsecurity=False).hexdigest()}  {entry.path}\n"
        for entry in entries
        if entry.content is not None
    )


def installed_kib(entries: Sequence[Entry]) -> int:
    """``Installed-Size`` by Debian policy 5.6.20: files rounded up to KiB, 1 KiB for everything else."""
    return sum(-(-len(entry.content) // 1024) if entry.content is not None else 1 for entry in entries)


def _open(root: Path) -> None:
    """Give all below ``root`` the modes that they have in the image, whatever the builder's umask is."""
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _compile(modules: Path, tools: Tools) -> None:
    """Byte-compile ``modules`` for the image's Python.

    unchecked-hash: the byte code is taken as it is, whatever the files' times; nothing in an image
    edits modules in place, and not looking saves time at every start.
    """
    python = "python3.13"
    words = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    done = run(
        (*tools.argv(python), *words, "-s", modules, "-p", f"/{MODULES}/appliance", modules),
        env=tools.environment(python),
        check=False,
    )
    if done.returncode != 0:
        raise PairkeepError(f"the sources do not compile: {done.stdout.strip()}")
