# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether this node could run by a cluster.toml: what only the machine itself can tell. Blocks; changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from grp import getgrnam
from importlib.util import find_spec
from pathlib import Path
from pwd import getpwnam
from stat import S_IXGRP, S_IXOTH, S_IXUSR

from appliance.config.initiator import Initiator
from appliance.config.load import ConfigError, parse
from appliance.config.model import Address, Cluster, Drbd, Filesystem, Resource, Service
from appliance.config.target import Acl, TargetRole
from appliance.config.virtual import Virtual
from appliance.drivers import chap, keepalived, secret
from appliance.drivers.base import DriverError
from appliance.drivers.fence import FOLDER
from appliance.drivers.initiator import LONGEST_PASSWORD
from appliance.errors import InputError
from appliance.render import peers, render_all
from appliance.render.lvs import SCRIPT_GROUP, SCRIPT_USER
from appliance.run import run

NET = Path("/sys/class/net")
RULES = Path("/etc/nftables.conf")
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def problems(text: str, me: str) -> tuple[str, ...]:
    """What is wrong with ``text`` for node ``me``; nothing when it could run by it."""
    try:
        cluster = parse(text)
    except ConfigError as error:
        return error.problems
    if me not in [node.name for node in cluster.nodes]:
        return (f"node: found no {me}, which is this node",)
    return tuple(_problems(cluster, me))


def _problems(cluster: Cluster, me: str) -> Iterator[str]:
    files = render_all(cluster, me)
    yield from _fences(cluster, me)
    yield from _rules(files[RULES])
    if cluster.node(me).votes_only:
        return
    yield from _disks(cluster.drbd)
    for virtual in cluster.virtuals:
        yield from _checks(virtual)
    for vrrp in cluster.vrrps:
        for interface in vrrp.track_interfaces:
            if not (NET / interface).exists():
                yield f"vrrp.{vrrp.name}: there is no interface {interface}"
    yield from keepalived.complaints(files)
    for target in cluster.targets:
        yield from _passwords(f"target.{target.name}", target.acls, chap.SHORTEST, chap.LONGEST)
    for initiator in cluster.initiators:
        if shutil.which("iscsiadm", path=PATH) is None:
            yield f"there is no iscsiadm for initiator.{initiator.name}"
        yield from _passwords(f"initiator.{initiator.name}", [initiator], 1, LONGEST_PASSWORD)
    for group in cluster.groups:
        for resource in group.resources:
            for problem in _resource(resource):
                yield f"group.{group.name}: {problem}"


def _fences(cluster: Cluster, me: str) -> Iterator[str]:
    for node in cluster.nodes:
        for device in node.fence if node.name != me else ():
            if not (FOLDER / device.agent).exists():
                yield f"node.{node.name}.fence: there is no fence agent {device.agent}"
            for file in device.files.values():
                yield from _unreadable(f"node.{node.name}.fence", Path(file))


def _checks(virtual: Virtual) -> Iterator[str]:
    """What its checks read and run.

    keepalived -t looks at scripts of VRRP; a check whose script cannot be run it drops, and then takes the server
    for what it was last.
    """
    checks = [real.check for real in virtual.reals]
    passwords = {check.password_file for check in checks if check.password_file is not None}
    programs = {check.command.split()[0] for check in checks if check.command is not None}
    for program in sorted(programs):
        if not Path(program).exists():
            yield f"virtual.{virtual.name}: {program} does not exist"
        elif (problem := _not_executable(Path(program))) is not None:
            yield f"virtual.{virtual.name}: {problem}"
    for file in sorted(passwords):
        yield from _unreadable(f"virtual.{virtual.name}", Path(file))


def _unreadable(what: str, file: Path) -> Iterator[str]:
    """Why the secret in ``file`` would not be taken, if it would not."""
    try:
        secret.read(file)
    except DriverError as error:
        yield f"{what}: {error.message}"


def _not_executable(program: Path) -> str | None:
    """Why the user that keepalived starts scripts as cannot start this one. It looks at mode bits itself."""
    user, group = getpwnam(SCRIPT_USER).pw_uid, getgrnam(SCRIPT_GROUP).gr_gid
    real = program.resolve()
    for folder in {**dict.fromkeys(reversed(program.parents)), **dict.fromkeys(reversed(real.parents))}:
        if not _may_execute(folder, user, group):
            mode = folder.stat().st_mode & 0o7777
            return f"{program} is run by {SCRIPT_USER}, who may not enter {folder}: found mode {mode:04o}"
    if not real.is_file():
        return f"{program} is no file, expected a program"
    if not _may_execute(real, user, group):
        mode = real.stat().st_mode & 0o7777
        return f"{program} is run by {SCRIPT_USER}, who may not execute it: found mode {mode:04o}, expected 0755"
    return None


def _may_execute(path: Path, user: int, group: int) -> bool:
    found = path.stat()
    bit = S_IXUSR if found.st_uid == user else S_IXGRP if found.st_gid == group else S_IXOTH
    return bool(found.st_mode & bit)


def _rules(text: str) -> Iterator[str]:
    """With the files that it includes, which are people's own."""
    done = run(["nft", "--check", "--file", "-"], stdin=text, check=False, timeout_s=30)
    if done.returncode != 0:
        yield f"{RULES}: nft refuses it: {' '.join(done.stderr.split())}"


def _disks(drbds: Sequence[Drbd]) -> Iterator[str]:
    for drbd in drbds:
        if not Path(drbd.disk).exists():
            yield f"drbd.{drbd.name}.disk: {drbd.disk} does not exist"
    if drbds:
        try:
            peers.read_key()
        except InputError as error:
            yield error.message


def _passwords(what: str, users: Sequence[Acl | Initiator], shortest: int, longest: int) -> Iterator[str]:
    files = {file for user in users for file in (user.password_file, user.target_password_file) if file}
    for file in sorted(files):
        try:
            chap.read(Path(file), shortest, longest)
        except DriverError as error:
            yield f"{what}: {error.message}"


def _resource(resource: Resource) -> Iterator[str]:
    match resource:
        case Service(unit=unit):
            if not _is_loaded(unit):
                yield f"there is no unit {unit}"
        case Filesystem(type=kind, device=device):
            if shutil.which(f"mkfs.{kind}", path=PATH) is None:
                yield f"there is no mkfs.{kind} for {resource.id}"
            if not device.startswith(("drbd:", "initiator:")) and not Path(device).exists():
                yield f"{device} does not exist"
        case TargetRole():
            if find_spec("rtslib_fb") is None:
                yield f"there is no rtslib for {resource.id}: this machine is not of the image san"
        case Address(interface=str(interface)):
            if not (NET / interface).exists():
                yield f"there is no interface {interface} for {resource.id}"


def _is_loaded(unit: str) -> bool:
    state = run(["systemctl", "show", "--property=LoadState", "--value", "--", unit], timeout_s=20)
    return state.stdout.strip() == "loaded"
