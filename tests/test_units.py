# SPDX-License-Identifier: GPL-2.0-or-later
"""What systemd keeps our services from doing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from appliance.config.virtual import TOLD_AGAIN_S
from appliance.run import run

OVERLAYS = Path(__file__).parent.parent / "overlays"
# `systemd-analyze security`, in tenths; 0 is best. What the work of each allows.
EXPOSURE = {
    "pairkeep.service": 60,
    "pairkeep-grow.service": 45,
    "pairkeep-join.service": 21,
    "pairkeep-realserver.service": 24,
    "mariadb-prepare.service": 20,
    "pairkeep-keyboard.service": 20,
    "pairkeep-sync.service": 43,
    "pairkeep-virtual@.service": 51,
}
# The set-up writes all over the machine, as an installer does, and ends.
SET_UP = re.compile(r"pairkeep-(firstboot|setup)[@\w-]*\.service")
OURS = sorted(p for p in OVERLAYS.glob("*/usr/lib/systemd/system/*.service") if not SET_UP.fullmatch(p.name))
# systemd.exec(5): what gives a service a mount namespace of its own.
MOUNT_NAMESPACE = re.compile(
    r"(Private(?!Network|Users|PIDs)|Protect(?!Clock)|ReadOnly|ReadWrite|Inaccessible|(No)?ExecPaths|Bind|Temporary|Root"
    r"|Mount|ProcSubset|DynamicUser|(Runtime|State|Cache|Logs)Directory$|Extension|LoadCredential)"
)


def settings(unit: Path) -> dict[str, str]:
    """The last value of each setting in the unit's own file."""
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))


@pytest.mark.parametrize("unit", OURS, ids=lambda unit: unit.name)
def test_every_service_of_ours_can_do_no_more_than_it_has_to(unit: Path) -> None:
    said = settings(unit)
    for setting in (
        "NoNewPrivileges",
        "LockPersonality",
        "RestrictNamespaces",
        "RestrictSUIDSGID",
        "RestrictRealtime",
    ):
        assert said.get(setting) == "yes", setting
    assert said["SystemCallArchitectures"] == "native"
    assert "SystemCallFilter" in said
    assert "RestrictAddressFamilies" in said
    assert said["CapabilityBoundingSet"].startswith("CAP_")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("unit", OURS, ids=lambda unit: unit.name)
def test_systemd_finds_them_no_more_exposed_than_their_work_demands(unit: Path) -> None:
    done = run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[unit.name]}", "--no-pager", unit],
        check=False,
    )
    verdict = done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr
    assert done.returncode == 0, verdict
    assert "Overall exposure level" in verdict


def test_what_the_supervisor_mounts_is_there_for_the_whole_machine() -> None:
    said = settings(OVERLAYS / "base/usr/lib/systemd/system/pairkeep.service")
    assert [name for name in said if MOUNT_NAMESPACE.match(name)] == []


def test_a_connection_is_told_often_enough_to_be_known_before_addresses_are_taken_back() -> None:
    text = (OVERLAYS / "director/etc/sysctl.d/50-pairkeep-director.conf").read_text()
    said = dict(re.findall(r"^net\.ipv4\.vs\.(\w+) = (.+)$", text, re.MULTILINE))
    # By time: a slow connection has few packets, and nobody knows how many.
    assert said["sync_threshold"] == "2 0"
    assert int(said["sync_refresh_period"]) * 3 <= TOLD_AGAIN_S
    assert int(said["sync_retries"]) > 0


ALWAYS = sorted(
    path for path in OVERLAYS.rglob("*") if path.is_file() and b"\nRestart=always\n" in path.read_bytes()
)


@pytest.mark.parametrize("unit", ALWAYS, ids=lambda unit: f"{unit.parent.name}-{unit.name}")
def test_what_systemd_always_restarts_it_never_gives_up(unit: Path) -> None:
    """Five quick ends are its limit otherwise (systemd.unit(5))."""
    assert "\nStartLimitIntervalSec=0\n" in unit.read_text().partition("[Service]")[0]


def test_the_databases_start_is_not_slowed_down() -> None:
    """Each mount namespace costs time there, on the way of every failover."""
    (drop_in,) = OVERLAYS.glob("database/etc/systemd/system/mariadb.service.d/*")
    assert [name for name in settings(drop_in) if MOUNT_NAMESPACE.match(name)] == []


def test_memory_runs_out_for_everything_else_before_it_does_for_the_cluster() -> None:
    corosync = settings(OVERLAYS / "base/etc/systemd/system/corosync.service.d/10-pairkeep.conf")
    supervisor = settings(OVERLAYS / "base/usr/lib/systemd/system/pairkeep.service")
    assert -1000 < int(corosync["OOMScoreAdjust"]) < int(supervisor["OOMScoreAdjust"]) < 0


def test_a_kernel_that_is_broken_is_not_gone_on_with() -> None:
    values = (OVERLAYS / "base/etc/sysctl.d/50-pairkeep.conf").read_text().splitlines()
    assert "kernel.panic_on_oops = 1" in values
    assert "panic=" in (OVERLAYS / "base/boot/grub/grub.cfg").read_text()
