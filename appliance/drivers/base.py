# SPDX-License-Identifier: GPL-2.0-or-later
"""What every driver of a resource can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from appliance.errors import PairkeepError

if TYPE_CHECKING:
    from appliance.decide.view import State


class DriverError(PairkeepError):
    """A resource could not be brought where it should be."""


class Driver(Protocol):
    """All calls block. Starting what is started and stopping what is stopped do nothing."""

    def start(self) -> None:
        """Returns when the resource works. Raises DriverError."""

    def stop(self) -> None:
        """Returns when the resource is surely stopped. Raises DriverError when it is not."""

    def state(self) -> State: ...
