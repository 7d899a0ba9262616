# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that the wizard runs on: cards, disks, clock, keyboard."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from appliance.config.model import IPAddress
from appliance.drivers.blank import is_blank
from appliance.errors import PairkeepError
from appliance.firstboot import sntp
from appliance.firstboot.facts import Disk, Facts, Link, lasting_names, read_disks
from appliance.firstboot.given import WITNESS
from appliance.firstboot.network import LinkSettings, network_file
from appliance.run import run

_NET = Path("/sys/class/net")
# Read before what first boot writes, since networkd takes the first file that fits a card.
_TRIAL = "05-pairkeep-trial"
_NETWORKD = Path("/run/systemd/network")
_KEYMAPS = Path("/usr/share/keymaps/i386")
_FENCE_AGENTS = Path("/usr/sbin")
# What each role needs to be in the image.
_ROLES = {"database": Path("/usr/sbin/mariadbd")}
_CARRIER_S = 4.0
# An emulated machine that has just booted, on a busy host, needs half a minute for lsblk.
_PATIENCE_S = 120.0
_LSBLK = "NAME,TYPE,SIZE,MODEL,SERIAL,FSTYPE,LABEL,PTTYPE,MOUNTPOINTS,RO"
_MAC = re.compile(r"(?:[0-9A-Fa-f]{1,2}:){5}[0-9A-Fa-f]{1,2}")


class ThisMachine:
    """A `machine.Machine`."""

    def facts(self) -> Facts:
        """Switches the cards on, for only then do they know whether a cable is plugged in."""
        cards = _cards()
        for name in cards:
            run(["ip", "link", "set", "dev", name, "up"], check=False, timeout_s=_PATIENCE_S)
        own = socket.gethostname()
        return Facts(
            roles=(*(role for role, needs in _ROLES.items() if needs.exists()), WITNESS),
            name="" if own in ("localhost", "debian", "pairkeep") else own,
            links=tuple(Link(name, _read(_NET / name / "address"), _carrier(name)) for name in cards),
            disks=_disks(),
            keyboards=tuple(sorted({path.name.split(".")[0] for path in _KEYMAPS.rglob("*map.gz")})) or ("us",),
            languages=("C.UTF-8", *_languages()),
            fence_agents=tuple(sorted(path.name for path in _FENCE_AGENTS.glob("fence_*"))),
        )

    def carrier(self, link: str) -> bool:
        deadline = time.monotonic() + _CARRIER_S
        while not _carrier(link):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def address_owner(self, link: str, address: IPAddress) -> str | None:
        if address.version == 4:
            # -D: as a machine does before it takes an address (RFC 5227); fails when somebody answers.
            done = run(
                ["arping", "-D", "-c", "2", "-w", "2", "-I", link, str(address)], check=False, timeout_s=_PATIENCE_S
            )
            taken = done.returncode == 1
        else:
            done = run(
                ["ndisc6", "-1", "-r", "2", "-w", "1000", str(address), link], check=False, timeout_s=_PATIENCE_S
            )
            taken = done.returncode == 0
        owner = _MAC.search(done.stdout) if taken else None
        return owner[0].lower() if owner and owner[0].lower() != _read(_NET / link / "address") else None

    def clock_ahead_s(self, server: str) -> float | None:
        return sntp.clock_ahead_s(server)

    def set_clock(self, by_s: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + by_s)

    def use_keyboard(self, layout: str) -> Mapping[str, str]:
        # The first virtual console stands for all; a machine without a screen has none.
        if not Path("/dev/tty1").exists():
            return {}
        done = run(["loadkeys", "--console=/dev/tty1", layout], check=False, timeout_s=_PATIENCE_S)
        return {} if done.returncode == 0 else {"layout": f"loadkeys cannot use it: {done.stderr.strip()[-200:]}"}

    def try_network(self, settings: Sequence[LinkSettings]) -> None:
        self._remove_trial()
        _NETWORKD.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(settings, start=1):
            (_NETWORKD / f"{_TRIAL}-{number}.network").write_text(network_file(one))
        run(["networkctl", "reload"], timeout_s=_PATIENCE_S)

    def restore_network(self) -> None:
        if not self._remove_trial():
            return
        run(["networkctl", "reload"], timeout_s=_PATIENCE_S)
        for name in _cards():
            # What networkd no longer looks after keeps its addresses.
            state = run(["networkctl", "--json=short", "status", name], check=False, timeout_s=_PATIENCE_S)
            with contextlib.suppress(ValueError):
                if json.loads(state.stdout).get("AdministrativeState") == "unmanaged":
                    run(
                        ["ip", "address", "flush", "dev", name, "scope", "global"],
                        check=False,
                        timeout_s=_PATIENCE_S,
                    )

    def _remove_trial(self) -> bool:
        found = list(_NETWORKD.glob(f"{_TRIAL}-*.network"))
        for path in found:
            path.unlink()
        return bool(found)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        # The carrier of a card that is down cannot be read.
        return ""


def _cards() -> list[str]:
    """Those that are hardware, or seem to be."""
    return sorted(path.name for path in _NET.iterdir() if (path / "device").exists())


def _carrier(name: str) -> bool:
    return _read(_NET / name / "carrier") == "1"


def _disks() -> tuple[Disk, ...]:
    listed = run(["lsblk", "--json", "--bytes", "--output", _LSBLK], timeout_s=_PATIENCE_S).stdout
    links = {str(link): link.resolve().name for place in ("by-id", "by-path") for link in _links(place)}
    return tuple(_looked_at(disk) for disk in read_disks(listed, lasting_names(links)))


def _links(place: str) -> Iterator[Path]:
    return Path("/dev/disk", place).glob("*")


def _looked_at(disk: Disk) -> Disk:
    """A disk on which blkid finds nothing may hold data all the same."""
    if disk.content or disk.in_use:
        return disk
    try:
        blank = is_blank(Path(disk.path))
    except (OSError, PairkeepError):
        return replace(disk, in_use="it cannot be read")
    return disk if blank else replace(disk, content="data of an unknown kind")


def _languages() -> list[str]:
    """Locales that the image has besides C.UTF-8."""
    listed = run(["locale", "-a"], check=False, timeout_s=_PATIENCE_S).stdout.split()
    return [name.replace("utf8", "UTF-8") for name in listed if name.endswith("utf8") and name != "C.utf8"]
