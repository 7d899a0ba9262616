# SPDX-License-Identifier: GPL-2.0-or-later
"""What the wizard asks of the machine it runs on, and does to it before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from appliance.config.model import IPAddress
from appliance.firstboot.facts import Facts
from appliance.firstboot.network import LinkSettings


class Machine(Protocol):
    """this_machine.ThisMachine is the real one."""

    def facts(self) -> Facts: ...

    def carrier(self, link: str) -> bool:
        """Whether a cable is plugged in; waits for a card that has just been switched on."""

    def address_owner(self, link: str, address: IPAddress) -> str | None:
        """The MAC address of who else has ``address`` in the network of ``link``."""

    def clock_ahead_s(self, server: str) -> float | None:
        """How far this clock is ahead of a time server's, negative for behind; None when it does not answer."""

    def set_clock(self, by_s: float) -> None:
        """Move this clock."""

    def use_keyboard(self, layout: str) -> Mapping[str, str]:
        """Switch the console to ``layout``; faults of the field ``layout``."""

    def try_network(self, settings: Sequence[LinkSettings]) -> None:
        """Set the cards up like this, so that a restart undoes it."""

    def restore_network(self) -> None:
        """Undo ``try_network``."""
