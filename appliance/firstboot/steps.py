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
from pathlib import Path

from appliance.config import model
from appliance.drivers.drbd import Drbd
from appliance.errors import InputError
from appliance.firstboot.answers import Answers
from appliance.render import render_all, write
from appliance.run import run

CLUSTER_TOML = Path("/etc/pairkeep/cluster.toml")
WAIT_FOR_NETWORK_S = 60


@dataclass(frozen=True)
class Step:
    title: str
    do: Callable[[Answers], None]


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` whole, with ``mode`` from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def check_disks(answers: Answers) -> None:
    """Raises InputError when a data disk is missing or holds something. Changes nothing."""
    for config in _own_drbd(answers):
        drbd = Drbd(config)
        if not Path(config.disk).exists():
            raise InputError(f"drbd.{config.name}.disk: {config.disk} does not exist on this machine")
        if not drbd.has_metadata() and not drbd.is_blank_disk():
            raise InputError(
                f"drbd.{config.name}.disk: {config.disk} is not blank; expected a disk without any data",
                hint=f"if nothing on it is needed any more: blkdiscard -z {config.disk}",
            )


def _name(answers: Answers) -> None:
    _write(Path("/etc/hostname"), f"{answers.node}\n".encode())
    socket.sethostname(answers.node)


def _network(answers: Answers) -> None:
    node = answers.cluster.node(answers.node)
    for number, (interface, address) in enumerate(zip(answers.interfaces, node.links, strict=True), start=1):
        prefix = answers.cluster.networks[number - 1].prefixlen
        _interface(f"10-pairkeep-link{number}", interface, f"{address}/{prefix}")
    for number, extra in enumerate(answers.networks, start=1):
        _interface(f"20-pairkeep-extra{number}", extra.interface, str(extra.address))
    run(["networkctl", "reload"], timeout_s=30)
    run(
        [
            "/usr/lib/systemd/systemd-networkd-wait-online",
            f"--timeout={WAIT_FOR_NETWORK_S}",
            "--operational-state=no-carrier",
        ],
        timeout_s=WAIT_FOR_NETWORK_S + 10,
    )


def _interface(name: str, interface: str, address: str) -> None:
    match = "MACAddress" if ":" in interface else "Name"
    text = (
        f"[Match]\n{match}={interface}\n\n"
        f"[Network]\nAddress={address}\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n"
        # Losing the cable must not lose the addresses: corosync and DRBD are bound to them.
        "ConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n"
    )
    _write(Path(f"/etc/systemd/network/{name}.network"), text.encode())


def _files(answers: Answers) -> None:
    write(render_all(answers.cluster, answers.node), Path("/"))
    run(["nft", "-f", "/etc/nftables.conf"], timeout_s=30)
    _write(Path("/etc/corosync/authkey"), answers.cluster_key, 0o400)
    for name, secret in answers.secrets.items():
        _write(Path("/etc/pairkeep") / name, f"{secret}\n".encode(), 0o600)


def _disks(answers: Answers) -> None:
    for config in _own_drbd(answers):
        drbd = Drbd(config)
        if not drbd.has_metadata():
            drbd.create_md()


def _database(answers: Answers) -> None:
    database = answers.database
    if database is None or answers.cluster.node(answers.node).votes_only:
        return
    sql = (
        f"CREATE DATABASE {database.name};\n"
        f"CREATE USER '{database.user}'@'%' IDENTIFIED BY '{database.password}';\n"
        f"GRANT ALL ON {database.name}.* TO '{database.user}'@'%';\n"
    )
    _write(Path("/etc/pairkeep/database.sql"), sql.encode(), 0o600)


def _commit(answers: Answers) -> None:
    _write(CLUSTER_TOML, answers.cluster_toml.encode())
    os.sync()


def _services(_answers: Answers) -> None:
    run(["systemctl", "daemon-reload"], timeout_s=90)
    run(["systemctl", "start", "--no-block", "pairkeep.service", "pairkeep-join.service"], timeout_s=30)


def _own_drbd(answers: Answers) -> list[model.Drbd]:
    return [] if answers.cluster.node(answers.node).votes_only else list(answers.cluster.drbd)


STEPS = (
    Step("checking the data disks", check_disks),
    Step("setting the host name", _name),
    Step("setting up the network", _network),
    Step("writing the configuration of corosync and DRBD", _files),
    Step("preparing the data disks", _disks),
    Step("preparing the database's first start", _database),
    Step("saving cluster.toml", _commit),
    Step("starting the supervisor", _services),
)
