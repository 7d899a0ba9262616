# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual service as a resource of a group: a keepalived of its own that checks its servers, without VRRP."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from appliance.config.virtual import Virtual
from appliance.drivers.service import ServiceDriver
from appliance.drivers.systemd import Systemd

TABLE = Path("/proc/net/ip_vs")


class VirtualDriver(ServiceDriver):
    """Has started when its keepalived runs and the kernel has the service; what changes there later is drift."""

    def __init__(self, systemd: Systemd, virtual: Virtual, start_timeout_s: float, stop_timeout_s: float) -> None:
        super().__init__(
            systemd, unit(virtual.name), start_timeout_s=start_timeout_s, stop_timeout_s=stop_timeout_s
        )
        self._virtual = virtual

    def _complaint(self) -> str | None:
        complaint = super()._complaint()
        if complaint is None and not is_in(self._virtual, TABLE):
            return f"the kernel does not have {self._virtual.name} yet"
        return complaint


def unit(name: str) -> str:
    """overlays/director has it as a template."""
    return f"pairkeep-virtual@{name}.service"


def is_in(virtual: Virtual, table: Path) -> bool:
    """Whether the kernel's table (ip_vs_ctl.c, ip_vs_info_seq_show) has ``virtual``."""
    if not table.exists():
        return False
    wanted = line(virtual)
    return any(found.split()[:2] == wanted for found in table.read_text().splitlines())


def line(virtual: Virtual) -> list[str]:
    """The first two words of the line of ``virtual`` in that table."""
    if virtual.mark is not None:
        return ["FWM", f"{virtual.mark:08X}"]
    return [virtual.protocol.upper(), f"{_hexadecimal(virtual.address)}:{virtual.port:04X}"]


def _hexadecimal(address: IPv4Address | IPv6Address) -> str:
    return f"[{address.exploded}]" if isinstance(address, IPv6Address) else f"{int(address):08X}"
