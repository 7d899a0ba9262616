# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lab consists of, as values that survive a trip through JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cattrs.preconf.json import make_converter

from appliance.build.layers import key_of
from appliance.errors import InputError

# A tap is called MACHINE-NETWORK, and the kernel allows 15 characters (IFNAMSIZ, linux/if.h).
_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(frozen=True)
class BootImage:
    """The files of one image: a kernel and initrd that are started directly, and a root disk.

    ``root`` is a raw whole-disk file system; machines write to an overlay, never to it. ``key`` names
    the content of all three.
    """

    key: str
    kernel: Path
    initrd: Path
    root: Path


@dataclass(frozen=True)
class Disk:
    """A blank data disk; the guest finds it as ``/dev/disk/by-id/virtio-SERIAL``."""

    serial: str
    size_mib: int


@dataclass(frozen=True)
class Network:
    """A bridge; ``host_address`` ("10.9.1.1/24") is what programs of the host have there, or None."""

    number: int
    host_address: str | None = None


@dataclass(frozen=True)
class Nic:
    """A machine's plug in the network ``network``."""

    network: int
    mac: str


@dataclass(frozen=True)
class BmcSpec:
    """A machine's BMC, which answers IPMI at ``address`` in the network ``network``."""

    network: int
    address: str
    user: str
    password: str


@dataclass(frozen=True)
class MachineSpec:
    """One machine. ``image`` is a key of Topology.images; ``answers`` is the text of the systemd
    credential ``pairkeep.toml``, or None for a machine that is not told anything; ``bmc`` is None for
    a machine whose power nobody but the lab can switch.
    """

    name: str
    image: str
    memory_mib: int
    nics: tuple[Nic, ...]
    disks: tuple[Disk, ...] = ()
    answers: str | None = None
    bmc: BmcSpec | None = None


@dataclass(frozen=True)
class Topology:
    """All machines and networks of a lab. ``accelerator`` is "tcg" or "kvm"; ``qemu`` and ``qemu_img``
    are the words that start these programs.
    """

    networks: tuple[Network, ...]
    machines: tuple[MachineSpec, ...]
    images: Mapping[str, BootImage]
    accelerator: str
    qemu: tuple[str, ...]
    qemu_img: tuple[str, ...]
    qemu_version: str = field(default="")

    def __post_init__(self) -> None:
        names = [machine.name for machine in self.machines]
        for name in names:
            if _NAME.fullmatch(name) is None:
                raise InputError(f"machine {name!r}: expected up to 12 small letters and digits")
        if len(set(names)) != len(names):
            raise InputError(f"two machines of one name: {', '.join(names)}")
        numbers = {network.number for network in self.networks}
        for machine in self.machines:
            if machine.image not in self.images:
                raise InputError(f"machine {machine.name}: there is no image {machine.image!r}")
            used = {nic.network for nic in machine.nics} | ({machine.bmc.network} if machine.bmc else set())
            if missing := used - numbers:
                raise InputError(f"machine {machine.name}: there is no network {missing.pop()}")

    def machine(self, name: str) -> MachineSpec:
        """The machine ``name``; raises InputError that names those there are."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise InputError(f"there is no machine {name!r}, expected one of: {known}")

    def key(self) -> str:
        """A short name for all that decides what a cluster formed of this topology is like.

        Paths do not count, contents do: images by their keys, and the accelerator and QEMU's version,
        for a machine saved under one cannot be restored under another.
        """
        values = _CONVERTER.unstructure(self)
        values["images"] = {name: image.key for name, image in self.images.items()}
        del values["qemu"], values["qemu_img"]
        return key_of({"format": 2, **values})

    def dumps(self) -> str:
        """As JSON text, for ``loads``."""
        return json.dumps(_CONVERTER.unstructure(self), indent=1) + "\n"

    @classmethod
    def loads(cls, text: str) -> Topology:
        found: Topology = _CONVERTER.structure(json.loads(text), cls)
        return found


def _converter() -> Any:
    converter = make_converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    return converter


_CONVERTER = _converter()
