# SPDX-License-Identifier: GPL-2.0-or-later
"""The pair as a topology: images built, tools found, accelerator chosen."""

from __future__ import annotations

from collections.abc import Callable

from appliance.build import folders, image, tools
from appliance.build.progress import Progress
from appliance.errors import InputError
from appliance.lab import accelerator, snapshots
from appliance.lab.networks import TUN_DEVICE, mac_address, openable
from appliance.lab.pair import DATA_DISK, MANAGEMENT, ROLES, Role, answers, bmc, fenced_answers, unwitnessed
from appliance.lab.spec import BmcSpec, BootImage, Disk, MachineSpec, Network, Nic, Topology
from appliance.run import run

# Network 1 carries the service and the first heartbeat link, and clients are in it; network 2 carries
# DRBD and the second heartbeat link.
NETWORKS = (Network(1, "10.9.1.1/24"), Network(2))
# With BMCs there is a third one for them, in which every machine has a card.
FENCED_NETWORKS = (*NETWORKS, Network(MANAGEMENT, f"10.9.{MANAGEMENT}.1/24"))


def pair(progress: Progress, tell: Callable[[Role], str | None] = answers) -> Topology:
    """Two machines and a witness, each told at first boot what ``tell`` says of its role (None: nothing).

    Builds the images and tools that are missing, and finds out which accelerator works. Raises
    InputError when the host lacks something, before anything is changed.
    """
    return of(progress, NETWORKS, tuple(machine(role, tell(role)) for role in ROLES))


def fenced_pair(progress: Progress, tell: Callable[[Role], str | None] = fenced_answers) -> Topology:
    """As `pair`, but the workers have BMCs, and the cluster fences with them."""
    machines = tuple(machine(role, tell(role), FENCED_NETWORKS, bmc(role)) for role in ROLES)
    return of(progress, FENCED_NETWORKS, machines)


def unwitnessed_pair(progress: Progress) -> Topology:
    """The two workers of `pair` alone, without a witness and without BMCs."""
    workers = [role for role in ROLES if role.data_disk_mib]
    return of(progress, NETWORKS, tuple(machine(role, answers(role, unwitnessed())) for role in workers))


TOPOLOGIES = {"pair": pair, "fenced": fenced_pair}


def of(progress: Progress, networks: tuple[Network, ...], machines: tuple[MachineSpec, ...]) -> Topology:
    """These machines with their images built, tools found and an accelerator chosen."""
    if not openable(TUN_DEVICE):
        raise InputError(
            f"the lab needs {TUN_DEVICE}, and this user cannot open it",
            hint="as root: modprobe tun; chmod 0666 /dev/net/tun (which is Debian's default)",
        )
    programs = tools.ensure(progress)
    cache = folders.cache_folder()
    images = {}
    for name in sorted({machine.image for machine in machines}):
        made = image.ensure(name, progress)
        images[name] = snapshots.pin(BootImage(made.key, made.kernel, made.initrd, made.root), cache / "lab-images")
    qemu = programs.qemu_argv()
    choice = accelerator.choose(qemu, images[machines[0].image], cache, progress)
    return Topology(
        networks=networks,
        machines=machines,
        images=images,
        accelerator=choice.accelerator,
        qemu=qemu,
        qemu_img=programs.argv("qemu-img"),
        qemu_version=run([*qemu, "--version"]).stdout.splitlines()[0],
    )


def machine(
    role: Role, told: str | None, networks: tuple[Network, ...] = NETWORKS, with_bmc: BmcSpec | None = None
) -> MachineSpec:
    """The machine that plays ``role``."""
    return MachineSpec(
        name=role.name,
        image=role.image,
        memory_mib=role.memory_mib,
        nics=tuple(Nic(net.number, mac_address(net.number, role.number)) for net in networks),
        disks=(Disk(DATA_DISK, role.data_disk_mib),) if role.data_disk_mib else (),
        answers=told,
        bmc=with_bmc,
    )
