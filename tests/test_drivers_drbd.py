# SPDX-License-Identifier: GPL-2.0-or-later
"""What the DRBD driver does when it is not alone."""

from __future__ import annotations

import pytest

from appliance.config.model import Drbd as Config
from appliance.drivers.base import DriverError
from appliance.drivers.drbd import Drbd
from appliance.drivers.drbd_status import DrbdStatus
from appliance.run import Argument

CONFIG = Config("shopdata", "/dev/disk/by-id/virtio-data", link=2, minor=0, port=7788)


class Refused(Drbd):
    """A kernel that refuses to connect; ``then`` is what the connection looks like afterwards."""

    def __init__(self, then: str) -> None:
        super().__init__(CONFIG)
        self._connections = iter(("StandAlone", then))

    def status(self) -> DrbdStatus:
        return DrbdStatus(connection=next(self._connections))

    def _run(self, *argv: Argument) -> None:
        raise DriverError(f"{argv} failed: (102) Local address(port) already in use.")


def test_a_connection_that_somebody_else_took_up_meanwhile_is_as_good() -> None:
    Refused(then="WFConnection").connect()


@pytest.mark.parametrize(("then", "discard"), [("StandAlone", False), ("WFConnection", True)])
def test_a_connection_that_was_not_taken_up_as_wanted_is_an_error(then: str, discard: bool) -> None:
    with pytest.raises(DriverError, match="102"):
        Refused(then).connect(discard=discard)
