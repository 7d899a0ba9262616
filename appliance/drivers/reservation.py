# SPDX-License-Identifier: GPL-2.0-or-later
"""SCSI-3 persistent reservations (SPC-4, 5.12) by sg_persist(8): of all machines one may write to a shared disk.

A node registers its key and reserves the disk for writes by registrants only (Write Exclusive, Registrants Only).
A successor takes the keys of the others away, so the target itself refuses what they still write, whatever they
believe, and whenever they wake up again.

What if a node stands still in the middle of this, others take over, and it goes on as if nothing had happened?
Every order of the commands is safe, because nothing is written before `take` has returned, and what is written
then is written under a key that had to be there at that moment:

- before it registers, or before it looks who holds the reservation: it finds the successor's, and preempts it. That
  is wrong and costs an outage, but no data: from that command on it is the successor whose writes fail, and who
  stops. The supervisor mounts nothing before the others have heard that it is back, and while one of them holds the
  group.
- between the look and the reserving of a disk that was free: the target refuses, for the successor has it.
- between `take` and the mount, or in it: the successor has taken its key away, so replaying the journal, the first
  thing that a mount writes, fails.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from appliance.config.model import Cluster
from appliance.drivers.base import DriverError
from appliance.run import RunError, run

# SPC-4, table 73, and how sg_persist calls it.
TYPE, TYPE_NAME = 5, "Write Exclusive, registrants only"
# The device has something to tell first, such as "your key was taken away"; the command has to be asked again.
UNIT_ATTENTION = 6
ATTENTIONS = 5
CONFLICT = 24
# What sg_persist ends with when the target does not know a command, or this way of using it (sg3_utils(8)).
UNKNOWN = (5, 9)
COMMAND_S = 60


def key_of(cluster: str, node_id: int) -> int:
    """The reservation key of a node: told apart by cluster (6 bytes of the name's SHA-256) and node (2 bytes)."""
    return int.from_bytes(hashlib.sha256(cluster.encode()).digest()[:6] + node_id.to_bytes(2))


def keys_of(cluster: Cluster) -> dict[int, str]:
    """The workers by their keys."""
    return {key_of(cluster.name, node.id): node.name for node in cluster.workers}


@dataclass(frozen=True)
class Reserved:
    """``keys``: who is registered, each once; ``holder``: whose the reservation is."""

    keys: tuple[int, ...]
    holder: int | None
    type: str = ""


def parse(keys: str, reservation: str) -> Reserved:
    """From what sg_persist prints for --read-keys and for --read-reservation. Raises DriverError."""
    if "PR generation" not in keys or "PR generation" not in reservation:
        raise DriverError(f"sg_persist speaks otherwise than expected: {keys!r}, {reservation!r}")
    listed = [int(key, 16) for key in re.findall(r"^\s+0x([0-9a-f]+)\s*$", keys, re.MULTILINE)]
    holder = re.search(r"Key\s*=\s*0x([0-9a-f]+)", reservation)
    kind = re.search(r"type:\s*(.+?)\s*$", reservation, re.MULTILINE)
    return Reserved(tuple(dict.fromkeys(listed)), int(holder[1], 16) if holder else None, kind[1] if kind else "")


def argv(device: Path, *words: str) -> tuple[str, ...]:
    """Opened for reading only: closing a disk that was open for writing makes udev examine it anew."""
    return ("sg_persist", "--no-inquiry", "--readonly", *words, str(device))


class Reservation:
    """Of the disk ``device`` for the node whose key is ``key``; ``names`` has all keys of this cluster.

    All calls block while the target is away. They raise DriverError.
    """

    def __init__(self, device: Path, key: int, names: Mapping[int, str]) -> None:
        self._device = device
        self._key = key
        self._names = names

    def read(self) -> Reserved:
        keys, reservation = (self._run("--in", what).stdout for what in ("--read-keys", "--read-reservation"))
        return parse(keys, reservation)

    def told(self, found: Reserved | None = None) -> str:
        """``found``, or how it is now, in words."""
        found = found or self.read()
        holder = "nobody" if found.holder is None else self._name(found.holder)
        kind = f" ({found.type})" if found.type not in ("", TYPE_NAME) else ""
        return f"reserved by {holder}{kind}, registered: {self._all(found.keys)}"

    def is_held(self) -> bool:
        """The reservation is this node's, and nobody else is registered."""
        return self._is_ours_alone(self.read())

    def is_registered(self) -> bool:
        """The target knows this very session by this node's key; to be asked when a session has begun anew.

        By rights a key outlives the connection (SPC-4, 5.12.1), but not with all targets: tgt lists it, and refuses
        the writes. Exchanging the key for itself changes nothing, and works only for who is registered. Who is not
        must not just register again while something is mounted: if another node has taken over since one last
        looked, that would be the right to write beside it.
        """
        return self._register("--register", f"--param-rk={self._key:#x}", fine=(CONFLICT,)) != CONFLICT

    def take(self) -> None:
        """Register and reserve; other nodes lose their keys. A stranger's disk is left alone."""
        before = self.read()
        self._refuse_strangers(before)
        self._register("--register-ignore")
        found = self.read()
        self._refuse_strangers(found)
        if found.holder is None:
            self._out("--reserve", f"--param-rk={self._key:#x}", f"--prout-type={TYPE}")
        if self._key in (before.holder, *before.keys):
            # Of a session that was not ended, as by a power cut: this one takes its place.
            self._out("--preempt", *self._of(self._key))
        # With the holder's key goes the reservation, to this node; with the others' only their right to write.
        others = {key for key in (found.holder, *found.keys) if key is not None and key != self._key}
        for key in sorted(others, key=lambda key: key != found.holder):
            self._preempt(key)
        found = self.read()
        if not self._is_ours_alone(found):
            raise DriverError(f"{self._device} could not be reserved: {self.told(found)}")

    def release(self) -> None:
        """Take the own key away, which ends the reservation. Whoever has lost both already needs nothing."""
        self._out("--register", f"--param-rk={self._key:#x}", "--param-sark=0", may_conflict=True)

    def _register(self, *how: str, fine: tuple[int, ...] = ()) -> int:
        words = ("--out", *how, f"--param-sark={self._key:#x}")
        # Kept over a power cut of the target's, where it can do that.
        code = self._run(*words, "--param-aptpl", fine=(*UNKNOWN, *fine)).returncode
        return self._run(*words, fine=fine).returncode if code in UNKNOWN else code

    def _of(self, key: int) -> tuple[str, ...]:
        """Whose place is taken, and how."""
        return (f"--param-rk={self._key:#x}", f"--param-sark={key:#x}", f"--prout-type={TYPE}")

    def _preempt(self, key: int) -> None:
        if self._run("--out", "--preempt-abort", *self._of(key), fine=UNKNOWN).returncode == 0:
            return
        # A target that cannot abort as well, such as tgt: what it has accepted already must end before we go on.
        self._out("--preempt", *self._of(key))
        try:
            run(["sg_reset", "--no-esc", "--device", self._device], timeout_s=COMMAND_S)
        except RunError as error:
            raise DriverError(f"{self._device}: {error.message}") from error

    def _is_ours_alone(self, found: Reserved) -> bool:
        return (found.holder, found.keys, found.type) == (self._key, (self._key,), TYPE_NAME)

    def _refuse_strangers(self, found: Reserved) -> None:
        strangers = [key for key in (found.holder, *found.keys) if key is not None and key not in self._names]
        if strangers:
            raise DriverError(
                f"{self._device} is in use by others: {self.told(found)}; if that is over, clear it: sg_persist "
                f"--out --register-ignore --param-sark=0x1 DISK, sg_persist --out --clear --param-rk=0x1 DISK"
            )

    def _all(self, keys: Iterable[int]) -> str:
        return " and ".join(map(self._name, keys)) or "nobody"

    def _name(self, key: int) -> str:
        return self._names.get(key, f"a stranger with the key {key:#x}")

    def _out(self, *words: str, may_conflict: bool = False) -> None:
        self._run("--out", *words, fine=(CONFLICT,) if may_conflict else ())

    def _run(self, *words: str, fine: Iterable[int] = ()) -> CompletedProcess[str]:
        """sg_persist, asked again while the device has other news first."""
        for _ in range(ATTENTIONS):
            try:
                done = run(argv(self._device, *words), check=False, timeout_s=COMMAND_S)
            except RunError as error:
                raise DriverError(f"{self._device}: {error.message}") from error
            if done.returncode != UNIT_ATTENTION:
                break
        if done.returncode in (0, *fine):
            return done
        if done.returncode == CONFLICT:
            raise DriverError(f"{self._device} is reserved by somebody else, who was quicker")
        said = (done.stderr or done.stdout).strip().splitlines()
        what = f"sg_persist {' '.join(words[:2])} ended with {done.returncode}"
        raise DriverError(f"{self._device}: {what}: {' | '.join(said[-3:])}")
