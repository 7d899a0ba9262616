# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine that starts from a whole disk by its own firmware, as a user's does: no kernel is handed to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.build import folders
from appliance.build.image import Image
from appliance.build.progress import Progress
from appliance.build.tools import Tools
from appliance.errors import PairkeepError
from appliance.lab import accelerator
from appliance.lab.agent import Agent
from appliance.lab.qemu import AGENT_SOCKET, CONSOLE_LOG, SERIAL_SOCKET, accelerator_arguments
from appliance.lab.spec import BootImage
from appliance.run import MORTAL, run

# Of Debian's ovmf: code and variables. "secure" is UEFI with Microsoft's keys, which starts only what is signed.
FIRMWARE: Mapping[str, tuple[str, str] | None] = {
    "bios": None,
    "uefi": ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    "secure": ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
}
# What the disk and the network card are attached to. "pc" is what VirtualBox and older machines have.
HARDWARE: Mapping[str, tuple[str, ...]] = {
    "virtio": (*("-device", "virtio-blk-pci,drive=disk,bootindex=1"), *("-device", "virtio-net-pci,netdev=net")),
    "pc": (*("-device", "ide-hd,drive=disk,bootindex=1"), *("-device", "e1000,netdev=net,romfile=")),
}
MEMORY_MIB = 768
_DISK = "disk.qcow2"
_VARIABLES = "variables.fd"


@dataclass(frozen=True)
class DiskMachine:
    """A running machine whose files, ``console.log`` among them, are in ``folder``."""

    folder: Path
    process: subprocess.Popen[bytes]
    started: float

    def console(self) -> str:
        """What it has printed on its serial line."""
        return (self.folder / CONSOLE_LOG).read_text(errors="replace")

    def busy_s(self) -> float:
        """The processor time that it has taken since its start, which says more than a clock on a busy host."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait(self, what: str, reached: Callable[[], bool], timeout_s: float) -> float:
        """Wait until ``reached()``, for ``timeout_s`` from now; returns the seconds since the machine's start.

        Raises PairkeepError when the time ran out or the machine ended.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if reached():
                return time.monotonic() - self.started
            if self.process.poll() is not None:
                raise PairkeepError(f"QEMU ended: {(self.folder / 'qemu.log').read_text().strip()}")
            time.sleep(0.2)
        last = "\n".join(self.console().splitlines()[-15:])
        raise PairkeepError(f"not within {timeout_s:g} s: {what}; the last that was printed:\n{last}")

    def wait_printed(self, text: str, timeout_s: float) -> float:
        """Wait until ``text`` stands on the serial line."""
        return self.wait(f"{text!r} on the serial line", lambda: text in self.console(), timeout_s)

    def exec(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> str:
        """What a program prints that is run in the machine as root, by way of the guest agent.

        Raises PairkeepError when the agent is silent or the program does not end with 0.
        """

        async def ask() -> str:
            # By way of a descriptor: the full name may be longer than a socket's may (unix(7)).
            descriptor = os.open(self.folder, os.O_PATH)
            agent = Agent(self.folder.name, Path(f"/proc/self/fd/{descriptor}/{AGENT_SOCKET}"))
            try:
                ended = await agent.run(argv, stdin=None, timeout_s=timeout_s)
            finally:
                agent.close()
                os.close(descriptor)
            said = ended.stdout.decode(errors="replace")
            if ended.returncode != 0:
                error = ended.stderr.decode(errors="replace")
                raise PairkeepError(f"{' '.join(argv)} ended with {ended.returncode}: {error or said}")
            return said

        return asyncio.run(ask())


def argv(tools: Tools, accelerated_by: str, firmware: str, hardware: str) -> tuple[str, ...]:
    """The words that start the machine; file names are relative to its folder."""
    files = FIRMWARE[firmware]
    flash: tuple[str, ...] = ()
    machine = "q35" if hardware == "virtio" else "pc"
    if files is not None:
        code = tools.path(f"usr/share/OVMF/{files[0]}")
        flash = (
            *("-drive", f"if=pflash,format=raw,readonly=on,file={code}"),
            *("-drive", f"if=pflash,format=raw,file={_VARIABLES}"),
        )
    if firmware == "secure":
        # Only the firmware itself, in system management mode, may write its variables.
        machine += ",smm=on"
        flash = ("-global", "driver=cfi.pflash01,property=secure,value=on", *flash)
    return (
        *tools.qemu_argv(),
        *("-machine", machine, *accelerator_arguments(accelerated_by)),
        *("-smp", "1", "-m", f"{MEMORY_MIB}M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "std"),
        *flash,
        *("-blockdev", f"driver=qcow2,node-name=disk,file.driver=file,file.filename={_DISK},cache.no-flush=on"),
        *("-netdev", "user,id=net,restrict=on"),
        *HARDWARE[hardware],
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=agent,path={AGENT_SOCKET},server=on,wait=off"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *("-chardev", f"socket,id=serial,path={SERIAL_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG}"),
        *("-serial", "chardev:serial"),
    )


def accelerator_of(image: Image, tools: Tools, progress: Progress) -> str:
    """The accelerator that works on this host; ``image`` is booted where that has to be found out."""
    boot = BootImage(image.key, image.kernel, image.initrd, image.root)
    return accelerator.choose(tools.qemu_argv(), boot, folders.cache_folder(), progress).accelerator


@contextmanager
def started(
    disk: Path, folder: Path, tools: Tools, accelerated_by: str, *, firmware: str, hardware: str, size_mib: int
) -> Iterator[DiskMachine]:
    """A machine that boots from a copy of the raw ``disk`` that is enlarged to ``size_mib``; ends with the body.

    ``folder`` is made for it and stays. ``firmware`` is one of FIRMWARE, ``hardware`` one of HARDWARE.
    """
    folder.mkdir(parents=True)
    words = ("create", "-q", "-f", "qcow2", "-b", str(disk.resolve()), "-F", "raw", _DISK, f"{size_mib}M")
    run([*tools.argv("qemu-img"), *words], cwd=folder)
    files = FIRMWARE[firmware]
    if files is not None:
        shutil.copyfile(tools.path(f"usr/share/OVMF/{files[1]}"), folder / _VARIABLES)
    with (folder / "qemu.log").open("wb") as log:
        (folder / CONSOLE_LOG).touch()
        process = subprocess.Popen(
            [*MORTAL, *argv(tools, accelerated_by, firmware, hardware)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield DiskMachine(folder, process, time.monotonic())
    finally:
        process.kill()
        process.wait()
