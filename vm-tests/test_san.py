# SPDX-License-Identifier: GPL-2.0-or-later
"""What initiators of our san pair live through: a pause, and never an error."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from appliance.lab import san
from appliance.lab.lab import Lab
from appliance.lab.trial import Trial

KEY = "0xabc1"
# Sectors that show that the client goes on.
SOME = 400


@pytest.fixture
def store(restored: Callable[..., Lab]) -> Trial:
    """A formed pair whose LUNs a client has."""
    return Trial(restored(san.san_pair, san.waiting_for))


@pytest.fixture
def client(store: Trial) -> san.Client:
    """It writes, and holds a reservation."""
    found = san.Client(store.lab["web"])
    for action in (["--register", f"--param-sark={KEY}"], ["--reserve", f"--param-rk={KEY}", "--prout-type=5"]):
        found.web.exec(["sg_persist", "--no-inquiry", "--out", *action, san.BIG])
    found.start()
    found.wait_written(SOME)
    return found


@pytest.fixture
def survives(store: Trial, client: san.Client) -> Callable[[], None]:
    """Call it at the end: no error, no wrong byte, the reservation as it was, and one target only."""

    def check() -> None:
        client.wait_written(SOME)
        load = client.stop()
        print(f"longest pause: {load.longest_s:.1f} s, {load.writes} writes")
        assert load.writes > 0
        assert load.errors == 0
        kernel = client.web.exec(["journalctl", "--dmesg", "--boot", "--output=cat"], timeout_s=60).stdout
        assert not re.findall(r".*(?:I/O error|timed out after|reservation conflict).*", kernel)
        held = client.web.exec(["sg_persist", "--no-inquiry", "--read-reservation", san.BIG]).stdout
        assert KEY.removeprefix("0x") in held
        assert "Write Exclusive, registrants only" in held
        here = store.wait_running()
        for name in ("alpha", "beta"):
            ls = store.lab[name].exec(["ls", "/sys/kernel/config/target/core"]).stdout.split()
            assert bool(set(ls) - {"alua"}) == (name == here)

    return check


@pytest.mark.long
def test_switchover_is_a_pause_for_initiators(store: Trial, survives: Callable[[], None]) -> None:
    standby = store.other(store.active)
    store.order_switchover(standby.name)
    store.wait_running(standby.name)
    survives()


@pytest.mark.long
def test_power_cut_of_the_active_machine_is_a_pause_for_initiators(
    store: Trial, client: san.Client, survives: Callable[[], None]
) -> None:
    lost = store.active
    lost.power_off()
    store.wait_running(store.other(lost).name)
    client.wait_written(SOME)
    lost.power_on()
    store.wait_paired()
    survives()


@pytest.mark.long
def test_panic_of_the_active_machine_is_a_pause_for_initiators(store: Trial, survives: Callable[[], None]) -> None:
    lost = store.active
    lost.panic()
    store.wait_running(store.other(lost).name)
    store.wait_paired()
    survives()


@pytest.mark.long
def test_a_machine_that_stood_still_is_a_pause_for_initiators(store: Trial, survives: Callable[[], None]) -> None:
    frozen = store.active
    frozen.pause()
    store.wait_running(store.other(frozen).name)
    frozen.resume()
    store.wait_paired()
    survives()


@pytest.mark.long
def test_a_supervisor_that_is_killed_touches_no_lun(
    store: Trial, client: san.Client, survives: Callable[[], None]
) -> None:
    here = store.active
    here.kill_process("appliance.supervisor", parent=here.main_pid("pairkeep.service"))
    client.wait_written(SOME)
    assert store.wait_running() == here.name
    assert "iSCSI Login" not in here.exec(["journalctl", "--dmesg", "--boot", "--output=cat"], timeout_s=60).stdout
    survives()
