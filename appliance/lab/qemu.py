# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of one QEMU machine. All file names are relative to the machine's own folder."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.lab.spec import MachineSpec, Topology

# The files and sockets of a machine, in its folder.
QMP_SOCKET = "qmp.sock"
AGENT_SOCKET = "agent.sock"
SERIAL_SOCKET = "serial.sock"
CONSOLE_LOG = "console.log"
ANSWERS_FILE = "answers.smbios"
ROOT_NODE = "root"

# What of every packet is kept: all headers and the start of what follows.
CAPTURE_BYTES = 192


def disk_nodes(spec: MachineSpec) -> tuple[str, ...]:
    """The names of a machine's disks, the root disk first; their files are NAME.qcow2."""
    return (ROOT_NODE, *(disk.serial for disk in spec.disks))


def disk_file(node: str) -> str:
    return f"{node}.qcow2"


def tap_name(machine: str, network: int) -> str:
    return f"{machine}-{network}"


def nic_id(network: int) -> str:
    """QEMU's name of the card in network ``network``, as ``set_link`` wants it."""
    return f"nic{network}"


def capture_file(network: int, life: int) -> str:
    """The packets of one card; ``life`` counts the starts of the machine, since QEMU begins the file anew."""
    return f"net{network}-{life}.pcap"


def kernel_arguments(accelerator: str) -> str:
    """What the kernel is told. A panic restarts the machine after 10 s, as an appliance's would."""
    words = ["root=/dev/vda", "rw", "console=ttyS0", "panic=10"]
    if accelerator == "tcg":
        # With the TSC the guest's clock leaps when a saved machine is restored under TCG.
        words += ["tsc=unstable", "clocksource=hpet"]
    return " ".join(words)


def accelerator_arguments(accelerator: str) -> tuple[str, ...]:
    if accelerator == "kvm":
        return ("-accel", "kvm", "-cpu", "host")
    return ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max")


def argv(topology: Topology, spec: MachineSpec, *, life: int, incoming: bool) -> tuple[str, ...]:
    """The words that start the machine ``spec``.

    ``incoming``: it waits for ``migrate-incoming`` and then stays paused, instead of booting.
    """
    image = topology.images[spec.image]
    return (
        *topology.qemu,
        *("-name", spec.name),
        *("-machine", "q35,usb=off,sata=off,smbus=off,vmport=off"),
        *accelerator_arguments(topology.accelerator),
        *("-smp", "1", "-m", f"{spec.memory_mib}M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *("-append", kernel_arguments(topology.accelerator)),
        *_channels(),
        *(word for nic in spec.nics for word in _nic(spec.name, nic.network, nic.mac, life)),
        *(word for place, node in enumerate(disk_nodes(spec)) for word in _disk(place, node)),
        *("-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng,addr=0xe"),
        *(() if spec.answers is None else ("-smbios", f"type=11,path={ANSWERS_FILE}")),
        *(("-incoming", "defer", "-S") if incoming else ()),
    )


def _channels() -> Iterator[str]:
    """QMP, the guest agent and the serial line, each a unix socket that QEMU listens on."""
    yield from ("-chardev", f"socket,id=qmp,path={QMP_SOCKET},server=on,wait=off")
    yield from ("-mon", "chardev=qmp,mode=control")
    yield from ("-device", "virtio-serial-pci,id=channels,addr=0xf")
    yield from ("-chardev", f"socket,id=agent,path={AGENT_SOCKET},server=on,wait=off")
    yield from ("-device", "virtserialport,bus=channels.0,chardev=agent,name=org.qemu.guest_agent.0")
    serial = f"socket,id=serial,path={SERIAL_SOCKET},server=on,wait=off"
    yield from ("-chardev", f"{serial},logfile={CONSOLE_LOG},logappend=on", "-serial", "chardev:serial")


def _nic(machine: str, network: int, mac: str, life: int) -> Iterator[str]:
    """A card at a fixed place on the bus: its name in the guest (enp0s2, enp0s3) follows from that."""
    yield from ("-netdev", f"tap,id=net{network},ifname={tap_name(machine, network)},script=no,downscript=no")
    device = f"virtio-net-pci,id={nic_id(network)},netdev=net{network},mac={mac}"
    yield from ("-device", f"{device},addr={hex(network + 1)},romfile=")
    capture = f"filter-dump,id=capture{network},netdev=net{network},maxlen={CAPTURE_BYTES}"
    yield from ("-object", f"{capture},file={capture_file(network, life)}")


def _disk(place: int, node: str) -> Iterator[str]:
    """A disk; its place decides the order of vda, vdb.

    ``no-flush`` spares the host's disk. It loses nothing when QEMU is killed: a flush of the guest still
    hands everything to the host's kernel (QEMU block/io.c, bdrv_co_flush), which outlives QEMU.
    """
    file = f"file.driver=file,file.filename={disk_file(node)}"
    yield from ("-blockdev", f"driver=qcow2,node-name={node},{file},cache.no-flush=on,discard=unmap")
    yield from ("-device", f"virtio-blk-pci,drive={node},serial={node},addr={hex(8 + place)}")
