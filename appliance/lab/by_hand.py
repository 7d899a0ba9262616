# SPDX-License-Identifier: GPL-2.0-or-later
"""The takeover that an administrator writes by hand, as the measure of ours: it already knows that it may."""

from __future__ import annotations

import time

from appliance.lab.machine import Machine
from appliance.lab.pair import SERVICE_ADDRESS

INTERFACE = "$(ip -o route get 10.9.1.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/')"
START_SERVICE = """\
systemctl start mariadb.service
until mariadb -e 'SELECT 1' >/dev/null 2>&1; do sleep 0.1; done
"""
TAKE = f"""\
set -e
now() {{ date +%s.%N; }}
start=$(now)
drbdadm primary shopdata
promoted=$(now)
mount -o noatime /dev/drbd0 /srv/mysql
mounted=$(now)
{START_SERVICE}
started=$(now)
ip address add {SERVICE_ADDRESS}/24 dev "{INTERFACE}"
(arping -q -U -c 3 -I "{INTERFACE}" {SERVICE_ADDRESS} &)
done=$(now)
echo "$start $promoted $mounted $started $done"
"""
RELEASE = f"""\
set -e
ip address del {SERVICE_ADDRESS}/24 dev "{INTERFACE}"
systemctl stop mariadb.service
umount /srv/mysql
drbdadm secondary shopdata
"""
RESTART = f"pkill -KILL -x mariadbd\n{START_SERVICE}"
# It has no cluster to ask, so nothing may ask one for it.
PREPARE = """\
set -e
systemctl stop pairkeep.service corosync.service
sed -i 's/resource-and-stonith/dont-care/' /etc/drbd.d/*.res
drbdadm adjust shopdata
mkdir -p /srv/mysql
"""


def prepare(machine: Machine) -> None:
    """Make ``machine`` one without a cluster manager; what runs goes on."""
    machine.exec(["sh", "-c", PREPARE], timeout_s=120)


def take_over(machine: Machine, *, peer_dead: bool) -> dict[str, float]:
    """Take the service; returns the phases in seconds as the machine measured them, and their sum."""
    first = "drbdadm disconnect --force shopdata\n" if peer_dead else ""
    out = machine.exec(["sh", "-c", first + TAKE], timeout_s=120).stdout
    times = [float(word) for word in out.split()]
    names = ("promote", "mount", "service_start", "address")
    phases = {name: round(b - a, 3) for name, a, b in zip(names, times, times[1:], strict=False)}
    return {**phases, "takeover": round(times[-1] - times[0], 3)}


def release(machine: Machine) -> None:
    """Give the service away."""
    machine.exec(["sh", "-c", RELEASE], timeout_s=120)


def restart(machine: Machine) -> None:
    """Kill the database server and start it again."""
    machine.exec(["sh", "-c", RESTART], timeout_s=120)


def wait_gone(machine: Machine, seconds: float) -> None:
    """Let DRBD on ``machine`` notice that its peer has lost power, as it has by the time anyone takes over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if "cs:WFConnection" in machine.exec(["cat", "/proc/drbd"]).stdout:
            return
        time.sleep(0.2)
