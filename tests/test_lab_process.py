# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes are never mistaken for others, and accelerators are found by trying."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.build.progress import SILENT
from appliance.errors import InputError
from appliance.lab import accelerator
from appliance.lab.accelerator import Choice
from appliance.lab.disk_boot import DiskMachine
from appliance.lab.process import Process, boot_id, parse_stat
from appliance.lab.qemu import AGENT_SOCKET
from appliance.lab.spec import BootImage

IMAGE = BootImage("k", Path("vmlinuz"), Path("initrd"), Path("root.raw"))


def test_a_program_may_be_called_anything() -> None:
    fields = " ".join(str(number) for number in range(4, 53))
    assert parse_stat(f"12 (a) S (b) R {fields}") == ("R", 22)


def test_a_process_is_found_and_ended() -> None:
    program = subprocess.Popen(["sleep", "60"])
    process = Process.find(program.pid)
    assert process is not None
    assert process.alive()
    process.kill()
    assert program.wait(timeout=5) == -9
    assert not process.alive()


def test_another_process_with_its_number_is_left_alone() -> None:
    program = subprocess.Popen(["sleep", "60"])
    process = Process.find(program.pid)
    assert process is not None
    try:
        replace(process, started=process.started - 1).kill()
        replace(process, boot_id="another").kill()
        assert process.alive()
    finally:
        program.kill()
        program.wait()


def test_what_is_gone_needs_no_ending() -> None:
    program = subprocess.Popen(["true"])
    program.wait()
    assert Process.find(program.pid) is None
    Process(program.pid, 1, boot_id()).kill()


def test_the_variable_decides_for_tcg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(accelerator.VARIABLE, "tcg")
    assert accelerator.choose(["false"], IMAGE, tmp_path, SILENT).accelerator == "tcg"


def test_the_variable_may_not_say_anything_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(accelerator.VARIABLE, "xen")
    with pytest.raises(InputError, match="found 'xen', expected tcg or kvm"):
        accelerator.choose(["false"], IMAGE, tmp_path, SILENT)


def test_kvm_on_demand_is_refused_where_it_does_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(accelerator.VARIABLE, "kvm")
    monkeypatch.setattr(accelerator, "probe", lambda *_: Choice("tcg", "it is broken"))
    with pytest.raises(InputError, match="asks for kvm, but it is broken"):
        accelerator.choose(["false"], IMAGE, tmp_path, SILENT)


def test_what_was_found_is_kept_until_the_next_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(accelerator.VARIABLE, raising=False)
    known = {"boot_id": boot_id(), "user": os.geteuid(), "choice": {"accelerator": "kvm", "reason": ""}}
    (tmp_path / accelerator.CACHE_FILE).write_text(json.dumps(known))
    assert accelerator.choose(["false"], IMAGE, tmp_path, SILENT) == Choice("kvm")
    (tmp_path / accelerator.CACHE_FILE).write_text(json.dumps({**known, "boot_id": "an earlier one"}))
    monkeypatch.setattr(accelerator, "probe", lambda *_: Choice("tcg", "it is broken"))
    assert accelerator.choose(["false"], IMAGE, tmp_path, SILENT).accelerator == "tcg"


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("print('Linux version 6'); print('Run /init as init process')", ""),
        ("print('no such device')", "QEMU ended under /dev/kvm with: no such device"),
        ("", "QEMU ended under /dev/kvm with: no word"),
    ],
)
def test_a_trial_boot_is_judged_by_what_it_prints(tmp_path: Path, printed: str, reason: str) -> None:
    device = tmp_path / "kvm"
    device.touch()
    choice = accelerator.probe([sys.executable, "-c", printed], Path("k"), Path("i"), device)
    assert choice == Choice("tcg" if reason else "kvm", reason)


def test_a_trial_boot_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accelerator, "_MARKS", ((b"Linux version", 0.2, "its first line"),))
    device = tmp_path / "kvm"
    device.touch()
    hanging = [sys.executable, "-c", "import time; time.sleep(60)"]
    choice = accelerator.probe(hanging, Path("k"), Path("i"), device)
    assert choice == Choice("tcg", "a kernel did not get to its first line within 0.2 s under /dev/kvm")


# Whoever boots something is killed, and tells nobody.
PROBES = """
import sys
from pathlib import Path
from appliance.lab import accelerator
silent = f"import os, pathlib, time; pathlib.Path({sys.argv[1]!r}).write_text(str(os.getpid())); time.sleep(60)"
accelerator.probe([sys.executable, "-c", silent], Path("k"), Path("i"), Path(sys.argv[2]))
"""
BOOTS = """
import sys, time
from pathlib import Path
from appliance.lab import disk_boot
silent = f"import os, pathlib, time; pathlib.Path({sys.argv[1]!r}).write_text(str(os.getpid())); time.sleep(60)"
disk_boot.run = lambda *_, **__: None
disk_boot.argv = lambda *_: (sys.executable, "-c", silent)
class Tools:
    def argv(self, name):
        return (name,)
folder = Path(sys.argv[2]).with_name("machine")
with disk_boot.started(Path("disk"), folder, Tools(), "tcg", firmware="bios", hardware="virtio", size_mib=1):
    time.sleep(60)
"""


@pytest.mark.parametrize("script", [PROBES, BOOTS], ids=["trial boot", "disk"])
def test_qemu_does_not_outlive_who_started_it(tmp_path: Path, script: str) -> None:
    number, device = tmp_path / "number", tmp_path / "kvm"
    device.touch()
    owner = subprocess.Popen([sys.executable, "-c", script, str(number), str(device)])
    qemu = None
    try:
        deadline = time.monotonic() + 30
        while not (number.exists() and number.read_text()) and owner.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        qemu = Process.find(int(number.read_text()))
        owner.kill()
        owner.wait()
        assert qemu is not None
        while qemu.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not qemu.alive()
    finally:
        owner.kill()
        if qemu is not None:
            qemu.kill()


def test_a_machine_can_be_asked_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """The name of a socket may hold 107 characters."""
    folder = tmp_path / ("checkout-of-somebody-with-long-names" * 3) / "witness-bios"
    folder.mkdir(parents=True)
    server = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_PATH)
    server.bind(f"/proc/self/fd/{descriptor}/{AGENT_SOCKET}")
    os.close(descriptor)
    server.listen()

    def answer() -> None:
        with server.accept()[0] as line, line.makefile("rwb") as lines:
            for asked in lines:
                request = json.loads(asked.rsplit(b"\xff", 1)[-1])
                said: dict[str, Any] = {"return": {"pid": 1, "exited": True, "exitcode": 0, "out-data": "aGk="}}
                if request["execute"] == "guest-sync-delimited":
                    said = {"return": request["arguments"]["id"]}
                lines.write(json.dumps(said).encode() + b"\n")
                lines.flush()

    with server:
        threading.Thread(target=answer, daemon=True).start()
        process: Any = None
        assert DiskMachine(folder, process, 0.0).exec(["echo", "hi"]) == "hi"


def test_a_missing_or_closed_device_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "kvm"
    assert accelerator.probe(["false"], Path("k"), Path("i"), missing).reason == f"there is no {missing}"
