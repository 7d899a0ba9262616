# SPDX-License-Identifier: GPL-2.0-or-later
"""A pair that presents iSCSI LUNs, a witness, and a machine that uses them and checks what it reads."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace

from appliance.build.progress import Progress
from appliance.config.load import parse
from appliance.errors import PairkeepError
from appliance.lab import topology
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.networks import mac_address
from appliance.lab.pair import CLUSTER_TOML as A_DATABASE
from appliance.lab.pair import ROLES, SERVICE_ADDRESS, Role, answers
from appliance.lab.spec import Disk, Topology
from appliance.lab.trial import Trial, paired

WEB = Role("web", "initiator", 320, 21)
WEB_ADDRESS, WEB_IQN = f"10.9.1.{WEB.number}", "iqn.2026-01.org.example:web"
WORKERS = tuple(replace(role, image="san", memory_mib=448) for role in ROLES if role.data_disk_mib)
WITNESS = ROLES[-1]
# No secrets, for these machines reach nobody else.
SECRETS = {"web.chap": "lab-of-web-1", "store.chap": "lab-of-store"}
# How long the client's writes wait for the target, at most.
TIMEOUT_S = 120

CLUSTER_TOML = f"""\
{A_DATABASE.partition("[drbd.")[0]}\
[drbd.kept]
disk = "/dev/disk/by-id/virtio-kept"

[drbd.big]
disk = "/dev/disk/by-id/virtio-big"

[target.store]
state = "/srv/store/state"
acls = [
  {{ initiator = "{WEB_IQN}", user = "web", password_file = "/etc/pairkeep/web.chap", target_user = "store", \
target_password_file = "/etc/pairkeep/store.chap" }},
]

[lun.big]
target = "store"
number = 0
device = "drbd:big"

[lun.small]
target = "store"
number = 1
file = "/srv/store/small.img"
size_mib = 16

[[group]]
name = "shop"
prefer = "alpha"
resources = [
  {{ drbd = "kept" }},
  {{ drbd = "big" }},
  {{ filesystem = "/srv/store", device = "drbd:kept" }},
  {{ target = "store" }},
  {{ address = "{SERVICE_ADDRESS}/24" }},
]
"""
TARGET = parse(CLUSTER_TOML).target_named("store")
BIG, SMALL = (f"/dev/disk/by-id/wwn-0x{lun.wwn}" for lun in TARGET.luns)

NETWORK = f"""\
[Match]
MACAddress={mac_address(1, WEB.number)}

[Network]
Address={WEB_ADDRESS}/24
"""
# What a person sets on an initiator of ours (docs/san.md).
ISCSID = f"""\
node.startup = manual
node.session.timeo.replacement_timeout = {TIMEOUT_S}
node.conn[0].timeo.noop_out_interval = 5
node.conn[0].timeo.noop_out_timeout = 5
node.session.auth.authmethod = CHAP
node.session.auth.username = web
node.session.auth.password = {SECRETS["web.chap"]}
node.session.auth.username_in = store
node.session.auth.password_in = {SECRETS["store.chap"]}
"""


def san_pair(progress: Progress) -> Topology:
    """Two machines, a witness, and one that uses the LUNs."""
    secrets = "\n[secrets]\n" + "".join(f'"{name}" = "{text}"\n' for name, text in SECRETS.items())
    machines = [
        replace(
            topology.machine(role, answers(role, CLUSTER_TOML).partition("[database]")[0] + secrets),
            disks=(Disk("kept", 96), Disk("big", 64)) if role in WORKERS else (),
        )
        for role in (*WORKERS, WITNESS)
    ]
    web = topology.machine(WEB, None, topology.NETWORKS[:1])
    return topology.of(progress, topology.NETWORKS, (*machines, web))


def waiting_for(lab: Lab) -> str | None:
    """As `trial.waiting_for`; the last thing is that the client has its disks."""
    status = Trial(lab).status("witness")
    online = [node["name"] for node in status["nodes"] if node["state"] == "online"]
    if len(online) < len(ROLES):
        return f"{len(online)} of {len(ROLES)} nodes take part"
    group = status["groups"][0]
    if group["state"] != "running":
        return f"{group['name']} is {group['state']}: {group['reason']}"
    if not paired(status) or not status["settled"]:
        return "the disks are not both UpToDate"
    if not has_disks(lab["web"]):
        with contextlib.suppress(PairkeepError):
            log_in(lab["web"])
        return "the client logs in"
    return None


def log_in(web: Machine) -> None:
    """What survives its power cut: an address, no packet filter, and how to log in."""
    for path, text in (
        ("/etc/systemd/network/10-lab.network", NETWORK),
        ("/etc/nftables.conf", "flush ruleset\n"),
        ("/etc/iscsi/initiatorname.iscsi", f"InitiatorName={WEB_IQN}\n"),
        ("/etc/iscsi/iscsid.conf", ISCSID),
    ):
        web.exec(["tee", path], stdin=text)
    web.exec(["networkctl", "reload"])
    web.exec(["nft", "-f", "/etc/nftables.conf"])
    web.exec(["systemctl", "restart", "iscsid.service"], timeout_s=120)
    web.exec(["iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", SERVICE_ADDRESS], timeout_s=60)
    web.exec(["iscsiadm", "-m", "node", "--login"], timeout_s=120)
    web.exec(["udevadm", "settle"], timeout_s=60)


def has_disks(web: Machine) -> bool:
    return web.exec(["test", "-b", BIG, "-a", "-b", SMALL], check=False).returncode == 0


@dataclass(frozen=True)
class Load:
    """What fio wrote and read back on one disk: how many writes, what went wrong, the longest wait in seconds."""

    writes: int
    errors: int
    longest_s: float


class Client:
    """fio on the LUNs: it writes blocks with sums in them, and reads each back a little later."""

    def __init__(self, web: Machine) -> None:
        self.web = web

    def start(self, disk: str = BIG) -> None:
        argv = (
            *("--name=verify", f"--filename={disk}", "--rw=randwrite", "--bs=4k", "--direct=1", "--size=8m"),
            *("--ioengine=libaio", "--iodepth=4", "--time_based", "--runtime=3600", "--rate_iops=50,50"),
            *("--verify=crc32c", "--verify_backlog=64", "--verify_fatal=1", "--output-format=json"),
            f"--output={_result(disk)}",
        )
        unit = ("systemd-run", "--quiet", f"--unit={_unit(disk)}", "--property=KillSignal=SIGINT")
        self.web.exec([*unit, "fio", *argv], timeout_s=60)

    def written(self, disk: str = BIG) -> int:
        """How many sectors the client's kernel has written there so far."""
        name = self.web.exec(["realpath", disk]).stdout.strip().removeprefix("/dev/")
        return int(self.web.read_text(f"/sys/block/{name}/stat").split()[6])

    def wait_written(self, more: int, disk: str = BIG, *, timeout_s: float = 180.0) -> None:
        goal = self.written(disk) + more
        what = f"{more} more sectors on {disk}"
        self.web.lab.wait_for(what, lambda: self.written(disk) >= goal, timeout_s=timeout_s, poll_s=1.0)

    def stop(self, disk: str = BIG) -> Load:
        self.web.exec(["systemctl", "stop", _unit(disk)], check=False, timeout_s=120)
        text = self.web.exec(["cat", _result(disk)], timeout_s=60).stdout
        job = json.loads(text[text.index("{") :])["jobs"][0]
        longest = max(job[way]["clat_ns"]["max"] for way in ("write", "read"))
        return Load(job["write"]["total_ios"], job["error"] + job.get("total_err", 0), longest / 1e9)


def _unit(disk: str) -> str:
    return f"fio-{disk[-6:]}.service"


def _result(disk: str) -> str:
    return f"/var/tmp/fio-{disk[-6:]}.json"  # noqa: S108 (a machine of its own)
