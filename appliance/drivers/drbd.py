# SPDX-License-Identifier: GPL-2.0-or-later
"""A DRBD 8.4 resource on this machine: metadata, attach and connect, promote and demote, verify."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.config import model
from appliance.decide.view import State
from appliance.drivers.base import DriverError
from appliance.drivers.blank import is_blank
from appliance.drivers.drbd_status import DrbdStatus, EventsFold, parse_proc
from appliance.run import Argument, RunError, run

PROC_DRBD = Path("/proc/drbd")
# A current UUID of 4 means: metadata was just made, there never was data (drbd_int.h, UUID_JUST_CREATED).
JUST_CREATED = "0000000000000004:"
# Demotion is refused while someone holds the device open; udev does so for a moment after an unmount.
RELEASE_S = 10.0
POLL_S = 0.2
COMMAND_S = 60
# A connection that was lost takes connect-int, two seconds, to come back: polling sees that it was gone.
VERIFY_POLL_S = 0.5
# How long a repair waits for the peer to be connected again, whenever it is not.
RECONNECT_S = 60.0


@dataclass(frozen=True)
class VerifyResult:
    """``out_of_sync_kib``: what differed between the disks."""

    out_of_sync_kib: int


class Drbd:
    """All calls block and raise DriverError. As a resource of a group it is started while it is Primary."""

    def __init__(self, config: model.Drbd) -> None:
        self.config = config

    # Metadata -----------------------------------------------------------------------------------

    def has_metadata(self) -> bool:
        return run(["drbdadm", "show-gi", self.config.name], check=False, timeout_s=COMMAND_S).returncode == 0

    def is_blank_disk(self) -> bool:
        return is_blank(Path(self.config.disk))

    def create_md(self) -> None:
        """On a blank disk only: ``--force`` answers drbdmeta's questions, so they are asked here first."""
        if not self.is_blank_disk():
            raise DriverError(f"{self.config.disk} is not blank: no metadata is written to it")
        self._run("drbdadm", "--", "--force", "create-md", self.config.name)

    def just_created(self) -> bool:
        """The metadata was made and no data has ever come to the disk."""
        done = run(["drbdadm", "get-gi", self.config.name], check=False, timeout_s=COMMAND_S)
        return done.returncode == 0 and done.stdout.startswith(JUST_CREATED)

    # State --------------------------------------------------------------------------------------

    def status(self) -> DrbdStatus:
        """The kernel's word now, with the progress of a resync or verify; starts no program."""
        try:
            return parse_proc(PROC_DRBD.read_text(), self.config.minor)
        except FileNotFoundError:
            return DrbdStatus()

    def state(self) -> State:
        return "started" if self.status().role == "Primary" else "stopped"

    # Changes ------------------------------------------------------------------------------------

    def up(self) -> None:
        """Attach the disk and connect, as Secondary. What fails half-way is taken down again."""
        if self.status().role != "Unconfigured":
            return
        try:
            self._run("drbdadm", "up", self.config.name)
        except DriverError as error:
            self.down()
            if Path(self.config.disk).exists() and self.is_blank_disk():
                hint = f"if it was replaced: pairkeep recover disk {self.config.name}"
                raise DriverError(f"{self.config.name}: {self.config.disk} is blank; {hint}") from error
            raise

    def know_peer_by(self, algorithm: str, secret: str) -> None:
        """From the next connection on; one that is there stays. What is not up reads the file when it comes up."""
        if self.status().role != "Unconfigured":
            options = f"--cram-hmac-alg={algorithm}", f"--shared-secret={secret}"
            self._run("drbdadm", "net-options", *options, self.config.name)

    def down(self) -> None:
        """Disconnect and detach. The kernel refuses while it is in use."""
        self._run("drbdsetup", "down", self.config.name)

    def connect(self, *, discard: bool = False) -> None:
        """``discard``: what this side alone has changed since the two last met is thrown away (drbdadm(8))."""
        if self.status().connection != "StandAlone":
            return
        try:
            self._run("drbdadm", "connect", *(["--discard-my-data"] if discard else []), self.config.name)
        except DriverError:
            # Somebody else may have been quicker: a repair and the decision to connect know nothing of each other.
            if discard or self.status().connection == "StandAlone":
                raise

    def force_up_to_date(self) -> None:
        """Declare this disk the newest. Only right when a person has said so.

        8.4 knows no other way than to be Primary for a moment (drbdsetup(8), primary --force).
        """
        self._run("drbdsetup", "primary", str(self.config.minor), "--force")
        self.stop()

    def attach(self) -> None:
        """Take up a disk that was detached, or a blank one in its place."""
        if not self.has_metadata():
            self.create_md()
        self._run("drbdadm", "attach", self.config.name)

    def up_anew(self) -> None:
        """Bring the resource up with a blank disk in place of the one that it had."""
        if not self.has_metadata():
            self.create_md()
        self.up()

    def start(self) -> None:
        self.promote(peer_surely_dead=False)

    def promote(self, *, peer_surely_dead: bool) -> None:
        """Become Primary. The kernel asks the fence-peer handler first when the peer is not connected.

        ``peer_surely_dead``: do not wait for the time-out of a connection that nobody will answer any
        more; who promotes so has to `connect` again afterwards.
        """
        if peer_surely_dead and self.status().connection not in ("StandAlone", "WFConnection"):
            self._run("drbdadm", "disconnect", "--force", self.config.name)
        self._run("drbdsetup", "primary", str(self.config.minor))

    def stop(self) -> None:
        """Become Secondary."""
        deadline = time.monotonic() + RELEASE_S
        while True:
            try:
                self._run("drbdsetup", "secondary", str(self.config.minor))
                return
            except DriverError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_S)

    def resume_io(self) -> None:
        """Let writes go on that wait for the fence-peer handler, whose question has been answered otherwise.

        The kernel gives the data a new identifier then, so that the peer's are known to be old (drbd_nl.c,
        drbd_adm_resume_io).
        """
        self._run("drbdsetup", "resume-io", str(self.config.minor))

    def outdate(self) -> None:
        self._run("drbdadm", "outdate", self.config.name)

    def skip_first_sync(self) -> None:
        """Declare both disks of a connected pair equal. Only right when both are blank."""
        self._run("drbdsetup", "new-current-uuid", "--clear-bitmap", str(self.config.minor))

    def verify(self, progress: Callable[[float], None]) -> VerifyResult:
        """Compare both disks while they are in use; ``progress`` gets percents.

        Raises DriverError when the connection was lost on the way.
        """
        self._run("drbdadm", "verify", self.config.name)
        while (now := self.status()).connection in ("VerifyS", "VerifyT"):
            progress(now.sync_percent or 0.0)
            time.sleep(VERIFY_POLL_S)
        if now.connection != "Connected":
            raise DriverError(f"the verify was interrupted: {self.config.name} is {now.connection}")
        return VerifyResult(now.out_of_sync_kib)

    def repair(self) -> None:
        """Have what `verify` found copied to the Secondary, and wait for that.

        8.4 does it at the next handshake (drbdadm(8), verify).
        """
        self._run("drbdadm", "disconnect", self.config.name)
        self.connect()
        deadline = time.monotonic() + RECONNECT_S
        while not ((now := self.status()).paired and now.out_of_sync_kib == 0):
            if now.connection.startswith(("Sync", "PausedSync", "WFBitMap")):
                deadline = time.monotonic() + RECONNECT_S
            elif time.monotonic() > deadline:
                raise DriverError(
                    f"{self.config.name} is not the same on both nodes after a resync: it is {now.connection}, "
                    f"the disks are {now.disk} here and {now.peer_disk} there, {now.out_of_sync_kib} KiB differ"
                )
            time.sleep(VERIFY_POLL_S)

    def _run(self, *argv: Argument) -> None:
        try:
            run(argv, timeout_s=COMMAND_S)
        except RunError as error:
            # drbdadm tells the whole command that has failed.
            told = re.sub(r"(--shared-secret=)[^\s']+", r"\1(hidden)", error.message)
            raise DriverError(f"{self.config.name}: {told}") from error


class EventStream:
    """Follows ``drbdsetup events2``. Watch `fileno` and call `read`, until that says to begin with a new one."""

    def __init__(self) -> None:
        self._fold = EventsFold()
        self._rest = ""
        self._process = subprocess.Popen(
            ["drbdsetup", "events2", "--statistics"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )

    def fileno(self) -> int:
        assert self._process.stdout is not None  # noqa: S101
        return self._process.stdout.fileno()

    def read(self) -> dict[str, DrbdStatus] | None:
        """The statuses that changed; None when the stream has ended or has gaps, so that all must be read anew."""
        data = os.read(self.fileno(), 1 << 16)
        lines = (self._rest + data.decode(errors="replace")).split("\n")
        self._rest = lines.pop()
        changed = self._fold.feed(lines)
        if not data or self._fold.lost:
            return None
        return {name: self._fold.statuses.get(name, DrbdStatus()) for name in changed}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
