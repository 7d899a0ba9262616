# SPDX-License-Identifier: GPL-2.0-or-later
"""What the DRBD driver does when it is not alone."""

from __future__ import annotations

import pytest

from appliance.config.model import Drbd as Config
from appliance.drivers import drbd as module
from appliance.drivers.base import DriverError
from appliance.drivers.drbd import Drbd
from appliance.drivers.drbd_status import DrbdStatus
from appliance.run import Argument, RunError

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


class Told(Drbd):
    """A kernel in which the resource has this ``role``."""

    def __init__(self, role: str) -> None:
        super().__init__(CONFIG)
        self._role = role
        self.done: list[tuple[Argument, ...]] = []

    def status(self) -> DrbdStatus:
        return DrbdStatus(role=self._role)

    def _run(self, *argv: Argument) -> None:
        self.done.append(argv)


def test_a_new_secret_is_told_to_the_kernel_while_the_resource_is_up() -> None:
    up, down = Told("Primary"), Told("Unconfigured")
    for one in (up, down):
        one.know_peer_by("sha256", "abc")
    options = "--cram-hmac-alg=sha256", "--shared-secret=abc"
    assert up.done == [("drbdadm", "net-options", *options, "shopdata")]
    # It would bring nothing up, but complain.
    assert down.done == []


def test_a_command_that_failed_is_told_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str], timeout_s: float) -> None:  # noqa: ARG001
        said = "Command 'drbdsetup-84 connect shopdata --shared-secret=abcdef' terminated with exit code 10"
        raise RunError(argv, 10, said)

    monkeypatch.setattr(module, "run", fail)
    with pytest.raises(DriverError, match=r"connect shopdata --shared-secret=\(hidden\)' terminated") as failed:
        Drbd(CONFIG).down()
    assert "abcdef" not in str(failed.value)
    # By it the executor knows a program that is still there.
    assert isinstance(failed.value.__cause__, RunError)
