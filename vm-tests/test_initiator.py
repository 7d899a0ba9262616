# SPDX-License-Identifier: GPL-2.0-or-later
"""The drivers of a shared disk against a foreign target (Debian's tgt), both on one machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.lab import shared_disk
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.shared_disk import SECRETS, STORE_ADDRESS, TARGET

TIMEOUT_S = 30
OVERLAYS = Path(__file__).parent.parent / "overlays"
UNITS = (
    "base/usr/lib/systemd/system/pairkeep.service",
    "database/etc/systemd/system/pairkeep.service.d/20-initiator.conf",
)
# Of systemd.exec(5).
KEEPS_FROM = ("Capability", "Restrict", "SystemCall", "NoNew", "LockP")
# Nobody waits for long: a stop of what cannot be written to any more, and a login that gets no answer.
STOP_S, LOGIN_S = 60.0, 90.0
# What plays the supervisor of alpha, and of beta where it is told so: drivers, and what they are asked to do.
DRIVE = f"""
import json, sys, time
from ipaddress import ip_address
from pathlib import Path
from appliance.config.initiator import Initiator, Portal
from appliance.drivers.filesystem import FilesystemDriver
from appliance.drivers.initiator import InitiatorDriver
from appliance.drivers.reservation import Reservation
from appliance.errors import PairkeepError

config = Initiator(
    "shopdata", {TARGET!r}, Portal(ip_address({STORE_ADDRESS!r})), lun=1, user="shop",
    password_file="/etc/pairkeep/store.password", target_user="store",
    target_password_file="/etc/pairkeep/store-itself.password", timeout_s={TIMEOUT_S},
)
names = {{0xA1: "alpha", 0xB2: "beta"}}
drivers = {{
    "disk": InitiatorDriver(config, 0xA1, names),
    "files": FilesystemDriver(config.device, "/srv/data", options="noatime,errors=remount-ro"),
    "beta": Reservation(Path("/dev/disk/by-path/beta"), 0xB2, names),
}}
for word in sys.argv[1:]:
    began = time.monotonic()
    driver, _, method = word.partition(".")
    try:
        answer = getattr(drivers[driver], method)()
    except PairkeepError as error:
        answer = f"error: {{error.message}}"
    print(json.dumps([answer, time.monotonic() - began]), flush=True)
"""
# Another node's way to the same disk, of a machine that has both: a session of another name.
BETA = f"""
set -e
iscsiadm -m iface -I beta --op new
iscsiadm -m iface -I beta --op update -n iface.initiatorname -v iqn.2026-11.org.pairkeep:shop.beta
node="iscsiadm -m node -T {TARGET} -p {STORE_ADDRESS}:3260 -I beta"
$node --op new
for said in authmethod=CHAP username=shop password={SECRETS["store.password"]} \\
    username_in=store password_in={SECRETS["store-itself.password"]}; do
    $node --op update -n "node.session.auth.${{said%%=*}}" -v "${{said#*=}}"
done
$node --login
udevadm settle
alpha=$(readlink /run/pairkeep/initiator/shopdata)
for disk in /dev/sd?; do
    [ "$disk" = "$alpha" ] || ln -sf "$disk" /dev/disk/by-path/beta
done
"""
BETA_LEAVES = """
for session in /sys/class/iscsi_session/session*; do
    [ "$(cat "$session/ifacename")" != beta ] || iscsiadm -m session -r "${session##*session}" --logout
done
"""
CUT = """
add table inet cut
add chain inet cut out { type filter hook output priority 0; }
add rule inet cut out tcp dport 3260 drop
"""


def waiting_for(lab: Lab) -> str | None:
    if lab["store"].exec(["systemctl", "is-active", "tgt.service"], check=False).returncode == 0:
        return None
    shared_disk.set_up(lab["store"])
    return "the target is set up"


@pytest.fixture
def machine(restored: Callable[..., Lab]) -> Machine:
    """One that is target and initiator, and has logged in and made a file system."""
    store = restored(shared_disk.store_alone, waiting_for)["store"]
    store.exec(["mkdir", "-p", "/etc/pairkeep"])
    for name, text in SECRETS.items():
        store.exec(["tee", f"/etc/pairkeep/{name}"], stdin=f"{text}\n")
        store.exec(["chmod", "600", f"/etc/pairkeep/{name}"])
    store.exec(["tee", "/root/drive.py"], stdin=DRIVE)
    assert drive(store, "disk.start", "files.make", "files.start", "disk.state") == [None, None, None, "started"]
    assert write(store, "before")
    return store


def sandbox() -> Iterator[str]:
    """What systemd keeps the supervisor of a database node from doing, as options of systemd-run."""
    found: dict[str, list[str]] = {}
    for unit in UNITS:
        for setting, value in re.findall(r"^(\w+)=(.*)$", (OVERLAYS / unit).read_text(), re.MULTILINE):
            if setting.startswith(KEEPS_FROM):
                found.setdefault(setting, []).append(value)
    assert "CAP_SYS_RAWIO" in found["CapabilityBoundingSet"]
    for setting, values in found.items():
        yield f"--property={setting}={' '.join(values)}"


def drive(machine: Machine, *words: str, within_s: float | None = None) -> list[Any]:
    """What the drivers answer, confined as in the supervisor; each within ``within_s``."""
    run = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", *sandbox()]
    told = machine.exec([*run, "python3", "-P", "/root/drive.py", *words], timeout_s=300).stdout
    answers = [json.loads(line) for line in told.splitlines()]
    assert within_s is None or all(seconds < within_s for _, seconds in answers), answers
    return [answer for answer, _ in answers]


def write(machine: Machine, name: str) -> bool:
    """Whether a file is written for good."""
    made = machine.exec(
        ["dd", "if=/dev/urandom", f"of=/srv/data/{name}", "bs=64k", "count=4", "conv=fsync"],
        check=False,
        timeout_s=120,
    )
    return made.returncode == 0


def again(machine: Machine) -> None:
    """The group is started anew, and what was written before is there."""
    started = ["disk.start", "files.start", "disk.state", "files.state"]
    assert drive(machine, *started) == [None, None, "started", "started"]
    assert machine.exec(["stat", "-c", "%s", "/srv/data/before"]).stdout.strip() == str(256 << 10)
    assert write(machine, "after")


def test_who_has_lost_the_disk_cannot_write_and_lets_go(machine: Machine) -> None:
    machine.exec(["sh", "-c", BETA], timeout_s=120)
    # The target refuses the other node already what it asks when it logs in.
    machine.exec(["dmesg", "--clear"])
    assert drive(machine, "beta.is_held", "beta.take", "beta.is_held") == [False, None, True]
    assert not write(machine, "too-late")
    assert "reservation conflict" in machine.exec(["dmesg"]).stdout
    # Two sessions to one target are one too many for the driver, so the other node's goes before it is asked.
    assert drive(machine, "files.stop", within_s=STOP_S) == [None]
    machine.exec(["sh", "-c", BETA_LEAVES], timeout_s=60)
    assert drive(machine, "disk.state", "disk.stop", "disk.state", within_s=STOP_S) == ["failed", None, "stopped"]
    again(machine)


@pytest.mark.long
def test_a_target_that_comes_back_without_reservations_is_noticed(machine: Machine) -> None:
    machine.exec(["systemctl", "restart", "tgt.service"], timeout_s=120)
    machine.lab.wait_for(
        "it is noticed", lambda: drive(machine, "disk.state") == ["failed"], timeout_s=60, poll_s=1
    )
    assert drive(machine, "files.stop", "disk.stop", "disk.state", within_s=STOP_S) == [None, None, "stopped"]
    again(machine)


@pytest.mark.long
def test_a_path_that_is_lost_for_less_than_writes_wait(machine: Machine) -> None:
    machine.exec(["nft", "-f", "-"], stdin=CUT)
    machine.lab.wait_for("it is noticed", lambda: state(machine) == "FAILED", timeout_s=60, poll_s=0.5)
    assert drive(machine, "disk.state", within_s=5) == ["started"]
    machine.exec(["nft", "delete", "table", "inet", "cut"])
    machine.lab.wait_for("it is back", lambda: state(machine) == "LOGGED_IN", timeout_s=60, poll_s=0.5)
    # tgt lists the key, and does not know the new connection by it.
    assert drive(machine, "disk.state") == ["failed"]
    assert drive(machine, "files.stop", "disk.stop", within_s=STOP_S) == [None, None]
    again(machine)


@pytest.mark.long
def test_a_target_that_is_gone_for_longer_than_writes_wait(machine: Machine) -> None:
    machine.exec(["nft", "-f", "-"], stdin=CUT)
    machine.lab.wait_for("it is given up", lambda: state(machine) == "FREE", timeout_s=120, poll_s=0.5)
    assert drive(machine, "disk.state", within_s=5) == ["failed"]
    assert not write(machine, "too-late")
    assert drive(machine, "files.stop", "disk.stop", "disk.state", within_s=STOP_S) == [None, None, "stopped"]
    (refused,) = drive(machine, "disk.start", within_s=LOGIN_S)
    assert refused.startswith("error: shopdata: iscsiadm ended with")
    machine.exec(["nft", "delete", "table", "inet", "cut"])
    again(machine)


def state(machine: Machine) -> str:
    """The one session's, as the kernel has it."""
    return machine.exec(["sh", "-c", "cat /sys/class/iscsi_session/session*/state"]).stdout.strip()
