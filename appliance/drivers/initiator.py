# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk on an iSCSI target: log in by open-iscsi, find it, reserve it; and the way back.

iscsid keeps sessions over a loss of the target by itself. What it knows of a target is a file that is written at
login and deleted after logout, so nothing logs in but a group that starts.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.config.initiator import Initiator
from appliance.decide.view import State
from appliance.drivers import chap
from appliance.drivers.base import DriverError
from appliance.drivers.filesystem import parse_mountinfo
from appliance.drivers.reservation import Reservation
from appliance.files import replace_file
from appliance.run import RunError, run

SYS = Path("/sys")
# What iscsid knows of targets (iscsiadm(8)).
NODES = Path("/var/lib/iscsi/nodes")
# How long a login may take in all, and how long udev then has to name the disk.
LOGIN_S = 40
DISK_S = 20.0
LOGOUT_S = 60
# What iscsid reads of a line.
LONGEST_PASSWORD = 255
# iscsiadm(8): ISCSI_ERR_SESS_EXISTS and ISCSI_ERR_NO_OBJS_FOUND.
HAS_SESSION, NO_SESSION = 15, 21
# The state of a session while its target is away and waited for (drivers/scsi/scsi_transport_iscsi.c).
LOGGED_IN, RECOVERING = "LOGGED_IN", "FAILED"
# Seconds. A target that says nothing for the sum of the first two is away; a login is given up after the third.
PING_S, PONG_S, ANSWER_S = 2, 3, 8


@dataclass(frozen=True)
class Session:
    """``number`` is the kernel's; ``path`` its place in sysfs; ``port``: this end of its present connection."""

    number: int
    state: str
    path: Path
    port: str


def sessions(target: str, sys: Path = SYS) -> list[Session]:
    """Those with ``target`` (kernel Documentation/ABI: sysfs-class-iscsi_session).

    Raises DriverError for one that cannot be read: it must not pass for none.
    """
    found = []
    for path in sorted((sys / "class/iscsi_session").glob("session*")):
        try:
            if (path / "targetname").read_text().strip() == target:
                number = int(path.name.removeprefix("session"))
                found.append(Session(number, (path / "state").read_text().strip(), path, _port(number, sys)))
        except FileNotFoundError:
            continue  # it ends just now
        except OSError as error:
            raise DriverError(f"{path.name} cannot be read: {error.strerror}") from error
    return found


def _port(session: int, sys: Path) -> str:
    """This end of a session's connection; "" while there is none, which reading it says by an error."""
    with contextlib.suppress(OSError):
        for end in (sys / "class/iscsi_connection").glob(f"connection{session}:*/local_port"):
            return end.read_text().strip()
    return ""


def record(config: Initiator, password: str | None, target_password: str | None) -> str:
    """What iscsid is told of the target (open-iscsi's README, "Node Database")."""
    told: dict[str, object] = {
        "node.name": config.target,
        "node.tpgt": -1,
        "node.startup": "manual",
        "node.leading_login": "No",
        "iface.iscsi_ifacename": "default",
        "iface.transport_name": "tcp",
        "node.discovery_type": "static",
        "node.conn[0].address": config.portal.address,
        "node.conn[0].port": config.portal.port,
        "node.conn[0].startup": "manual",
        "node.session.timeo.replacement_timeout": config.timeout_s,
        # Waiting for one that is not there is the group's business: it tries the other node in between.
        "node.session.initial_login_retry_max": 2,
        "node.conn[0].timeo.login_timeout": ANSWER_S,
        "node.conn[0].timeo.logout_timeout": ANSWER_S,
        "node.conn[0].timeo.noop_out_interval": PING_S,
        "node.conn[0].timeo.noop_out_timeout": PONG_S,
    }
    if config.user is not None:
        told |= {
            "node.session.auth.authmethod": "CHAP",
            "node.session.auth.username": config.user,
            "node.session.auth.password": password,
        }
    if config.target_user is not None:
        told |= {
            "node.session.auth.username_in": config.target_user,
            "node.session.auth.password_in": target_password,
        }
    return "".join(f"{key} = {value}\n" for key, value in told.items())


def is_wanted(config: Initiator, lun: int, properties: Mapping[str, str]) -> bool:
    """Whether a disk of the target is the one, by its LUN and by what udev found out about it (scsi_id(8))."""
    if config.wwn is not None:
        # scsi_id puts a digit before a name, for what kind of name it is.
        names = (properties.get("ID_WWN_WITH_EXTENSION", ""), f"0x{properties.get('ID_SERIAL', '')[1:]}")
        return f"0x{config.wwn}" in map(str.lower, names)
    if config.serial is not None:
        return config.serial in (properties.get("ID_SCSI_SERIAL"), properties.get("SCSI_IDENT_SERIAL"))
    return lun == config.lun


class InitiatorDriver:
    """``key`` is this node's reservation key, ``names`` all nodes by theirs."""

    def __init__(self, config: Initiator, key: int, names: Mapping[int, str]) -> None:
        self._config = config
        self._key = key
        self._names = names
        self._disk = Path(config.device)
        # The connection on which the target was last asked whether it knows this session.
        self._known = ""

    def state(self) -> State:
        """Started: logged in, and the target lets this node write, and nobody else.

        A target that is away is asked nothing, for that would not end before it is back: as long as iscsid waits
        for it, all is as it was. One that comes back and has forgotten who may write lets all write, or nobody; the
        group is started anew then.
        """
        found = sessions(self._config.target)
        if not found:
            return "stopped"
        if not self._disk.exists() or len(found) > 1:
            return "failed"
        if found[0].state != LOGGED_IN:
            return "started" if found[0].state == RECOVERING else "failed"
        reservation = Reservation(self._disk, self._key, self._names)
        try:
            known = (found[0].port == self._known != "") or reservation.is_registered()
            if not (known and reservation.is_held()):
                return "failed"
        except DriverError:
            # Perhaps it has gone since it was looked at.
            return "started" if self._recovers() else "failed"
        self._known = found[0].port
        return "started"

    def start(self) -> None:
        """Log in, and reserve the disk before anybody learns its name."""
        if self.state() == "started":
            return
        self._disk.unlink(missing_ok=True)
        if not sessions(self._config.target):
            self._login()
        device = self._find()
        reservation = Reservation(device, self._key, self._names)
        try:
            reservation.take()
            _look_again(device)
        except DriverError:
            # Registered half-way it would be one more who may write.
            with contextlib.suppress(DriverError):
                reservation.release()
            raise
        self._disk.parent.mkdir(parents=True, exist_ok=True)
        self._disk.symlink_to(device)

    def stop(self) -> None:
        """Give the disk back and log out. A target that is away, or whose reservation is lost, is no obstacle."""
        self._refuse_mounted()
        for session in sessions(self._config.target):
            if session.state == LOGGED_IN and self._disk.exists():
                # What is left of it the next one takes away.
                with contextlib.suppress(DriverError):
                    Reservation(self._disk, self._key, self._names).release()
            self._iscsiadm("-m", "session", "-r", str(session.number), "--logout", fine=NO_SESSION)
        if left := sessions(self._config.target):
            raise DriverError(f"{self._config.name}: still logged in to {self._config.target} ({left[0].state})")
        self._disk.unlink(missing_ok=True)
        self._forget()

    def adopt(self) -> None:
        """After a loss of power there is no session any more, and its passwords are still here.

        Only while nothing logs in: between writing them down and the session they are needed.
        """
        if not sessions(self._config.target):
            self._forget()

    def warm(self) -> None:
        """Have ready what a login needs: to start iscsid takes longer than the login itself."""
        with contextlib.suppress(RunError, ImportError):
            run(["systemctl", "start", "iscsid.service"], timeout_s=LOGIN_S)
            importlib.import_module("pyudev")

    def _forget(self) -> None:
        """Delete what iscsid knows of the target, passwords included."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(NODES / self._config.target)

    def _recovers(self) -> bool:
        return any(session.state == RECOVERING for session in sessions(self._config.target))

    def _login(self) -> None:
        config = self._config
        files = (config.password_file, config.target_password_file)
        passwords = (None if file is None else chap.read(Path(file), 1, LONGEST_PASSWORD) for file in files)
        told = record(config, *passwords)
        # Each file is a portal; one that the configuration does not name any more must not be logged in to.
        self._forget()
        folder = NODES / config.target
        folder.mkdir(parents=True, mode=0o700)
        replace_file(folder / f"{config.portal.address},{config.portal.port}", told.encode(), 0o600)
        try:
            self._iscsiadm("-m", "node", "-T", config.target, "-p", str(config.portal), "--login", fine=HAS_SESSION)
        except DriverError:
            self._forget()
            raise

    def _find(self) -> Path:
        """The device of the disk, once udev has named it."""
        import pyudev  # takes a while, and not all images have it

        context = pyudev.Context()
        monitor = pyudev.Monitor.from_netlink(context)
        monitor.filter_by("block")
        monitor.start()
        deadline = time.monotonic() + DISK_S
        while True:
            disks = list(self._disks(context))
            wanted = [device for device, lun in disks if is_wanted(self._config, lun, device.properties)]
            if len(wanted) > 1:
                raise DriverError(
                    f"{self._config.name}: {len(wanted)} disks of {self._config.target} are called so"
                )
            if wanted:
                return Path(wanted[0].device_node)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                seen = ", ".join(f"LUN {lun} ({device.get('ID_SERIAL', '?')})" for device, lun in disks) or "none"
                raise DriverError(f"{self._config.name}: {self._config.target} has no such disk; it shows {seen}")
            monitor.poll(timeout=left_s)

    def _disks(self, context: Any) -> Iterator[tuple[Any, int]]:
        """The disks of our session that udev has examined, each with its LUN."""
        import pyudev

        for session in sessions(self._config.target):
            try:
                parent = pyudev.Devices.from_sys_path(context, str((session.path / "device").resolve()))
            except pyudev.DeviceNotFoundError:
                continue
            found = context.list_devices(subsystem="block", DEVTYPE="disk").match_parent(parent)
            for device in found:
                scsi = device.find_parent("scsi", "scsi_device")
                if device.is_initialized and scsi is not None:
                    yield device, int(scsi.sys_name.rpartition(":")[2])

    def _refuse_mounted(self) -> None:
        """Data that waits to be written would be lost."""
        if not self._disk.exists():
            return
        device = str(self._disk.resolve())
        for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_text()):
            if re.fullmatch(re.escape(device) + r"\d*", mount.source):
                raise DriverError(f"{self._config.name} is still mounted at {mount.target}")

    def _iscsiadm(self, *words: str, fine: int) -> None:
        try:
            done = run(["iscsiadm", *words], check=False, timeout_s=max(LOGIN_S, LOGOUT_S))
        except RunError as error:
            raise DriverError(f"{self._config.name}: {error.message}") from error
        if done.returncode not in (0, fine):
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise DriverError(
                f"{self._config.name}: iscsiadm ended with {done.returncode}: {' | '.join(said[-3:])}"
            )


def _look_again(device: Path) -> None:
    """Have the kernel ask ``device`` about its cache, now that it may.

    While another node had it reserved, a target may have refused to say (tgt does), and the kernel takes that for
    a disk without one, to which it sends no flushes (sd.c, sd_read_cache_type).
    """
    try:
        (SYS / "class/block" / device.name / "device/rescan").write_text("1")
    except OSError as error:
        raise DriverError(f"{device}: the kernel did not look at it again: {error.strerror}") from error
