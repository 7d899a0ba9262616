# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes are never mistaken for others, and accelerators are found by trying."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.build.progress import SILENT
from appliance.errors import InputError
from appliance.lab import accelerator
from appliance.lab.accelerator import Choice
from appliance.lab.process import Process, boot_id, parse_stat
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


def test_a_missing_or_closed_device_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "kvm"
    assert accelerator.probe(["false"], Path("k"), Path("i"), missing).reason == f"there is no {missing}"
