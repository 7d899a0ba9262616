# SPDX-License-Identifier: GPL-2.0-or-later
"""What is broken in one machine's hardware: cables, cards and disks, by way of QMP.

It stays broken while the machine is off and on again, since a new cable does not come with the power:
a machine that was fenced boots into the same partition. A restore repairs everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from appliance.errors import InputError, PairkeepError
from appliance.lab.qemu import ROOT_NODE, disk_file, disk_nodes, nic_id
from appliance.lab.spec import MachineSpec

Command = Callable[[str, Mapping[str, object]], Awaitable[Any]]

# Which way a card drops packets, seen from the machine -> the queue of its netdev (QEMU net/filter.c:
# "rx" is what the netdev receives from the card).
DIRECTIONS = {"out": "rx", "in": "tx"}
# What a disk may suffer.
ERRORS, HANG = "errors", "hang"
DISK_FAULTS = (ERRORS, HANG)
_EIO = 5
_UNLIMITED = {f"{what}{which}": 0 for what in ("bps", "iops") for which in ("", "_rd", "_wr")}


class Breakage:
    """The faults of the machine ``spec``; ``command`` is its QMP."""

    def __init__(self, spec: MachineSpec, command: Command) -> None:
        self.unplugged: set[int] = set()
        self.dropped: set[tuple[int, str]] = set()
        self.disks: dict[str, str] = {}
        self._spec = spec
        self._command = command

    def in_words(self) -> list[str]:
        """One short text for each thing that is broken."""
        return [
            *(f"network {number} unplugged" for number in sorted(self.unplugged)),
            *(f"network {number} drops {way}" for number, way in sorted(self.dropped)),
            *(f"disk {node}: {fault}" for node, fault in sorted(self.disks.items())),
        ]

    def forget(self) -> None:
        """Everything is whole: the machine is to be started anew from a snapshot."""
        self.unplugged.clear()
        self.dropped.clear()
        self.disks.clear()

    async def mend_all(self) -> None:
        """Repair everything."""
        for network in tuple(self.unplugged):
            await self.set_link(network, up=True)
        for network, way in tuple(self.dropped):
            await self.set_drop(network, way, on=False)
        for node in tuple(self.disks):
            await self.set_disk(node, None)

    async def break_again(self) -> None:
        """After a new start of QEMU, which knows nothing of it."""
        for network in self.unplugged:
            await self._link(network, up=False)
        for network, way in self.dropped:
            await self._filter(network, way)
        for node, fault in self.disks.items():
            await self._disk(node, fault)

    async def set_link(self, network: int, *, up: bool) -> None:
        """Plug the cable of the card in ``network``, or pull it: the guest sees its carrier come or go."""
        self._check_network(network)
        await self._link(network, up=up)
        (self.unplugged.discard if up else self.unplugged.add)(network)

    async def set_drop(self, network: int, way: str, *, on: bool) -> None:
        """Drop all packets that the machine sends to ``network`` ("out") or gets from it ("in").

        The guest sees nothing of it.
        """
        self._check_network(network)
        if way not in DIRECTIONS:
            raise InputError(f"direction: found {way!r}, expected in or out")
        if on == ((network, way) in self.dropped):
            return
        if on:
            await self._filter(network, way)
            self.dropped.add((network, way))
        else:
            await self._command("object-del", {"id": _drop_id(network, way)})
            await self._command("chardev-remove", {"id": _drop_id(network, way)})
            self.dropped.discard((network, way))

    async def set_disk(self, node: str, fault: str | None) -> None:
        """Let the disk ``node`` suffer ``fault`` (DISK_FAULTS); None repairs it.

        "errors": each read and write ends with an I/O error. "hang": none of them ends.
        """
        if node not in disk_nodes(self._spec) or node == ROOT_NODE:
            raise InputError(f"{self._spec.name} has no data disk {node!r}")
        if fault is not None and fault not in DISK_FAULTS:
            raise InputError(f"disk fault: found {fault!r}, expected one of {', '.join(DISK_FAULTS)}")
        if (present := self.disks.pop(node, None)) is not None:
            await self._mend(node, present)
        if fault is not None:
            await self._disk(node, fault)
            self.disks[node] = fault

    def _check_network(self, network: int) -> None:
        if network not in {nic.network for nic in self._spec.nics}:
            raise InputError(f"{self._spec.name} has no card in network {network}")

    async def _link(self, network: int, *, up: bool) -> None:
        await self._command("set_link", {"name": nic_id(network), "up": up})

    async def _filter(self, network: int, way: str) -> None:
        """A redirector whose other end is a chardev that swallows everything."""
        name = _drop_id(network, way)
        null = {"type": "null", "data": {}}
        await self._command("chardev-add", {"id": name, "backend": null})
        await self._command(
            "object-add",
            {
                "qom-type": "filter-redirector",
                "id": name,
                "netdev": f"net{network}",
                "queue": DIRECTIONS[way],
                "outdev": name,
            },
        )

    async def _disk(self, node: str, fault: str) -> None:
        if fault == HANG:
            # A byte a second: a block of 4 KiB takes more than an hour.
            await self._throttle(node, {**_UNLIMITED, "bps": 1})
        else:
            await self._inject_errors(node)

    async def _mend(self, node: str, fault: str) -> None:
        if fault == HANG:
            await self._throttle(node, _UNLIMITED)
        else:
            await self._reopen(node, await self._node_of(disk_file(node)))
            await self._command("blockdev-del", {"node-name": _errors_id(node)})

    async def _throttle(self, node: str, limits: Mapping[str, int]) -> None:
        for disk in await self._command("query-block", {}):
            if disk.get("inserted", {}).get("node-name") == node:
                await self._command("block_set_io_throttle", {"id": disk["qdev"], **limits})
                return
        raise PairkeepError(f"{self._spec.name}: QEMU knows no disk {node}")

    async def _inject_errors(self, node: str) -> None:
        """Put blkdebug between the disk's format and its file."""
        rules = [
            {"event": "none", "iotype": kind, "errno": _EIO, "once": False, "immediately": True}
            for kind in ("read", "write", "write-zeroes", "discard", "flush")
        ]
        image = await self._node_of(disk_file(node))
        added = {"driver": "blkdebug", "node-name": _errors_id(node), "image": image, "inject-error": rules}
        await self._command("blockdev-add", added)
        await self._reopen(node, _errors_id(node))

    async def _reopen(self, node: str, file: str) -> None:
        """Let the disk ``node`` read and write by way of the node ``file``; all else stays as in qemu.py."""
        nodes = await self._command("query-named-block-nodes", {"flat": True})
        below = next(found.get("backing_file") for found in nodes if found["node-name"] == node)
        backing = {} if below is None else {"backing": await self._node_of(below)}
        options = {"driver": "qcow2", "node-name": node, "file": file, **backing, "discard": "unmap"}
        await self._command("blockdev-reopen", {"options": [{**options, "cache": {"no-flush": True}}]})

    async def _node_of(self, file: str) -> str:
        """QEMU's own name of the node for ``file``: the protocol's if the machine made it, else the format's."""
        driver = "file" if "/" not in file else "qcow2"
        nodes = await self._command("query-named-block-nodes", {"flat": True})
        return next(str(n["node-name"]) for n in nodes if n["drv"] == driver and n["file"] == file)


def _errors_id(node: str) -> str:
    return f"{node}-errors"


def _drop_id(network: int, way: str) -> str:
    return f"drop{network}{way}"
