# SPDX-License-Identifier: GPL-2.0-or-later
"""A filesystem: made on a blank device only, mounted, and unmounted from under whoever holds it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.decide.view import State
from appliance.drivers.base import DriverError
from appliance.drivers.blank import is_blank
from appliance.run import RunError, run

POLL_S = 0.1
# How long those who hold a filesystem have to let go: first when asked, then when killed.
ASKED_S = 3.0
KILLED_S = 5.0
# Where ext4 counts the errors that it met, and where it is kept how many it knew of when it was mounted.
EXT4 = Path("/sys/fs/ext4")
KNOWN = Path("/run/pairkeep/ext4-errors")
# A file system is worth a warning from here on, in percent of what an ordinary user may fill.
FULL_PERCENT = 90


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo (proc(5)): ``options`` are those of the filesystem itself."""

    source: str
    target: str
    type: str
    options: tuple[str, ...]


def parse_mountinfo(text: str) -> list[Mount]:
    """All mounts, in the order in which they were made; a later one hides an earlier one of the same target."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        target = _unescaped(before.split(" ")[4])
        fstype, source, options = after.split(" ")[:3]
        mounts.append(Mount(_unescaped(source), target, fstype, tuple(options.split(","))))
    return mounts


def _unescaped(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), word)


def fullness(target: str, used: int, free: int) -> str:
    """A warning in words when little is left; empty otherwise. Both numbers are blocks."""
    percent = 100 * used // max(used + free, 1)
    return f"{target} is {percent} % full" if percent >= FULL_PERCENT else ""


def mkfs_argv(device: str, fstype: str) -> tuple[str, ...]:
    """Nothing is discarded: on a pair that was declared equal a discard would be one more thing to replicate."""
    return (f"mkfs.{fstype}", "-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", device)


class FilesystemDriver:
    """``device`` is a block device's path."""

    def __init__(
        self,
        device: str,
        target: str,
        fstype: str = "ext4",
        options: str = "noatime",
        start_timeout_s: float = 120.0,
        stop_timeout_s: float = 20.0,
    ) -> None:
        self.device = device
        self.target = target
        self._type = fstype
        self._options = options
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s

    def state(self) -> State:
        """Failed: something else is mounted there, or the filesystem takes no more writes after an error."""
        mount = self._mount()
        if mount is None:
            return "stopped"
        if not _same_device(mount.source, self.device):
            return "failed"
        # options of mountinfo's last field are the superblock's: errors=remount-ro shows up here …
        read_only = "ro" in mount.options and "ro" not in self._options.split(",")
        return "failed" if read_only or self._has_new_errors() else "started"

    def is_blank(self) -> bool:
        return is_blank(Path(self.device))

    def make(self) -> None:
        """Raises DriverError unless the device is blank."""
        if not self.is_blank():
            raise DriverError(f"{self.device} is not blank: no filesystem is made on it")
        try:
            run(mkfs_argv(self.device, self._type), timeout_s=300)
        except RunError as error:
            raise DriverError(error.message) from error

    def start(self) -> None:
        if self.state() == "started":
            return
        Path(self.target).mkdir(parents=True, exist_ok=True)
        try:
            # ext4 replays its journal by itself; a full check would only delay a takeover
            run(
                ["mount", "-t", self._type, "-o", self._options, self.device, self.target],
                timeout_s=self._start_timeout_s,
            )
        except RunError as error:
            raise DriverError(error.message) from error
        KNOWN.mkdir(parents=True, exist_ok=True)
        self._known.write_text(str(self._errors()))

    def stop(self) -> None:
        """Unmount; those who still use the filesystem are asked to end, then killed."""
        deadline = time.monotonic() + self._stop_timeout_s
        while self._mount() is not None:
            error = self._unmount()
            if error is None:
                continue
            if time.monotonic() > deadline:
                who = ", ".join(f"{pid} ({_name(pid)})" for pid in sorted(self._holders())) or "nobody visible"
                raise DriverError(f"{self.target} cannot be unmounted: {error}; held by {who}")
            if not self._ended(signal.SIGTERM, ASKED_S):
                self._ended(signal.SIGKILL, KILLED_S)
            time.sleep(POLL_S)

    def _has_new_errors(self) -> bool:
        """… but not in Linux 6.12: ext4 shuts itself down and leaves that as it is (super.c, ext4_handle_error)."""
        if "errors=continue" in self._options.split(","):
            return False
        try:
            known = int(self._known.read_text())
        except (OSError, ValueError):
            return False  # mounted by somebody else: what it counts may be old
        return self._errors() > known

    @property
    def _known(self) -> Path:
        return KNOWN / Path(self.device).resolve().name

    @property
    def error_count(self) -> Path:
        """Where ext4 counts the errors in the superblock, while it is mounted."""
        return EXT4 / Path(self.device).resolve().name / "errors_count"

    def _errors(self) -> int:
        """How many errors ext4 has counted; 0 for other filesystems."""
        try:
            return int(self.error_count.read_text())
        except (OSError, ValueError):
            return 0

    def _mount(self) -> Mount | None:
        mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
        return next((m for m in reversed(mounts) if m.target == self.target), None)

    def _unmount(self) -> str | None:
        done = run(["umount", self.target], check=False, timeout_s=self._stop_timeout_s)
        return None if done.returncode == 0 else done.stderr.strip()

    def _ended(self, number: signal.Signals, patience_s: float) -> bool:
        """Signal all who hold the filesystem; True when none is left within ``patience_s``."""
        for pid in self._holders():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not self._holders():
                return True
            time.sleep(POLL_S)
        return False

    def _holders(self) -> set[int]:
        """Processes with an open file, a working directory, a root, a program or a mapping below the target."""
        try:
            device = Path(self.target).stat().st_dev
        except OSError:
            return set()
        return {
            int(folder.name)
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and int(folder.name) != os.getpid() and _uses(folder, device)
        }


def _uses(process: Path, device: int) -> bool:
    return any(_device(link) == device for link in _links(process)) or maps_device(_read(process / "maps"), device)


def maps_device(maps: str, device: int) -> bool:
    """Whether a file of ``device`` is mapped, by the text of a process's maps (proc(5))."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}"
    return any(line.split(maxsplit=4)[3] == wanted for line in maps.splitlines())


def _links(process: Path) -> Iterator[Path]:
    yield from (process / name for name in ("cwd", "root", "exe"))
    try:
        yield from (process / "fd").iterdir()
    except OSError:
        return


def _device(link: Path) -> int | None:
    try:
        return link.stat().st_dev
    except OSError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _name(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/comm")).strip() or "ended"


def _same_device(first: str, second: str) -> bool:
    try:
        return Path(first).stat().st_rdev == Path(second).stat().st_rdev
    except OSError:
        return first == second
