# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine in memory for tests of the wizard, and good answers for each of its pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from appliance.config.model import IPAddress
from appliance.firstboot.facts import Disk, Facts, Link
from appliance.firstboot.network import LinkSettings

GIB = 1 << 30
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFBhaXJrZWVwIHRlc3Qga2V5LCBub3QgYSByZWFsIG9u alice@example.org"
BLANK = "/dev/disk/by-id/virtio-data"
FACTS = Facts(
    roles=("database", "witness"),
    name="",
    links=(
        Link("enp0s2", "52:54:00:09:01:0b", carrier=True),
        Link("enp0s3", "52:54:00:09:02:0b", carrier=True),
        Link("enp0s4", "52:54:00:09:03:0b", carrier=True),
    ),
    disks=(
        Disk("/dev/disk/by-id/virtio-root", "QEMU HARDDISK", "root", 2 * GIB, "ext4", "mounted on /"),
        Disk(BLANK, "QEMU HARDDISK", "data", 8 * GIB),
        Disk(
            "/dev/disk/by-id/ata-WDC_WD40_WX12", "WDC WD40EFRX", "WX12", 4000 * 10**9, "2 partitions (ntfs, ext4)"
        ),
        Disk("/dev/disk/by-id/usb-Stick_0815", "Stick", "0815", 64 << 20),
    ),
    keyboards=("us", "uk", "de", "de-latin1", "fr-latin1"),
    languages=("C.UTF-8", "de_DE.UTF-8"),
    fence_agents=("fence_ipmilan",),
)

GOOD: dict[str, dict[str, str]] = {
    "keyboard": {"layout": "de"},
    "role": {"role": "database"},
    "name": {"name": "alpha"},
    "link.enp0s2": {"address4": "10.9.1.11/24", "gateway": "10.9.1.1", "dns": "10.9.1.1"},
    "link.enp0s3": {"ipv4": "none", "ipv6": "static", "address6": "fd00:9:2::11/64"},
    "link.enp0s4": {"use": "other", "ipv4": "dhcp"},
    "trial": {"keep": "keep"},
    "disk": {"disk": BLANK},
    "time": {"servers": "10.9.1.1"},
    "admin": {"password": "a horse, a boat", "again": "a horse, a boat", "keys": KEY},
    "cluster": {"action": "create", "name": "shop"},
    "fencing": {"how": "witness"},
    "service": {"address": "10.9.1.100/24", "database": "shop", "user": "shop", "password": "pairkeep-test"},
}


@dataclass
class ToyMachine:
    """A `machine.Machine` that writes down what was done to it."""

    known: Facts = FACTS
    owners: Mapping[str, str] = field(default_factory=dict)
    ahead_s: Mapping[str, float] = field(default_factory=lambda: {"10.9.1.1": 0.4})
    unplugged: tuple[str, ...] = ()
    done: list[object] = field(default_factory=list)

    def facts(self) -> Facts:
        return self.known

    def carrier(self, link: str) -> bool:
        return link not in self.unplugged

    def address_owner(self, link: str, address: IPAddress) -> str | None:  # noqa: ARG002
        return self.owners.get(str(address))

    def clock_ahead_s(self, server: str) -> float | None:
        return self.ahead_s.get(server)

    def set_clock(self, by_s: float) -> None:
        self.done.append(("clock", by_s))

    def use_keyboard(self, layout: str) -> Mapping[str, str]:
        self.done.append(("keyboard", layout))
        return {}

    def try_network(self, settings: Sequence[LinkSettings]) -> None:
        self.done.append(("network", tuple(settings)))

    def restore_network(self) -> None:
        self.done.append("network restored")
