# SPDX-License-Identifier: GPL-2.0-or-later
"""What has been answered so far, read as values: pages that depend on earlier ones, and the outcome, ask here."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface

from appliance.config.model import IPInterface
from appliance.firstboot.facts import Facts, Link, name_of
from appliance.firstboot.fields import Values
from appliance.firstboot.network import LinkSettings

LINK_PAGE = "link."
# What the machine is when nobody has said otherwise: the first that its image offers.
WITNESS = "witness"
# Ways of fencing, as the page calls them, that use devices.
WITH_DEVICES = ("devices", "both", "device")


@dataclass(frozen=True)
class Given:
    """``values``: page key -> field -> what was typed. Nothing in it need be right yet."""

    facts: Facts
    values: Mapping[str, Values] = field(default_factory=dict)

    def get(self, page: str, name: str, default: str = "") -> str:
        return self.values.get(page, {}).get(name, default)

    @property
    def role(self) -> str:
        return self.get("role", "role", self.facts.roles[0])

    @property
    def votes_only(self) -> bool:
        return self.role == WITNESS

    @property
    def name(self) -> str:
        return self.get("name", "name")

    @property
    def creates(self) -> bool:
        return not self.votes_only and self.get("cluster", "action", "create") == "create"

    @property
    def disk(self) -> str:
        """The path of the data disk, as it was chosen; "" for none."""
        return "" if self.votes_only else self.get("disk", "disk")

    @property
    def wipes(self) -> bool:
        """Whether somebody said to erase the data disk.

        What it holds by now does not count: one whose erasing power cut short may look blank, and is not.
        """
        return self.disk != "" and self.get("disk", "wipe") == name_of(self.disk)

    @property
    def fencing(self) -> str:
        return self.get("fencing", "how", "witness" if self.creates else "none")

    @property
    def wants_witness(self) -> bool:
        return self.fencing in ("witness", "both")

    @property
    def has_device(self) -> bool:
        return not self.votes_only and self.fencing in WITH_DEVICES

    def use(self, link: Link) -> str:
        return self.get(f"{LINK_PAGE}{link.name}", "use", self.usual_use(link))

    def usual_use(self, link: Link) -> str:
        """The first two cards are the cluster's: it wants two, and most machines have no more."""
        return "cluster" if self.facts.links.index(link) < 2 else "unused"

    def addresses(self, link: Link) -> tuple[IPInterface, ...]:
        """The fixed addresses of a card, as far as they can be read, the one that heartbeats use first."""
        page, found = f"{LINK_PAGE}{link.name}", []
        for mode, key, usual in (("ipv4", "address4", "static"), ("ipv6", "address6", "none")):
            if self.get(page, mode, usual) == "static":
                with contextlib.suppress(ValueError):
                    found.append(ip_interface(self.get(page, key)))
        return tuple(found)

    @property
    def cluster_links(self) -> tuple[Link, ...]:
        """The cards of the cluster's networks, in the machine's order."""
        return tuple(link for link in self.facts.links if self.use(link) == "cluster")

    @property
    def heartbeats(self) -> tuple[IPInterface, ...]:
        """This machine's address in each of the cluster's networks."""
        return tuple(self.addresses(link)[0] for link in self.cluster_links if self.addresses(link))

    @property
    def networks(self) -> tuple[LinkSettings, ...]:
        """How each card in use is to be set up."""
        return tuple(self._settings(link) for link in self.facts.links if self.use(link) != "unused")

    def _settings(self, link: Link) -> LinkSettings:
        page = f"{LINK_PAGE}{link.name}"
        return LinkSettings(
            interface=link.mac,
            addresses=self.addresses(link),
            dhcp=self.get(page, "ipv4", "static") == "dhcp",
            ra=self.get(page, "ipv6", "none") == "auto",
            gateways=tuple(ip_address(word) for word in self.get(page, "gateway").split()),
            dns=tuple(ip_address(word) for word in self.get(page, "dns").split()),
        )

    @property
    def fence(self) -> dict[str, str | int | bool]:
        """This machine's fence device, the password with it; empty for none."""
        if not self.has_device:
            return {}
        device: dict[str, str | int | bool] = {
            "agent": self.get("fencing", "agent", "fence_ipmilan"),
            "ip": self.get("fencing", "address"),
            "username": self.get("fencing", "user"),
            "password": self.get("fencing", "password"),
        }
        if device["agent"] == "fence_ipmilan":
            # IPMI 2.0: version 1.5 sends the password so that anyone on the network can read it.
            device["lanplus"] = True
        return device
