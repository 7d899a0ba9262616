# SPDX-License-Identifier: GPL-2.0-or-later
"""How a network card is set up: as a value, and as the file that systemd-networkd reads."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.config.model import IPAddress, IPInterface


@dataclass(frozen=True)
class LinkSettings:
    """``interface``: a MAC address or a name. ``ra``: takes IPv6 addresses that routers announce."""

    interface: str
    addresses: tuple[IPInterface, ...] = ()
    dhcp: bool = False
    ra: bool = False
    gateways: tuple[IPAddress, ...] = ()
    dns: tuple[IPAddress, ...] = ()

    def merged(self, other: LinkSettings) -> LinkSettings:
        """What both say of the same card."""
        return LinkSettings(
            self.interface,
            self.addresses + other.addresses,
            self.dhcp or other.dhcp,
            self.ra or other.ra,
            self.gateways + other.gateways,
            self.dns + other.dns,
        )


def network_file(settings: LinkSettings) -> str:
    """A systemd.network(5) file."""
    match = "MACAddress" if ":" in settings.interface else "Name"
    lines = [
        "[Match]",
        f"{match}={settings.interface}",
        "",
        "[Network]",
        *(f"Address={address}" for address in settings.addresses),
        *(f"Gateway={gateway}" for gateway in settings.gateways),
        *(f"DNS={server}" for server in settings.dns),
        *(["DHCP=ipv4"] if settings.dhcp else []),
        "LinkLocalAddressing=ipv6",
        f"IPv6AcceptRA={'yes' if settings.ra else 'no'}",
        # Losing the cable must not lose the addresses: corosync and DRBD are bound to them.
        "ConfigureWithoutCarrier=yes",
        "IgnoreCarrierLoss=yes",
        # Nor must a restart of networkd, as its upgrade does, lose what others have added: service addresses, and
        # those of keepalived. Without it networkd drops them when it starts (systemd.network(5)).
        "KeepConfiguration=static",
    ]
    return "\n".join(lines) + "\n"


def merge(settings: tuple[LinkSettings, ...]) -> tuple[LinkSettings, ...]:
    """One for each card, in the order in which they are first named: networkd reads one file for a card."""
    merged: dict[str, LinkSettings] = {}
    for one in settings:
        before = merged.get(one.interface)
        merged[one.interface] = one if before is None else before.merged(one)
    return tuple(merged.values())
