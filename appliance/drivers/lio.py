# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes and removes the parts of iSCSI targets in the kernel (LIO): backstores, portal groups, LUNs, ACLs, portals.

Backstores, groups and portals are made by rtslib. Of LUNs and ACLs there may be thousands: those are made by hand,
and all is removed by hand, for rtslib searches all others before it maps or removes one.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from appliance.config.iscsi import Portal
from appliance.config.target import Acl, Lun, Target
from appliance.drivers import target_tree as tree
from appliance.drivers.base import DriverError

LOCK = Path("/run/pairkeep/lio.lock")
# So that nobody comes in whom cluster.toml does not name, nor without CHAP unless his ACL says so.
CLOSED = {
    "generate_node_acls": 0,
    "cache_dynamic_acls": 0,
    "demo_mode_discovery": 0,
    "demo_mode_write_protect": 1,
    "prod_mode_write_protect": 0,
    "authentication": 1,
}
_IMPLICIT, _OPTIMIZED = "1", "0"  # target_core_alua.h


@cache
def library() -> Any:
    """rtslib, which takes a while the first time."""
    try:
        import rtslib_fb
    except ImportError as error:
        raise DriverError("this machine presents no LUNs: it is not of the image san") from error
    return rtslib_fb


@contextmanager
def alone() -> Iterator[None]:
    """One writer at a time, of all groups' lanes and of a supervisor and its successor: rtslib does not lock."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def told_as(what: str) -> Iterator[None]:
    """What rtslib or the kernel refuses becomes a DriverError about ``what``."""
    try:
        yield
    except (library().RTSLibError, OSError) as error:
        raise DriverError(f"{what}: {error}") from error


def registrations() -> Path:
    """Where the kernel keeps persistent reservations, a file for each serial (target_core_pr.c)."""
    return Path(library().RTSRoot().dbroot) / "pr"


# Backstores ----------------------------------------------------------------------------------------


def add_backstore(lun: Lun, source: str, index: int) -> None:
    """Open ``source`` for ``lun``, with its identity and the reservations that were kept of it.

    ``index`` is one that no other backstore has; left to itself, rtslib reads all of them to find one.
    """
    kinds = library()
    with told_as(f"lun.{lun.name}"):
        if lun.drbd is not None:
            made = kinds.BlockStorageObject(lun.name, dev=source, wwn=lun.serial, index=index)
        else:
            size = (lun.size_mib or 0) << 20
            made = kinds.FileIOStorageObject(
                lun.name, dev=source, size=size, wwn=lun.serial, write_back=False, index=index
            )
        path = Path(made.path)
        for name in ("vendor", "product", "revision"):
            (path / "wwn" / f"{name}{'_id' if name != 'revision' else ''}").write_text(getattr(lun, name))
        # A takeover is no loss of power for initiators, so registrations outlive it whether or not they asked.
        made.set_attribute("force_pr_aptpl", 1)
        set_thin(path, lun)
        default = path / "alua/default_tg_pt_gp"
        (default / "alua_access_type").write_text(_IMPLICIT)
        (default / "alua_access_state").write_text(_OPTIMIZED)


def set_thin(path: Path, lun: Lun) -> None:
    """Have the backstore in ``path`` tell initiators whether discarding is worth their while."""
    for name in ("emulate_tpu", "emulate_tpws"):
        try:
            (path / "attrib" / name).write_text(str(int(lun.thin)))
        except OSError as error:
            if lun.thin:
                raise DriverError(f"lun.{lun.name}: thin: what is below it cannot discard ({error})") from error


def size_mib(path: Path) -> int:
    """How large the backstore of a file in ``path`` is for initiators (fd_show_configfs_dev_params)."""
    found = re.search(r"\bSize: (\d+)", (path / "info").read_text())
    return int(found[1]) >> 20 if found else 0


def grow(path: Path, lun: Lun) -> None:
    """Have the backstore in ``path`` be as large as its file is by now (fd_set_configfs_dev_params)."""
    with told_as(f"lun.{lun.name}"):
        (path / "control").write_text(f"fd_dev_size={(lun.size_mib or 0) << 20}")


def remove_backstore(path: Path) -> None:
    with told_as(str(path)):
        path.rmdir()
        path.parent.rmdir()


# Targets -------------------------------------------------------------------------------------------


def add_group(target: Target) -> Any:
    """The portal group of ``target``, which lets nobody in yet."""
    kinds = library()
    with told_as(f"target.{target.name}"):
        group = kinds.TPG(kinds.Target(kinds.FabricModule("iscsi"), target.iqn), 1)
        (Path(group.path) / "rtpi").write_text(str(target.port_id))
        for name, value in {**CLOSED, "default_cmdsn_depth": target.queue_depth}.items():
            group.set_attribute(name, value)
        return group


def group_of(target: Target) -> Any:
    """The portal group of ``target``, which is there."""
    kinds = library()
    with told_as(f"target.{target.name}"):
        return kinds.TPG(kinds.Target(kinds.FabricModule("iscsi"), target.iqn, "lookup"), 1, "lookup")


def enable(group: Any) -> None:
    with told_as(f"target {group.parent_target.wwn}"):
        group.enable = True


def add_lun(group: Any, lun: Lun, backstore: Path) -> None:
    """The link is called as the LUN is, so that a look at the tree tells what a number shows.

    One that a crash left without a link is completed, which rtslib refuses.
    """
    with told_as(f"lun.{lun.name}"):
        path = Path(group.path) / "lun" / f"lun_{lun.number}"
        path.mkdir(exist_ok=True)
        (path / lun.name).symlink_to(backstore)


def add_portal(group: Any, portal: Portal) -> None:
    """Its address need not be there yet: the kernel binds with IP_FREEBIND (iscsit_setup_np)."""
    with told_as(f"portal {portal}"):
        library().NetworkPortal(group, portal.host, portal.port)


# Files of an ACL; "NULL" takes back what was said (iscsi_target_configfs.c).
_PROOF = ("userid", "password", "userid_mutual", "password_mutual")


def add_acl(group: Path, acl: Acl, password: str | None, target_password: str | None) -> None:
    """Let an initiator in; one that is let in already takes up another password at its next login."""
    with told_as(f"initiator {acl.initiator}"):
        path = group / "acls" / acl.initiator
        path.mkdir(exist_ok=True)
        (path / "attrib/authentication").write_text(str(int(acl.user is not None)))
        said = (acl.user, password, acl.target_user, target_password)
        for name, value in zip(_PROOF, said, strict=True):
            (path / "auth" / name).write_text(value or "NULL")


def map_lun(group: Path, initiator: str, lun: Lun) -> None:
    """Let ``initiator`` reach ``lun``; reservations that were kept of both come into force with this."""
    with told_as(f"lun.{lun.name} for {initiator}"):
        path = group / "acls" / initiator / f"lun_{lun.number}"
        path.mkdir(exist_ok=True)
        (path / lun.name).symlink_to(group / "lun" / f"lun_{lun.number}")


def remove_lun(path: Path) -> None:
    """A LUN of a portal group, or one that an initiator may reach; who uses it gets an error from then on."""
    with told_as(str(path)):
        for link in tree.links(path):
            link.unlink()
        path.rmdir()


def remove_acl(path: Path) -> None:
    """Shut an initiator out; its session ends with this."""
    for _, lun in tree.numbered(path):
        remove_lun(lun)
    with told_as(str(path)):
        path.rmdir()


def remove_portal(path: Path) -> None:
    """Nobody can log in by it any more; sessions go on."""
    with told_as(str(path)):
        path.rmdir()


def remove_group(path: Path) -> None:
    """End all sessions of a portal group, and remove it and its target."""
    if path.is_dir():
        with told_as(str(path)):
            if (path / "enable").read_text().strip() == "1":
                # Returns when all commands that are under way have ended.
                (path / "enable").write_text("0")
        for portal in tree.folders(path / "np"):
            remove_portal(portal)
        for acl in tree.folders(path / "acls"):
            remove_acl(acl)
        for _, lun in tree.numbered(path / "lun"):
            remove_lun(lun)
        with told_as(str(path)):
            path.rmdir()
    with told_as(str(path.parent)):
        path.parent.rmdir()


def free_indexes() -> Iterator[int]:
    """Numbers that no backstore has."""
    taken = {path.name.rsplit("_", 1)[-1] for path in tree.folders(tree.ROOT / "core")}
    number = 0
    while True:
        if str(number) not in taken:
            yield number
        number += 1
