# SPDX-License-Identifier: GPL-2.0-or-later
"""A database pair whose data is on a disk of a fourth machine: an iSCSI target that is not ours, Debian's tgt."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab import topology
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.networks import mac_address
from appliance.lab.pair import CLUSTER_TOML as ON_DRBD
from appliance.lab.pair import ROLES, SERVICE_ADDRESS, Role, answers
from appliance.lab.spec import Disk, MachineSpec, Topology
from appliance.lab.trial import WRITER, Trial

STORE = Role("store", "initiator", 320, 50)
STORE_ADDRESS = f"10.9.1.{STORE.number}"
TARGET = "iqn.2026-01.org.example:store.shop"
LUN_DISK, LUN_MIB = "lun", 512
# What the nodes prove themselves with, and the target; no secrets, for these machines reach nobody else.
SECRETS = {"store.password": "pairkeep-lab-in", "store-itself.password": "pairkeep-lab-out"}
# Nothing here runs on replicated disks, and the tests look at reservations instead of roles.
ROLES_HERE = tuple(replace(role, memory_mib=min(role.memory_mib, 512), data_disk_mib=0) for role in ROLES)

CLUSTER_TOML = f"""\
{ON_DRBD.partition("[drbd.")[0]}\
[initiator.shopdata]
target = "{TARGET}"
portals = ["{STORE_ADDRESS}"]
lun = 1
user = "shop"
password_file = "/etc/pairkeep/store.password"
target_user = "store"
target_password_file = "/etc/pairkeep/store-itself.password"

[[group]]
name = "shop"
prefer = "alpha"
resources = [
  {{ initiator = "shopdata" }},
  {{ filesystem = "/srv/mysql", device = "initiator:shopdata", type = "ext4" }},
  {{ service = "mariadb.service", probe = "mysql" }},
  {{ address = "{SERVICE_ADDRESS}/24" }},
]
"""

# tgt's own words (targets.conf(5)): "incoming" is who logs in, "outgoing" what the target proves itself with.
TGT = f"""\
<target {TARGET}>
    <backing-store /dev/disk/by-id/virtio-{LUN_DISK}>
        lun 1
    </backing-store>
    incominguser shop {SECRETS["store.password"]}
    outgoinguser store {SECRETS["store-itself.password"]}
</target>
"""
NETWORK = f"""\
[Match]
MACAddress={mac_address(1, STORE.number)}

[Network]
Address={STORE_ADDRESS}/24
"""


def shared_disk_pair(progress: Progress) -> Topology:
    """Two machines and a witness, and the one with the disk."""
    secrets = "\n[secrets]\n" + "".join(f'"{name}" = "{text}"\n' for name, text in SECRETS.items())
    machines = [topology.machine(role, answers(role, CLUSTER_TOML) + secrets) for role in ROLES_HERE]
    return topology.of(progress, topology.NETWORKS, (_store(), *machines))


def store_alone(progress: Progress) -> Topology:
    """The machine with the disk alone: its image has an initiator, too."""
    return topology.of(progress, topology.NETWORKS[:1], (_store(),))


def _store() -> MachineSpec:
    return replace(topology.machine(STORE, None, topology.NETWORKS[:1]), disks=(Disk(LUN_DISK, LUN_MIB),))


def waiting_for(lab: Lab) -> str | None:
    """As `trial.waiting_for`. The target is set up first: until then the group tries in vain."""
    if lab["store"].exec(["systemctl", "is-active", "tgt.service"], check=False).returncode != 0:
        set_up(lab["store"])
        return "the target is set up"
    status = Trial(lab).status("witness")
    online = [node["name"] for node in status["nodes"] if node["state"] == "online"]
    if len(online) < len(ROLES_HERE):
        return f"{len(online)} of {len(ROLES_HERE)} nodes take part"
    group = status["groups"][0]
    if group["state"] != "running":
        return f"{group['name']} is {group['state']}: {group['reason']}"
    if any(count for resource in group["resources"] for count in resource["fails"].values()):
        lab["witness"].exec(["pairkeep", "cleanup", "shop"])
        return "the failures before there was a target are forgotten"
    if not status["settled"]:
        return "the record is not settled"
    reached = lab.run_client([*WRITER, "/dev/null", "--ping"], check=False, timeout_s=20).returncode == 0
    return None if reached else f"the database does not answer at {SERVICE_ADDRESS}"


def set_up(store: Machine) -> None:
    """An address, no packet filter, and the target, not enabled: that takes two slow reloads of systemd."""
    for path, text in (
        ("/etc/systemd/network/10-lab.network", NETWORK),
        ("/etc/nftables.conf", "flush ruleset\n"),
        ("/etc/tgt/conf.d/lab.conf", TGT),
    ):
        store.exec(["tee", path], stdin=text)
    store.exec(["networkctl", "reload"])
    store.exec(["nft", "-f", "/etc/nftables.conf"])
    store.exec(["systemctl", "start", "tgt.service"], timeout_s=120)


def disk_at(machine: Machine) -> dict[str, Any]:
    """What `pairkeep initiator list` says there of the one disk."""
    listed = machine.exec(["pairkeep", "initiator", "list", "--json"], timeout_s=60).stdout
    found: dict[str, Any] = json.loads(listed)[0]
    return found


def mounted_on(lab: Lab) -> list[str]:
    """The machines that answer and have the filesystem mounted."""
    found = []
    for name in ("alpha", "beta"):
        with contextlib.suppress(PairkeepError):
            if " /srv/mysql " in lab[name].read_text("/proc/mounts"):
                found.append(name)
    return found
