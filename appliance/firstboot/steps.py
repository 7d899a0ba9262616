# SPDX-License-Identifier: GPL-2.0-or-later
"""What turns a blank machine into a node: named steps, in order, each of which may be done again.

Power may go at any moment. Until the last step has written `cluster.toml` nothing counts as done, and
the next boot begins again from the first one; the supervisor does not start without that file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Protocol

from appliance.drivers import disk_name
from appliance.drivers.drbd import Drbd
from appliance.errors import InputError
from appliance.files import replace_file
from appliance.firstboot.answers import Answers, Database, Settings
from appliance.firstboot.facts import ALIAS
from appliance.firstboot.network import LinkSettings, merge, network_file
from appliance.render import SECRET, lvs, peers, render_all, replication, write
from appliance.run import run
from appliance.supervisor.store import PATH as RECORD

CLUSTER_TOML = Path("/etc/pairkeep/cluster.toml")
SSH_HOST_KEY = Path("/etc/ssh/ssh_host_ed25519_key")
WAIT_FOR_NETWORK_S = 60


class Machine(Protocol):
    """What is said of any machine, whatever it is to be."""

    @property
    def node(self) -> str: ...
    @property
    def settings(self) -> Settings: ...


@dataclass(frozen=True)
class Step:
    title: str
    do: Callable[[Answers], None]


def _name_disk(answers: Answers) -> None:
    """cluster.toml has one name for the data disks of all machines; here it becomes that of this one's."""
    disk = answers.settings.disk
    if not disk:
        return
    replace_file(disk_name.RULES, disk_name.rule(disk, ALIAS).encode())
    disk_name.give()


def _wipe_disk(answers: Answers) -> None:
    """Every block, not just what says what is there: DRBD takes two blank disks for equal, and copies nothing.

    blkdiscard opens the disk for itself alone, so one that is in use is refused. A large hard disk takes hours.
    On a node never: these steps are done again when what follows them failed, and by then there may be data.
    """
    if not answers.settings.wipe or CLUSTER_TOML.exists():
        return
    if RECORD.exists():
        raise InputError(
            f"{RECORD} is there, so this machine was a node, and its disk may hold the newest data; not erased",
            hint=f"if they are needed no more: rm {RECORD}, and restart the machine",
        )
    disk = answers.settings.disk
    if answers.settings.wipe != "drbd" and _was_replicated(disk) and not _is_of_this_setup(answers):
        raise InputError(
            f"DRBD has replicated {disk}, so it may hold the newest data of a cluster; not erased",
            hint='if they are needed no more: wipe = "drbd" in the answers. To keep them: detach the answers, and '
            "pairkeep restore FILE",
        )
    run(["blkdiscard", "--zeroout", disk])


def _was_replicated(disk: str) -> bool:
    """The disk or a partition of it. Raises PairkeepError when that cannot be learnt."""
    parts = run(["lsblk", "--noheadings", "--list", "--paths", "--output", "NAME", disk], timeout_s=30)
    # Of each what it begins or ends with, asked of the disk itself: it ends with 2 when the last one has nothing.
    probe = ["blkid", "--probe", "--match-tag", "TYPE", "--output", "value", *parts.stdout.split()]
    found = run(probe, check=False, timeout_s=60)
    if found.returncode not in (0, 2):
        raise InputError(
            f"{disk}: blkid cannot tell what is on it, so it is not erased: {found.stderr.strip()}",
            hint='to have it erased whatever it is: wipe = "drbd" in the answers',
        )
    return "drbd" in found.stdout.split()


def _is_of_this_setup(answers: Answers) -> bool:
    """Power went after these steps had made the metadata, which says that no data ever came to it."""
    return bool(answers.drbd) and all(Drbd(config).just_created() for config in answers.drbd)


def check_disks(answers: Answers) -> None:
    """Raises InputError when a data disk is missing or holds something. Changes nothing."""
    for config in answers.drbd:
        drbd = Drbd(config)
        if not Path(config.disk).exists():
            raise InputError(f"drbd.{config.name}.disk: {config.disk} does not exist on this machine")
        if not drbd.has_metadata() and not drbd.is_blank_disk():
            raise InputError(
                f"drbd.{config.name}.disk: {config.disk} is not blank; expected a disk without any data",
                hint=f"if nothing on it is needed any more: blkdiscard -z {config.disk}",
            )


def set_name(answers: Machine) -> None:
    replace_file(Path("/etc/hostname"), f"{answers.node}\n".encode())
    socket.sethostname(answers.node)


def _network(answers: Answers) -> None:
    node = answers.cluster.node(answers.node)
    heartbeats = tuple(
        LinkSettings(interface, (ip_interface(f"{address}/{network.prefixlen}"),))
        for interface, address, network in zip(
            answers.interfaces, node.links, answers.cluster.networks, strict=True
        )
    )
    set_networks((*heartbeats, *answers.networks))


def set_networks(networks: tuple[LinkSettings, ...]) -> None:
    folder = Path("/etc/systemd/network")
    for number, settings in enumerate(merge(networks), start=1):
        replace_file(folder / f"10-pairkeep-{number}.network", network_file(settings).encode())
    run(["networkctl", "reload"], timeout_s=30)
    run(
        [
            "/usr/lib/systemd/systemd-networkd-wait-online",
            f"--timeout={WAIT_FOR_NETWORK_S}",
            "--operational-state=no-carrier",
        ],
        timeout_s=WAIT_FOR_NETWORK_S + 10,
    )


def set_personal(answers: Machine) -> None:
    settings = answers.settings
    if settings.keyboard:
        replace_file(Path("/etc/vconsole.conf"), f"KEYMAP={settings.keyboard}\n".encode())
    if settings.language:
        replace_file(Path("/etc/locale.conf"), f"LANG={settings.language}\n".encode())
    if settings.time_servers:
        text = f"[Time]\nNTP={' '.join(settings.time_servers)}\n"
        replace_file(Path("/etc/systemd/timesyncd.conf.d/pairkeep.conf"), text.encode())
        run(["systemctl", "restart", "--no-block", "systemd-timesyncd.service"], timeout_s=30)


def let_in(answers: Machine) -> None:
    settings = answers.settings
    if settings.password_hash:
        run(["chpasswd", "--encrypted"], stdin=f"root:{settings.password_hash}\n", timeout_s=30)
    if settings.ssh_keys:
        keys = Path("/root/.ssh/authorized_keys")
        keys.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(keys, "".join(f"{key}\n" for key in settings.ssh_keys).encode(), 0o600)


def make_ssh_host_key(_answers: Machine) -> None:
    """Of the one kind that every client of today knows; an RSA key would take half a minute of a slow machine."""
    if not SSH_HOST_KEY.exists():
        # One that power cut short must not be taken for whole, so it gets its name last.
        fresh = SSH_HOST_KEY.with_name(f".{SSH_HOST_KEY.name}.new")
        fresh.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", fresh], timeout_s=120)
        fresh.with_name(f"{fresh.name}.pub").replace(SSH_HOST_KEY.with_name(f"{SSH_HOST_KEY.name}.pub"))
        fresh.replace(SSH_HOST_KEY)


def _files(answers: Answers) -> None:
    replace_file(peers.KEY, answers.cluster_key, 0o400)
    write(render_all(answers.cluster, answers.node), Path("/"))
    write(replication(answers.cluster, answers.node), Path("/"), SECRET)
    run(["nft", "-f", "/etc/nftables.conf"], timeout_s=30)
    for name, secret in answers.secrets.items():
        replace_file(Path("/etc/pairkeep") / name, f"{secret}\n".encode(), 0o600)


def _disks(answers: Answers) -> None:
    for config in answers.drbd:
        drbd = Drbd(config)
        if not drbd.has_metadata():
            drbd.create_md()


def _database(answers: Answers) -> None:
    database = answers.database
    if database is None or answers.cluster.node(answers.node).votes_only:
        return
    replace_file(Path("/etc/pairkeep/database.sql"), database_sql(database).encode(), 0o600)


def database_sql(database: Database) -> str:
    """Quoted, for words of SQL such as order, group and key are good names of databases."""
    return (
        f"CREATE DATABASE `{database.name}`;\n"
        f"CREATE USER '{database.user}'@'%' IDENTIFIED BY PASSWORD '{database.password_hash}';\n"
        f"GRANT ALL ON `{database.name}`.* TO '{database.user}'@'%';\n"
    )


def _commit(answers: Answers) -> None:
    replace_file(CLUSTER_TOML, answers.cluster_toml.encode())
    os.sync()


def _services(_answers: Answers) -> None:
    run(["systemctl", "daemon-reload"], timeout_s=90)
    units = ["pairkeep.service", "pairkeep-join.service", "ssh.service"]
    if lvs.MAIN.exists():
        units.append("keepalived.service")
    if lvs.SYNC.exists():
        units.append("pairkeep-sync.service")
    run(["systemctl", "start", "--no-block", *units], timeout_s=30)


STEPS = (
    Step("naming the data disk", _name_disk),
    Step("erasing the data disk", _wipe_disk),
    Step("checking the data disks", check_disks),
    Step("setting the host name", set_name),
    Step("setting up the network", _network),
    Step("setting keyboard, language and time servers", set_personal),
    Step("letting the administrator in", let_in),
    Step("making the SSH host key", make_ssh_host_key),
    Step("writing the configuration of corosync and DRBD", _files),
    Step("preparing the data disks", _disks),
    Step("preparing the database's first start", _database),
    Step("saving cluster.toml", _commit),
    Step("starting the supervisor", _services),
)
# What can be done again on a machine that is set up: the rest belongs to the cluster.
SETTINGS = (
    Step("setting keyboard, language and time servers", set_personal),
    Step("letting the administrator in", let_in),
)
