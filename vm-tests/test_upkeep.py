# SPDX-License-Identifier: GPL-2.0-or-later
"""What administrators do with a running pair: ask before they act, change what it runs by, keep and collect."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from appliance.lab.machine import Machine
from appliance.lab.pair import CLUSTER_TOML, PASSWORD
from appliance.lab.trial import UNTOUCHED_S, Trial
from appliance.lab.writer import longest_outage

Check = Callable[[], None]
# The dry run knows nothing of what the client needs to connect, nor of what emulated processors do besides.
FACTOR = 2.0


@pytest.mark.long
def test_a_power_cut_that_was_rehearsed_goes_as_foretold(pair: Trial, survives: Check) -> None:
    # Let both machines have measured how long their steps take.
    active, other = pair.begin(50)
    for target in (other, active):
        pair.lab["witness"].exec(["pairkeep", "switchover", "shop", target.name], timeout_s=120)
        pair.wait_rows(20)
    pair.wait_paired()
    foretold = _simulate(pair, f"power off {active.name}")
    (group,) = foretold["groups"]
    assert group["node"] == other.name, foretold
    cut_at = pair.rows[-1].at
    active.power_off()
    pair.wait_running(group["node"])
    pair.wait_rows(20)
    (since, until), *more = group["away"]
    assert not more
    outage = longest_outage(pair.rows, since=cut_at).seconds
    print(f"foretold {until - since:.1f} s, seen {outage:.1f} s")
    assert (until - since) / FACTOR < outage < (until - since) * FACTOR
    assert foretold["unmeasured"] == {}
    status = pair.status()
    assert status["drbd"][0]["current"] == foretold["newest"]["shopdata"]
    survives()


@pytest.mark.long
def test_a_dry_run_touches_nothing_and_tells_which_cable_matters(pair: Trial, survives: Check) -> None:
    active, standby = pair.begin(20)
    refused = standby.exec(["pairkeep", "simulate", "power", "off", "gamma"], check=False, timeout_s=120)
    assert refused.returncode == 2
    assert "there is no node 'gamma'" in refused.stderr
    foretold = _simulate(pair, f"unplug {standby.name} link 2")
    assert foretold["groups"][0]["node"] == active.name
    assert foretold["newest"] == {"shopdata": [active.name]}
    assert pair.running_on() == active.name
    standby.unplug(2)
    pair.wait("the copy is known to be out of date", lambda s: s["drbd"][0]["current"] == [active.name])
    # From here a power cut would end the service, and the dry run says so and why.
    worse = _simulate(pair, f"power off {active.name}")
    assert worse["groups"][0]["node"] is None
    assert "lacks newer writes" in worse["groups"][0]["nodes"][standby.name]
    standby.plug(2)
    pair.wait_paired()
    survives()


def _simulate(pair: Trial, sentence: str) -> dict[str, Any]:
    done = pair.lab["witness"].exec(["pairkeep", "simulate", "--json", sentence], check=False, timeout_s=180)
    assert done.returncode in (0, 1), done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert outcome["violation"] is None
    assert outcome["good"] == (done.returncode == 0)
    return outcome


SECOND_ADDRESS = '{ address = "10.9.1.101/24" },\n]'


def test_a_changed_cluster_toml_comes_into_force_without_touching_the_service(pair: Trial, survives: Check) -> None:
    active, _ = pair.begin(50)
    before, began = active.main_pid("mariadb.service"), pair.rows[-1].at
    text = CLUSTER_TOML.replace("\n]\n", f"\n  {SECOND_ADDRESS}\n").replace('prefer = "alpha"', 'prefer = "beta"')
    done = _apply(active, text, "a second address")
    assert "group.shop: address:10.9.1.101/24 is new" in done
    assert "version 1 is in force on alpha and beta and witness" in done
    pair.wait("the second address is there", lambda _: "10.9.1.101" in active.exec(["ip", "-br", "address"]).stdout)
    pair.wait_running(active.name)
    pair.wait_rows(50)
    assert active.main_pid("mariadb.service") == before
    assert longest_outage(pair.rows, since=began).seconds < UNTOUCHED_S
    for name in ("alpha", "beta", "witness"):
        assert pair.lab[name].exec(["cat", EDITED]).stdout == text
    # Back again: what goes has to be stopped, and the whole group with it.
    refused = active.exec(["pairkeep", "rollback"], check=False, timeout_s=120)
    assert (refused.returncode, "nobody is there to confirm it" in refused.stderr) == (2, True)
    done = active.exec(["pairkeep", "rollback", "--yes"], timeout_s=180).stdout
    assert "version 2 is in force on alpha and beta and witness" in done
    pair.wait_running()
    pair.wait_rows(50)
    for name in ("alpha", "beta"):
        assert "10.9.1.101" not in pair.lab[name].exec(["ip", "-br", "address"]).stdout
    listed = pair.lab["witness"].exec(["pairkeep", "rollback", "--list"], timeout_s=120).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["0", "1", "2"]
    assert "a second address" in listed[1]
    pair.wait_paired()
    survives()


def test_what_one_node_cannot_run_by_is_in_force_on_none(pair: Trial, survives: Check) -> None:
    active, other = pair.begin(20)
    text = CLUSTER_TOML.replace("\n]\n", '\n  { service = "shop-web.service" },\n]\n')
    # One of the two machines has the unit.
    unit = "[Service]\nExecStart=/bin/sleep infinity\n"
    _write(other, "/etc/systemd/system/shop-web.service", unit)
    refused = _apply_anyway(active, text)
    assert refused.returncode == 2
    assert f"{active.name}: group.shop: there is no unit shop-web.service" in refused.stderr
    assert f"{other.name}: " not in refused.stderr
    watchdog = _apply_anyway(active, CLUSTER_TOML.replace('name = "shop"\n', 'name = "shop"\nwatchdog_s = 20\n', 1))
    assert watchdog.returncode == 2
    assert "the others wait as long as this node's watchdog was armed for" in watchdog.stderr
    assert pair.status()["config"] == 0
    # A draft is read by nobody, not even by a supervisor that starts.
    active.exec(["systemctl", "restart", "pairkeep.service"], timeout_s=120)
    pair.wait_running(active.name)
    pair.wait_rows(20)
    survives()


@pytest.mark.long
def test_a_node_that_was_away_takes_up_what_was_applied_meanwhile(pair: Trial, survives: Check) -> None:
    active, other = pair.begin(20)
    other.power_off()
    pair.wait("it is known to be away", lambda s: s["votes"]["present"] == 2)
    text = CLUSTER_TOML.replace('prefer = "alpha"', 'prefer = "alpha"\nfailback = true')
    refused = _apply_anyway(active, text)
    assert refused.returncode == 2
    assert f"{other.name} cannot be asked" in refused.stderr
    done = _apply(active, text, "failback", "--unchecked")
    assert f"{other.name} takes it up when it is back" in done
    other.power_on()
    pair.wait_paired()
    pair.wait("all run by it", lambda s: s["config"] == 1 and all(n["up_to_date"] for n in s["nodes"]))
    assert other.exec(["cat", EDITED]).stdout == text
    survives()


# Which secrets of the machine are in its report, as they are or in other words.
HUNT = """
import base64, json, pathlib, sys, tarfile
with tarfile.open("/root/report.tar.gz") as report:
    files = [report.extractfile(member).read() for member in report if member.isfile()]
# So many bytes that their base64 is also the beginning of that of the whole key.
key = pathlib.Path("/etc/corosync/authkey").read_bytes()[:24]
wanted = {
    "name": b"shopdata",
    "password": sys.argv[1].encode(),
    "password in base64": base64.b64encode(sys.argv[1].encode()).rstrip(b"="),
    "key": key,
    "key in hex": key.hex().encode(),
    "key in base64": base64.b64encode(key),
}
print(json.dumps({what: sum(text in file for file in files) for what, text in wanted.items()}))
"""


@pytest.mark.long
def test_a_backup_brings_a_wiped_node_back_and_a_report_has_no_secret(pair: Trial, survives: Check) -> None:
    active, other = pair.begin(20)
    other.exec(["pairkeep", "backup", "/root/backup.tar.gz"], timeout_s=120)
    assert other.exec(["stat", "-c", "%a", "/root/backup.tar.gz"]).stdout.strip() == "600"
    other.exec(["pairkeep", "report", "/root/report.tar.gz"], timeout_s=400)
    hunted = json.loads(other.exec(["python3", "-c", HUNT, PASSWORD], timeout_s=60).stdout)
    # What is surely in it is found in it, or nothing would be.
    assert {name for name, found in hunted.items() if found} == {"name"}
    refused = other.exec(["pairkeep", "restore", "--yes", "/root/backup.tar.gz"], check=False, timeout_s=120)
    assert refused.returncode == 2
    assert "its supervisor runs" in refused.stderr
    # Another machine in its place: no configuration, and a blank disk.
    other.exec(["systemctl", "stop", "pairkeep.service"], timeout_s=120)
    other.exec(["drbdadm", "down", "shopdata"])
    other.exec(
        ["sh", "-c", "blkdiscard -f -z /dev/disk/by-id/virtio-data && rm -rf /etc/pairkeep /var/lib/pairkeep"]
    )
    other.exec(["rm", "/etc/corosync/authkey", "/etc/corosync/corosync.conf", "/etc/drbd.d/shopdata.res"])
    done = other.exec(["pairkeep", "restore", "--yes", "/root/backup.tar.gz"], timeout_s=120)
    assert "now restart the machine" in done.stdout
    other.exec(["sync"])
    other.power_off()
    other.power_on()
    # A boot, and a whole resync of a blank disk.
    pair.wait_paired(timeout_s=400)
    assert pair.running_on() == active.name
    survives()


@pytest.mark.long
def test_packages_are_upgraded_one_node_after_the_other(pair: Trial, survives: Check) -> None:
    active, standby = pair.begin(20)
    for machine in (active, standby):
        machine.exec(["sh", "-c", REPOSITORY], timeout_s=180)
    wrong = active.exec(["pairkeep", "upgrade", "--yes"], check=False, timeout_s=180)
    assert wrong.returncode == 2
    assert f"shop runs here: begin with {standby.name}" in wrong.stderr
    done = standby.exec(["pairkeep", "upgrade", "--yes"], timeout_s=300).stdout
    assert "  probe 1 -> 2" in done
    assert f"{standby.name} is upgraded and takes part again" in done
    # Nothing may be wrong while a node is out.
    standby.unplug(2)
    pair.wait("the copy is known to be out of date", lambda s: s["drbd"][0]["current"] == [active.name])
    refused = active.exec(["pairkeep", "upgrade", "--hand-over", "--yes"], check=False, timeout_s=180)
    assert refused.returncode == 2
    assert f"the copy of shopdata on {standby.name}" in refused.stderr
    standby.plug(2)
    pair.wait_paired()
    done = active.exec(["pairkeep", "upgrade", "--hand-over", "--yes"], timeout_s=300).stdout
    assert f"{active.name} is upgraded and takes part again" in done
    assert pair.wait_running() == standby.name
    for machine in (active, standby):
        assert machine.exec(["dpkg-query", "-W", "-f", "${Version}", "probe"]).stdout == "2"
    pair.wait_rows(20)
    pair.wait_paired()
    survives()


# Version 1 of a package installed, version 2 in a repository of its own, and no other one.
REPOSITORY = """
set -e
mkdir -p /root/repo; cd /root/repo
for version in 1 2; do
    mkdir -p "p$version/DEBIAN"
    printf 'Package: probe\\nVersion: %s\\nArchitecture: all\\nMaintainer: x <x@localhost>\\nDescription: x\\n' \\
        "$version" > "p$version/DEBIAN/control"
    dpkg-deb --build "p$version" "probe_$version.deb"
done
dpkg -i probe_1.deb
{ cat p2/DEBIAN/control; echo "Filename: ./probe_2.deb"; echo "Size: $(stat -c %s probe_2.deb)"
  echo "SHA256: $(sha256sum probe_2.deb | cut -d' ' -f1)"; } > Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/root/repo ./' > /etc/apt/sources.list
"""

EDITED = "/etc/pairkeep/cluster.toml"


def _apply(machine: Machine, text: str, why: str, *options: str) -> str:
    _write(machine, EDITED, text)
    return machine.exec(["pairkeep", "apply", "--why", why, *options], timeout_s=240).stdout


def _apply_anyway(machine: Machine, text: str) -> subprocess.CompletedProcess[str]:
    _write(machine, EDITED, text)
    return machine.exec(["pairkeep", "apply"], check=False, timeout_s=240)


def _write(machine: Machine, path: str, text: str) -> None:
    machine.exec(["tee", path], stdin=text)
