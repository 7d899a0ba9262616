# SPDX-License-Identifier: GPL-2.0-or-later
"""An iSCSI target: started whole or not at all, brought up to date while sessions go on, and surely stopped.

Its service addresses come after it and go before it. So an initiator never meets a target that lacks LUNs, nor one
that answers to a connection it does not know before it could be logged in to: during a takeover it hears nothing at
all, sends again, and then finds everything as it was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.config.target import Acl, Lun, Target
from appliance.decide.view import State
from appliance.drivers import chap, lio
from appliance.drivers import target_tree as tree
from appliance.drivers.base import DriverError
from appliance.files import replace_file
from appliance.run import RunError, run

# In the folder of the target's state: of each file that was made for a LUN, that it was made.
MADE = "made"


class TargetDriver:
    """``devices``: the block device of each DRBD resource that a LUN shows."""

    def __init__(self, target: Target, devices: Mapping[str, str]) -> None:
        self._target = target
        self._devices = devices
        self._wanted = tree.wanted(target)

    def state(self) -> State:
        """Failed: there is something of it, but not what is wanted, as after a start that a crash ended."""
        found = tree.found(self._target.iqn)
        if found is None:
            return "failed" if self._leftovers() else "stopped"
        return "started" if found == self._wanted else "failed"

    def start(self) -> None:
        with lio.alone():
            if self.state() == "started":
                return
            # Who has no passwords, or no state to go on from, has not begun.
            passwords = self._passwords()
            self._prepare(self._target.luns)
            self._remove()
            indexes = lio.free_indexes()
            for lun in self._target.luns:
                lio.add_backstore(lun, self._source(lun), next(indexes))
            backstores = tree.backstores()
            group = lio.add_group(self._target)
            for lun in self._target.luns:
                lio.add_lun(group, lun, backstores[lun.name])
            for acl in self._target.acls:
                self._admit(acl, passwords)
            for portal in self._target.portals:
                lio.add_portal(group, portal)
            lio.enable(group)

    def stop(self) -> None:
        """Nothing keeps its devices open when this returns. Waits for what is being written to them."""
        with lio.alone():
            self._remove()
            if self.state() != "stopped":
                raise DriverError(f"target.{self._target.name} did not stop: something of it is left in configfs")

    def adopt(self) -> None:
        """Bring a target that serves to what is wanted, without a word to sessions whom it does not concern.

        Where nothing changed, its disks are not touched: DRBD may have frozen them until a supervisor runs that
        can tell it to go on, and this one is about to begin.
        """
        with lio.alone():
            found = tree.found(self._target.iqn)
            if found is None or not found.enabled:
                return
            passwords = self._passwords()
            path = tree.folder(self._target.iqn)
            self._take_away(found, path)
            self._prepare([lun for lun in self._target.luns if found.luns.get(lun.number) != lun.name])
            self._add(found, passwords)

    def _take_away(self, found: tree.Tree, path: Path) -> None:
        wanted = self._wanted
        for portal in found.portals - wanted.portals:
            lio.remove_portal(path / "np" / portal)
        for initiator, numbers in found.acls.items():
            if initiator not in wanted.acls:
                lio.remove_acl(path / "acls" / initiator)
                continue
            for number in numbers - wanted.acls[initiator]:
                lio.remove_lun(path / "acls" / initiator / f"lun_{number}")
        gone = [n for n, name in found.luns.items() if wanted.luns.get(n) != name]
        backstores = tree.backstores() if gone else {}
        for number in gone:
            for initiator in wanted.acls.keys() & found.acls.keys():
                # One that takes this number over is mapped anew.
                if (mapped := path / "acls" / initiator / f"lun_{number}").is_dir():
                    lio.remove_lun(mapped)
            lio.remove_lun(path / "lun" / f"lun_{number}")
            if found.luns[number] in backstores:
                lio.remove_backstore(backstores[found.luns[number]])

    def _add(self, found: tree.Tree, passwords: Mapping[str, str]) -> None:
        indexes = lio.free_indexes()
        backstores = tree.backstores()
        group = lio.group_of(self._target)
        for lun in self._target.luns:
            if found.luns.get(lun.number) == lun.name:
                lio.set_thin(backstores[lun.name], lun)
                if lun.file is not None and lio.size_mib(backstores[lun.name]) != lun.size_mib:
                    self._make(lun)
                    lio.grow(backstores[lun.name], lun)
                continue
            if lun.name not in backstores:
                lio.add_backstore(lun, self._source(lun), next(indexes))
                backstores = tree.backstores()
            lio.add_lun(group, lun, backstores[lun.name])
        for acl in self._target.acls:
            self._admit(acl, passwords)
        for portal in self._target.portals:
            if str(portal) not in found.portals:
                lio.add_portal(group, portal)

    def _admit(self, acl: Acl, passwords: Mapping[str, str]) -> None:
        path = tree.folder(self._target.iqn)
        lio.add_acl(path, acl, *(passwords.get(f or "") for f in (acl.password_file, acl.target_password_file)))
        have = {n for n, each in tree.numbered(path / "acls" / acl.initiator) if tree.links(each)}
        for lun in self._target.luns:
            if lun.name in acl.luns and lun.number not in have:
                lio.map_lun(path, acl.initiator, lun)

    def _remove(self) -> None:
        """All that there is of the target, also of LUNs that cluster.toml has no more."""
        found = tree.found(self._target.iqn)
        names = {lun.name for lun in self._target.luns}
        if found is not None:
            names |= set(found.luns.values())
            lio.remove_group(tree.folder(self._target.iqn))
        for name, path in tree.backstores().items():
            if name in names:
                lio.remove_backstore(path)

    def _leftovers(self) -> bool:
        return any(lun.name in tree.backstores() for lun in self._target.luns)

    def _source(self, lun: Lun) -> str:
        return self._devices[lun.drbd] if lun.drbd is not None else str(lun.file)

    def _passwords(self) -> dict[str, str]:
        """By the file that each is in."""
        files = {f for acl in self._target.acls for f in (acl.password_file, acl.target_password_file) if f}
        return {file: chap.read(Path(file)) for file in files}

    def _prepare(self, luns: Sequence[Lun]) -> None:
        """The files of ``luns``, and the way for their reservations to the file system that moves with them."""
        if not luns:
            return
        state = Path(self._target.state)
        if not (state / MADE).is_dir():
            state.mkdir(parents=True, exist_ok=True)
            try:
                # The kernel answers an initiator when it has written its reservations, and does not flush them:
                # files that are made in here are written through (chattr(1), S and D).
                run(["chattr", "+SD", state], timeout_s=10)
            except RunError as error:
                raise DriverError(f"target.{self._target.name}: {error.message}") from error
            (state / MADE).mkdir()
        kept = lio.registrations()
        kept.mkdir(parents=True, exist_ok=True)
        for lun in luns:
            name = f"aptpl_{lun.serial}"
            _make_readable(state / name)
            link = kept / name
            if not link.is_symlink() or link.readlink() != state / name:
                link.unlink(missing_ok=True)
                link.symlink_to(state / name)
            if lun.file is not None:
                self._make(lun)

    def _make(self, lun: Lun) -> None:
        _make_file(lun, Path(str(lun.file)), Path(self._target.state) / MADE / lun.name)


def _make_readable(kept: Path) -> None:
    """What the kernel wrote of a disk's reservations, so that it can read it.

    It empties the file before it writes it: one that is empty is of a loss of power in between, and what was in it
    is lost. The type of a reservation it writes in two hexadecimal digits and reads as C writes numbers, in which
    08 is none (target_core_pr.c, target_core_configfs.c).
    """
    try:
        text = kept.read_bytes()
    except FileNotFoundError:
        return
    if not text:
        kept.unlink()
    elif b"res_type=08" in text:
        replace_file(kept, text.replace(b"res_type=08", b"res_type=8"), 0o600)


def _make_file(lun: Lun, path: Path, made: Path) -> None:
    """As large as is wanted; one that was made before and is gone is not made again, for it held data."""
    size = (lun.size_mib or 0) << 20
    was_made = made.exists() and made.read_text() == str(path)
    if was_made and path.exists() and path.stat().st_size == size:
        return
    if was_made and not path.exists():
        raise DriverError(
            f"lun.{lun.name}: {path} is gone, and an empty disk must not take its place",
            hint=f"bring it back, or remove {made} to have an empty one",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            there = os.fstat(handle).st_size
            if there > size:
                raise DriverError(
                    f"lun.{lun.name}: {path} has {there >> 20} MiB, expected no more than {lun.size_mib}"
                )
            if lun.thin:
                os.ftruncate(handle, size)
            elif there < size:
                os.posix_fallocate(handle, 0, size)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise DriverError(f"lun.{lun.name}: {path}: {error.strerror}") from error
    if not was_made:
        replace_file(made, str(path).encode(), 0o600)
