# SPDX-License-Identifier: GPL-2.0-or-later
"""What iscsid is told, which disk is the one, and what a session's state means; logins are tried in the lab."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest

from appliance.config.initiator import Initiator
from appliance.config.iscsi import Portal
from appliance.drivers import initiator
from appliance.drivers.base import DriverError
from appliance.drivers.filesystem import Mount
from appliance.drivers.initiator import InitiatorDriver, Session, is_wanted, record, sessions
from appliance.drivers.reservation import Reservation

TARGET = "iqn.2026-01.org.example:store.shop"
CONFIG = Initiator("shopdata", TARGET, Portal(ip_address("10.9.1.50")), lun=1)
CHAP = replace(CONFIG, user="shop", password_file="/etc/pairkeep/store.password")  # noqa: S106
MUTUAL = replace(CHAP, target_user="store", target_password_file="/etc/pairkeep/store-itself.password")  # noqa: S106
# Whose disk is to be told by its wwn or its serial.
NO_LUN = replace(CONFIG, lun=None)
# As udev of Debian 13 has them for a disk of tgt's.
TGT = {
    "ID_SERIAL": "360000000000000000e00000000010001",
    "ID_SERIAL_SHORT": "60000000000000000e00000000010001",
    "ID_SCSI_SERIAL": "beaf11",
    "ID_WWN": "0x6000000000000000",
    "ID_WWN_WITH_EXTENSION": "0x60000000000000000e00000000010001",
}


def test_nothing_logs_in_by_itself_and_a_lost_target_is_waited_for_as_long_as_said() -> None:
    told = record(replace(CONFIG, timeout_s=90), None, None).splitlines()
    assert told.count("node.startup = manual") == told.count("node.conn[0].startup = manual") == 1
    assert "node.session.timeo.replacement_timeout = 90" in told
    assert "node.conn[0].address = 10.9.1.50" in told
    assert not [line for line in told if "auth" in line]


def test_chap_is_told_as_the_target_asks_for_it() -> None:
    once = record(CHAP, "secret", None)
    assert "node.session.auth.authmethod = CHAP\n" in once
    assert "node.session.auth.username = shop\nnode.session.auth.password = secret\n" in once
    assert "_in" not in once.replace("noop_out_interval", "").replace("initial_login", "")
    mutual = record(MUTUAL, "secret", "theirs")
    assert "node.session.auth.username_in = store\nnode.session.auth.password_in = theirs\n" in mutual


@pytest.mark.parametrize(
    ("config", "lun", "found"),
    [
        (replace(CONFIG, lun=1), 1, True),
        (replace(CONFIG, lun=1), 0, False),
        (replace(NO_LUN, wwn="60000000000000000e00000000010001"), 7, True),
        (replace(NO_LUN, wwn="60000000000000000e00000000010002"), 1, False),
        # The first half of a name may be that of many disks.
        (replace(NO_LUN, wwn="6000000000000000"), 1, False),
        (replace(NO_LUN, serial="beaf11"), 7, True),
        (replace(NO_LUN, serial="beaf1"), 1, False),
    ],
)
def test_a_disk_is_found_by_what_it_is(config: Initiator, lun: int, found: bool) -> None:
    assert is_wanted(config, lun, TGT) == found


def test_a_wwn_is_found_where_udev_has_only_the_name_with_its_kind() -> None:
    config = replace(NO_LUN, wwn="60000000000000000e00000000010001")
    assert is_wanted(config, 1, {"ID_SERIAL": TGT["ID_SERIAL"]})
    assert not is_wanted(config, 1, {})


def sysfs(root: Path, number: int, target: str, state: str) -> None:
    folder = root / f"class/iscsi_session/session{number}"
    folder.mkdir(parents=True)
    (folder / "targetname").write_text(f"{target}\n")
    (folder / "state").write_text(f"{state}\n")
    connection = root / f"class/iscsi_connection/connection{number}:0"
    connection.mkdir(parents=True)
    (connection / "local_port").write_text("40000\n")


def test_sessions_are_those_of_the_target(tmp_path: Path) -> None:
    assert sessions(TARGET, tmp_path) == []
    sysfs(tmp_path, 3, TARGET, "LOGGED_IN")
    sysfs(tmp_path, 4, "iqn.2026-01.org.example:other", "FAILED")
    (tmp_path / "class/iscsi_session/session5").mkdir()
    assert sessions(TARGET, tmp_path) == [
        Session(3, "LOGGED_IN", tmp_path / "class/iscsi_session/session3", "40000")
    ]


def test_a_session_without_a_connection_is_there_all_the_same(tmp_path: Path) -> None:
    """While the target is away the kernel has no port to tell, and reading it is an error."""
    sysfs(tmp_path, 3, TARGET, "FAILED")
    port = tmp_path / "class/iscsi_connection/connection3:0/local_port"
    port.unlink()
    port.mkdir()
    assert [(s.state, s.port) for s in sessions(TARGET, tmp_path)] == [("FAILED", "")]


def test_a_session_that_cannot_be_read_does_not_pass_for_none(tmp_path: Path) -> None:
    sysfs(tmp_path, 3, TARGET, "LOGGED_IN")
    state = tmp_path / "class/iscsi_session/session3/state"
    state.unlink()
    state.mkdir()
    with pytest.raises(DriverError, match="session3 cannot be read"):
        sessions(TARGET, tmp_path)


@pytest.mark.parametrize(
    ("session", "disk", "held", "registered", "expected"),
    [
        (None, False, True, True, "stopped"),
        ("LOGGED_IN", True, True, True, "started"),
        ("LOGGED_IN", True, False, True, "failed"),
        # Its key is there, and the target does not let it write: see Reservation.is_registered.
        ("LOGGED_IN", True, True, False, "failed"),
        # Logged in, and the start went no further.
        ("LOGGED_IN", False, True, True, "failed"),
        # The target is away: waited for, and given up.
        ("FAILED", True, None, None, "started"),
        ("FREE", True, None, None, "failed"),
    ],
)
def test_state(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    session: str | None,
    disk: bool,
    held: bool | None,
    registered: bool | None,
    expected: str,
) -> None:
    asked: list[bool] = []

    def answer(value: bool | None) -> bool:
        assert value is not None, "a target that is away must not be asked: that would not end"
        return value

    def is_registered(_: Reservation) -> bool:
        asked.append(True)
        return answer(registered)

    monkeypatch.setattr(Reservation, "is_held", lambda _: answer(held))
    monkeypatch.setattr(Reservation, "is_registered", is_registered)
    port = "40000"
    monkeypatch.setattr(
        initiator, "sessions", lambda _target: [Session(1, session, tmp_path, port)] if session else []
    )
    monkeypatch.setattr(Initiator, "device", str(tmp_path / "disk"))
    if disk:
        (tmp_path / "disk").touch()
    driver = InitiatorDriver(CONFIG, 1, {1: "alpha"})
    assert (driver.state(), driver.state()) == (expected, expected)
    if expected == "started" and held:
        # Once a connection is enough.
        assert len(asked) == 1
        port = "40001"
        assert driver.state() == "started"
        assert len(asked) == 2


@pytest.mark.parametrize(("session", "expected"), [("LOGGED_IN", "failed"), ("FAILED", "started")])
def test_an_answer_that_does_not_come_because_the_target_is_gone_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: str, expected: str
) -> None:
    states = iter(("LOGGED_IN", session))

    def unanswered(_: Reservation) -> bool:
        raise DriverError("sg_persist ended with 11")

    monkeypatch.setattr(Reservation, "is_registered", unanswered)
    monkeypatch.setattr(initiator, "sessions", lambda _target: [Session(1, next(states), tmp_path, "40000")])
    monkeypatch.setattr(Initiator, "device", str(tmp_path))
    assert InitiatorDriver(CONFIG, 1, {1: "alpha"}).state() == expected


def test_a_login_that_is_refused_leaves_no_password_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    written: list[tuple[str, int]] = []

    def refused(argv: tuple[str, ...], **_: object) -> CompletedProcess[str]:
        assert "secret" not in " ".join(argv)
        (file,) = (tmp_path / "nodes" / TARGET).iterdir()
        written.append((file.name, file.stat().st_mode & 0o777))
        assert "node.session.auth.password = secret\n" in file.read_text()
        return CompletedProcess(argv, 24, "", "iscsiadm: login failed due to authorization failure\n")

    monkeypatch.setattr(initiator, "run", refused)
    monkeypatch.setattr(initiator, "NODES", tmp_path / "nodes")
    monkeypatch.setattr(initiator, "sessions", lambda _target: [])
    monkeypatch.setattr(Initiator, "device", str(tmp_path / "disk"))
    driver = InitiatorDriver(replace(CONFIG, user="shop", password_file=str(password)), 1, {1: "alpha"})
    with pytest.raises(DriverError, match="ended with 24: iscsiadm: login failed due to authorization failure"):
        driver.start()
    assert written == [("10.9.1.50,3260", 0o600)]
    assert list((tmp_path / "nodes").iterdir()) == []


def test_passwords_of_a_session_that_is_lost_go_and_those_of_one_that_lasts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initiator, "NODES", tmp_path)
    kept = tmp_path / TARGET / "10.9.1.50,3260"
    kept.parent.mkdir()
    kept.touch()
    driver = InitiatorDriver(CONFIG, 1, {1: "alpha"})
    monkeypatch.setattr(initiator, "sessions", lambda _target: ["a session"])
    driver.adopt()
    assert kept.exists()
    monkeypatch.setattr(initiator, "sessions", lambda _target: [])
    driver.adopt()
    assert not kept.parent.exists()


def test_what_fails_after_the_reservation_gives_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    reservation = SimpleNamespace(take=lambda: done.append("take"), release=lambda: done.append("release"))
    monkeypatch.setattr(initiator, "Reservation", lambda *_: reservation)
    monkeypatch.setattr(initiator, "SYS", tmp_path)  # nothing there to look at the disk again by
    monkeypatch.setattr(initiator, "sessions", lambda _target: ["a session"])
    monkeypatch.setattr(Initiator, "device", str(tmp_path / "disk"))
    monkeypatch.setattr(InitiatorDriver, "_find", lambda _self: Path("/dev/sdz"))
    with pytest.raises(DriverError, match="the kernel did not look at it again"):
        InitiatorDriver(CONFIG, 1, {1: "alpha"}).start()
    assert done == ["take", "release"]
    assert not (tmp_path / "disk").is_symlink()


def test_a_disk_that_is_mounted_is_not_logged_out_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that waits to be written would be lost."""
    disk = tmp_path / "sda"
    disk.touch()
    (tmp_path / "disk").symlink_to(disk)
    monkeypatch.setattr(initiator, "parse_mountinfo", lambda _: [Mount(str(disk), "/srv/mysql", "ext4", ("rw",))])
    monkeypatch.setattr(initiator, "run", lambda *_a, **_k: pytest.fail("nothing may be done to it"))
    monkeypatch.setattr(Initiator, "device", str(tmp_path / "disk"))
    with pytest.raises(DriverError, match="is still mounted at /srv/mysql"):
        InitiatorDriver(CONFIG, 1, {1: "alpha"}).stop()
