# SPDX-License-Identifier: GPL-2.0-or-later
"""What a bug report needs of this node, without its secrets. Nothing here changes anything."""

from __future__ import annotations

import base64
import io
import re
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from appliance.config.shape import HIDDEN_KEY
from appliance.errors import PairkeepError
from appliance.run import run

ASK_S = 30
# File in the report -> what is asked. Each is worth having alone; what does not answer is told as such.
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "status.txt": ("pairkeep", "status"),
    "status.json": ("pairkeep", "status", "--json"),
    "state.json": ("pairkeep", "simulate", "--dump"),
    "events.json": ("pairkeep", "events", "--json", "--lines", "500"),
    "versions.txt": ("pairkeep", "rollback", "--list"),
    "version.txt": ("pairkeep", "--version"),
    "quorum.txt": ("corosync-quorumtool", "-s"),
    "links.txt": ("corosync-cfgtool", "-n"),
    "drbd.txt": ("cat", "/proc/drbd"),
    "journal.txt": ("journalctl", "--boot", "--no-pager", "--output=short-precise", "--lines=20000"),
    "journal-before.txt": ("journalctl", "--boot=-1", "--no-pager", "--output=short-precise", "--lines=5000"),
    "units.txt": ("systemctl", "--no-pager", "--all", "list-units", "*.service", "*.mount"),
    "processes.txt": ("ps", "-e", "-o", "pid,stat,wchan:24,etimes,rss,comm"),
    "addresses.txt": ("ip", "-brief", "address"),
    "rules.txt": ("nft", "list", "ruleset"),
    "mounts.txt": ("findmnt", "--real"),
    "disks.txt": ("lsblk", "--output", "NAME,SIZE,TYPE,FSTYPE,MODEL,SERIAL,MOUNTPOINTS"),
    "memory.txt": ("free", "-m"),
    "clock.txt": ("timedatectl",),
    "kernel.txt": ("uname", "-a"),
    "packages.txt": ("dpkg-query", "--show"),
}
FILES = (
    "etc/pairkeep/cluster.toml",
    "etc/corosync/corosync.conf",
    "etc/drbd.d",
    "etc/systemd/network",
    "etc/os-release",
    "var/lib/pairkeep/record.json",
)
# Where this node's secrets are, unless all may read it: what stands there is looked for in all that was collected.
SECRETS = ("etc/pairkeep", "etc/corosync/authkey", "etc/shadow")
# Where files are named that hold secrets, whoever may read those. What an agent logs is none, and long.
NAMING = ("etc/pairkeep/cluster.toml*", "var/lib/pairkeep/versions/*/cluster.toml")
NAMED = re.compile(r"""(?<!debug)_file["']?\s*=\s*["'](/[^"'\n]+)["']""")
A_VALUE = re.compile(r"""(?:\bBY(?:\s+PASSWORD)?|=|:)\s*['"]?([^'"\s;]+)""")
A_HASH = re.compile(r":([!*]?\$[^:]+)")
# Whatever looks like one, also if it is no more in any file.
LIKE_A_SECRET = (
    re.compile(rf"""(?i)({HIDDEN_KEY}[\w-]*["']?\s*[=:]\s*)("(?:\\.|[^"\\])*"|'[^']*'|[^\s,;]+)"""),
    # As drbd.conf(5) has it.
    re.compile(r"""(?i)(shared-secret\s+)("[^"]*"|[^\s;]+)"""),
    re.compile(r"(?i)(IDENTIFIED BY(?: PASSWORD)?\s+)('[^']*'|\"[^\"]*\")"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(?=-----END)", re.DOTALL),
)
HIDDEN = "(hidden)"
# Shorter ones would be found in words that are none.
LEAST = 5

Ask = Callable[[Sequence[str]], str]


def ask(argv: Sequence[str]) -> str:
    """What a program prints, or why it does not."""
    try:
        done = run(argv, check=False, timeout_s=ASK_S)
    except PairkeepError as error:
        return f"{error.message}\n"
    return done.stdout + done.stderr


def collect(root: Path = Path("/"), ask: Ask = ask) -> dict[str, str]:
    """Names in the report and their text, in which no secret of this node is left."""
    found = {name: ask(argv) for name, argv in QUESTIONS.items()}
    for file in FILES:
        for path in _below(root / file):
            found[f"files/{path.relative_to(root)}"] = _told(path)
    secrets = sorted(set(_secrets(root)), key=len, reverse=True)
    return {name: scrub(text, secrets) for name, text in found.items()}


def scrub(text: str, secrets: Iterable[str]) -> str:
    """``text`` without ``secrets`` and without what looks like one."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    for pattern in LIKE_A_SECRET:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def archive(found: Mapping[str, str], folder: str, at: float) -> bytes:
    """A .tar.gz with ``found`` below ``folder``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in sorted(found.items()):
            data = text.encode()
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(data), int(at), 0o600
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _below(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
    return [path] if path.is_file() else []


def _told(path: Path) -> str:
    """What stands in it. Whoever keeps others from reading a file does not want it in a bug report."""
    if _is_for_all(path):
        return path.read_text(errors="replace")
    return f"(left out: found mode {stat.S_IMODE(path.stat().st_mode):04o}, so not everyone may read it)\n"


def _is_for_all(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IROTH)


def _secret_files(root: Path) -> set[Path]:
    """Those that only root may read, and those that a cluster.toml says hold a secret."""
    found = {p for place in SECRETS for p in _below(root / place) if not _is_for_all(p)}
    texts = [path.read_text(errors="replace") for pattern in NAMING for path in root.glob(pattern)]
    named = {root / name.lstrip("/") for text in texts for name in NAMED.findall(text)}
    return found | {path for path in named if path.is_file()}


def _secrets(root: Path) -> Iterator[str]:
    for path in _secret_files(root):
        data = path.read_bytes()
        yield from (data.hex(), base64.b64encode(data).decode())
        for line in data.decode(errors="ignore").splitlines():
            values = (line.strip(), *A_VALUE.findall(line)) if path.name != "shadow" else A_HASH.findall(line)
            yield from (value for value in values if len(value) >= LEAST)
