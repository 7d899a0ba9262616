# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor on the system bus. Values cross it as JSON text, so that they can grow without new types."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import dbus
import dbus.service

from appliance.errors import InputError, PairkeepError
from appliance.supervisor.requests import Done

BUS_NAME = "org.pairkeep.Supervisor1"
PATH = "/org/pairkeep/Supervisor1"
INTERFACE = BUS_NAME


class Operations(Protocol):
    """What the bus offers; all raise PairkeepError, InputError when nothing was changed.

    What changes something is done, and ``done`` is told, when all nodes have heard it.
    """

    def status(self) -> dict[str, Any]: ...
    def why(self, group: str) -> dict[str, Any]: ...
    def events(self) -> list[dict[str, Any]]: ...
    def dump(self) -> dict[str, Any]: ...
    def switchover(self, group: str, node: str) -> str: ...
    def standby(self, node: str, on: bool, done: Done) -> None: ...
    def stand_aside(self, node: str, done: Done) -> None: ...
    def maintenance(self, on: bool, done: Done) -> None: ...
    def drain(self, virtual: str, real: str, on: bool, done: Done) -> list[str]: ...
    def cleanup(self, group: str, done: Done) -> None: ...
    def verify(self, drbd: str) -> None: ...
    def confirm_fenced(self, node: str, done: Done) -> None: ...
    def fence(self, node: str, done: Done) -> None: ...
    def recover_force(self, drbd: str, node: str, done: Done) -> None: ...
    def recover_split_brain(self, drbd: str, node: str, done: Done) -> None: ...
    def recover_disk(self, drbd: str, done: Done) -> None: ...
    def preview(self, text: str) -> dict[str, Any]: ...
    def apply(self, text: str, who: str, why: str, unchecked: bool, done: Done) -> None: ...
    def split_brain(self, drbd: str) -> None: ...
    def fence_peer(self, drbd: str, answer: Callable[[int], None]) -> None: ...


class Failure(dbus.DBusException):
    _dbus_error_name = "org.pairkeep.Error.Failed"


class Refusal(dbus.DBusException):
    _dbus_error_name = "org.pairkeep.Error.Refused"


def _on_the_bus(error: PairkeepError) -> dbus.DBusException:
    return (Refusal if isinstance(error, InputError) else Failure)(str(error))


def _translated(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except PairkeepError as error:
        raise _on_the_bus(error) from error


def _later(call: Callable[[Done], None], done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
    """Begin ``call``, which will tell what went wrong or None, and answer then."""

    def ended(error: PairkeepError | None) -> None:
        if error is None:
            done()
        else:
            failed(_on_the_bus(error))

    try:
        call(ended)
    except PairkeepError as error:
        ended(error)


class Api(dbus.service.Object):
    """Exports Operations; keep a reference to it as long as it is to answer."""

    def __init__(self, bus: dbus.Bus, operations: Operations) -> None:
        super().__init__(object_path=PATH, bus_name=dbus.service.BusName(BUS_NAME, bus, do_not_queue=True))
        self._do = operations

    @dbus.service.method(INTERFACE, in_signature="", out_signature="s")
    def Status(self) -> str:
        return json.dumps(_translated(self._do.status))

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="s")
    def Why(self, group: str) -> str:
        return json.dumps(_translated(lambda: self._do.why(str(group))))

    @dbus.service.method(INTERFACE, in_signature="", out_signature="s")
    def Events(self) -> str:
        return json.dumps(_translated(self._do.events))

    @dbus.service.method(INTERFACE, in_signature="", out_signature="s")
    def Dump(self) -> str:
        """The whole view, for a dry run."""
        return json.dumps(_translated(self._do.dump))

    @dbus.service.method(INTERFACE, in_signature="ss", out_signature="s")
    def Switchover(self, group: str, node: str) -> str:
        """An empty ``node`` means the best other one; returns the node's name."""
        return str(_translated(lambda: self._do.switchover(str(group), str(node))))

    @dbus.service.method(INTERFACE, in_signature="sb", out_signature="", async_callbacks=("done", "failed"))
    def Standby(self, node: str, on: bool, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        _later(partial(self._do.standby, str(node), bool(on)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="", async_callbacks=("done", "failed"))
    def StandAside(self, node: str, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Standby, unless another node is or goes first; the status tells."""
        _later(partial(self._do.stand_aside, str(node)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="b", out_signature="", async_callbacks=("done", "failed"))
    def Maintenance(self, on: bool, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        _later(partial(self._do.maintenance, bool(on)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="ssb", out_signature="s", async_callbacks=("done", "failed"))
    def Drain(
        self, virtual: str, real: str, on: bool, done: Callable[[str], None], failed: Callable[[Exception], None]
    ) -> None:
        """An empty ``virtual`` means all; answers with the names of those that were meant."""
        servers: list[str] = []

        def drain(heard: Done) -> None:
            servers.extend(self._do.drain(str(virtual), str(real), bool(on), heard))

        _later(drain, lambda: done(json.dumps(servers)), failed)

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="", async_callbacks=("done", "failed"))
    def Cleanup(self, group: str, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        _later(partial(self._do.cleanup, str(group)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="")
    def Verify(self, drbd: str) -> None:
        _translated(lambda: self._do.verify(str(drbd)))

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="", async_callbacks=("done", "failed"))
    def ConfirmFenced(self, node: str, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        _later(partial(self._do.confirm_fenced, str(node)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="", async_callbacks=("done", "failed"))
    def Fence(self, node: str, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Switch ``node`` off, and on again if that is configured; answers when it is off."""
        _later(partial(self._do.fence, str(node)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="ss", out_signature="", async_callbacks=("done", "failed"))
    def RecoverForce(
        self, drbd: str, node: str, done: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        _later(partial(self._do.recover_force, str(drbd), str(node)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="ss", out_signature="", async_callbacks=("done", "failed"))
    def RecoverSplitBrain(
        self, drbd: str, node: str, done: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        _later(partial(self._do.recover_split_brain, str(drbd), str(node)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="", async_callbacks=("done", "failed"))
    def RecoverDisk(self, drbd: str, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Take up this node's disk again; answers when it is attached."""
        _later(partial(self._do.recover_disk, str(drbd)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="s")
    def Preview(self, text: str) -> str:
        """What another cluster.toml would change."""
        return json.dumps(_translated(lambda: self._do.preview(str(text))))

    @dbus.service.method(INTERFACE, in_signature="sssb", out_signature="", async_callbacks=("done", "failed"))
    def Apply(
        self,
        text: str,
        who: str,
        why: str,
        unchecked: bool,
        done: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Have another cluster.toml in force; answers when all nodes found it good and are told."""
        _later(partial(self._do.apply, str(text), str(who), str(why), bool(unchecked)), done, failed)

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="")
    def SplitBrain(self, drbd: str) -> None:
        """For DRBD's handler: the kernel has found that both copies were changed."""
        self._do.split_brain(str(drbd))

    @dbus.service.method(INTERFACE, in_signature="s", out_signature="i", async_callbacks=("answer", "_failed"))
    def FencePeer(self, drbd: str, answer: Callable[[int], None], _failed: Callable[[Exception], None]) -> None:
        """For DRBD's fence-peer handler: answers with its exit code, when the cluster knows it."""
        self._do.fence_peer(str(drbd), answer)

    @dbus.service.signal(INTERFACE, signature="s")
    def EventHappened(self, event: str) -> None:
        """One event as JSON."""
