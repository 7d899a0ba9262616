# SPDX-License-Identifier: GPL-2.0-or-later
"""First boot on real machines: by keystrokes on the serial line, from a disk, and through power cuts."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from appliance.build import tools
from appliance.build.progress import Progress
from appliance.firstboot.facts import ALIAS
from appliance.firstboot.steps import STEPS
from appliance.lab import topology
from appliance.lab.cluster import boot_all
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.pair import CLUSTER_TOML, ROLES, answers
from appliance.lab.qemu import SERIAL_SOCKET
from appliance.lab.spec import Disk, MachineSpec, Topology
from appliance.lab.trial import running_on
from appliance.run import run
from tests.typist import BACKSPACE, ENTER, RIGHT, Typist, walk

LAB = "wizard"
CARDS = ("enp0s2", "enp0s3")
FORMED_S = 600.0
# With an answers file the cards and the clock are asked before the greeting.
BOOT_S = 900.0
HASH = "$y$j9T$d3fpjs4NUVlPddNO9sJnb1$9Fgoh6NtjI2sGroaMCHrjt6Wzm/9Vq5lJl6dI5IY6D2"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFBhaXJrZWVwIHRlc3Qga2V5LCBub3QgYSByZWFsIG9u alice"


@pytest.fixture(scope="module")
def blank(progress: Progress) -> Topology:
    """The machines of the pair, told nothing."""
    return topology.pair(progress, lambda _: None)


def of(machines: Topology, *chosen: MachineSpec) -> Topology:
    return replace(machines, machines=chosen)


@pytest.fixture
def lab() -> Iterator[Lab]:
    Lab.open(LAB).down()
    with Lab.open(LAB) as lab:
        yield lab


def at(machine: Machine) -> Typist:
    """Somebody at its serial line."""
    line = socket.socket(socket.AF_UNIX)
    # A path that is longer than a socket's address may be is reached through its folder.
    folder = os.open(machine.folder, os.O_PATH)
    try:
        line.connect(f"/proc/self/fd/{folder}/{SERIAL_SOCKET}")
    finally:
        os.close(folder)
    return Typist(machine.name, line)


def set_up(machine: Machine) -> bool:
    return machine.exec(["test", "-e", "/etc/pairkeep/cluster.toml"], check=False).returncode == 0


@pytest.mark.long
def test_two_blank_machines_form_a_pair_by_keystrokes_and_a_code(blank: Topology, lab: Lab) -> None:
    """Nothing but what a person does: Enter on the serial line, answers, the code from one screen to the other."""
    lab.up(of(blank, *blank.machines[:2]), boot=False)
    boot_all(lab)
    with at(lab["alpha"]) as alpha, at(lab["beta"]) as beta:
        for typist, name, number in ((alpha, "alpha", 11), (beta, "beta", 12)):
            typist.sit_down()
            walk(typist, name, {card: f"10.9.{net}.{number}/24" for net, card in enumerate(CARDS, start=1)})
        alpha.answer("Cluster", "", "shop")
        alpha.answer("Fencing", (RIGHT, RIGHT, RIGHT))
        alpha.answer("Service", "10.9.1.100/24", "shop", "shop", "pairkeep-lab")
        code = str(alpha.wait_for(r"Code +([A-Z0-9]{4}-[A-Z0-9]{4})")[1])
        beta.answer("Cluster", RIGHT, "10.9.1.11", "XXXX-XXXX")
        beta.answer("Fencing", "")
        beta.answer("Summary")
        beta.wait_for("the code is wrong; 2 tries are left")
        beta.answer("Cluster", "", "", (*[BACKSPACE] * len(code), code))
        beta.answer("Fencing", "")
        beta.answer("Summary")
        alpha.wait_for("nobody: go on", timeout_s=120)
        alpha.answer("The other machines")
        alpha.answer("Summary")
        for typist in (beta, alpha):
            typist.wait_for("is set up", timeout_s=300)
            typist.type(ENTER)
            typist.wait_for("login:", timeout_s=120)
    lab.wait_for("the service runs", lambda: running(lab["alpha"]), timeout_s=FORMED_S)
    for machine in lab.machines:
        assert machine.read_text("/etc/hostname").strip() == machine.name
        left = machine.exec(["ls", "/var/lib/pairkeep"]).stdout.split()
        assert "setup.json" not in left


def running(machine: Machine) -> bool:
    done = machine.exec(["pairkeep", "status", "--json"], check=False, timeout_s=60)
    return done.returncode == 0 and running_on(json.loads(done.stdout)) is not None


def told(name: str, settings: str = "") -> str:
    """The answers file of the pair's machine ``name``, with settings of its own."""
    role = next(role for role in ROLES if role.name == name)
    head, _, tables = answers(role, CLUSTER_TOML.replace("/dev/disk/by-id/virtio-data", ALIAS)).partition(
        "\n[database]"
    )
    return f"{head}\n{settings}\n[database]{tables}"


def told_since(machine: Machine, so_far: str, words: Sequence[str]) -> tuple[bool, ...]:
    """Which of ``words`` its serial line has shown since it had shown ``so_far``."""
    new = machine.console()[len(so_far) :]
    return tuple(one in new for one in words)


@pytest.mark.long
def test_power_may_go_at_any_step(blank: Topology, lab: Lab) -> None:
    """A cut at each step: the next boot begins again, and in the end all is as one boot would have made it."""
    settings = (
        f'disk = "/dev/disk/by-id/virtio-data"\nwipe = true\npassword_hash = "{HASH}"\nssh_keys = ["{KEY}"]\n'
    )
    lab.up(of(blank, replace(blank.machine("alpha"), answers=told("alpha", settings))))
    alpha, so_far = lab["alpha"], ""
    for number, step in enumerate(STEPS[:-1], start=1):
        begins = f"step {number} of {len(STEPS)}: {step.title}"
        if number > 1:
            alpha.power_on()
        # The last cut may have come too late, after cluster.toml was written: then no step begins any more.
        seen = partial(told_since, alpha, so_far, (begins, " login:"))
        lab.wait_for(f"{begins}, or a login", lambda seen=seen: any(seen()), timeout_s=300, poll_s=0.02)
        alpha.power_off()
        if not seen()[0]:
            break
        so_far = alpha.console()
    alpha.power_on()
    alpha.wait_booted()
    lab.wait_for("alpha is set up", lambda: set_up(alpha), timeout_s=300)
    assert alpha.exec(["stat", "-c", "%a", "/etc/corosync/authkey"]).stdout.strip() == "400"
    assert alpha.exec(["ssh-keygen", "-y", "-f", "/etc/ssh/ssh_host_ed25519_key"]).stdout.startswith("ssh-ed25519 ")
    assert KEY in alpha.read_text("/root/.ssh/authorized_keys")
    assert HASH in alpha.exec(["getent", "shadow", "root"]).stdout
    assert alpha.exec(["readlink", "-f", ALIAS]).stdout.strip() == "/dev/vdb"
    assert alpha.exec(["drbdadm", "show-gi", "shopdata"]).returncode == 0


def cidata(folder: Path, text: str, work: Path, progress: Progress) -> None:
    """A vfat disk labelled CIDATA with ``text`` as its pairkeep.toml, in the machine's folder ``folder``."""
    programs, raw, file = tools.ensure(progress), work / "cidata.raw", work / "pairkeep.toml"
    file.write_text(text)
    with raw.open("wb") as disk:
        disk.truncate(4 << 20)
    for argv in (("mkfs.vfat", "-n", "CIDATA", str(raw)), ("mcopy", "-i", str(raw), str(file), "::pairkeep.toml")):
        run([*programs.argv(argv[0]), *argv[1:]], env=programs.environment(argv[0]))
    folder.mkdir(parents=True)
    run([*programs.argv("qemu-img"), "convert", "-O", "qcow2", str(raw), str(folder / "cidata.qcow2")])


@pytest.mark.long
def test_answers_on_a_disk_that_are_wrong_are_told_on_the_console(
    blank: Topology, lab: Lab, tmp_path: Path, progress: Progress
) -> None:
    """The wizard stays there, with the answers that were good."""
    alpha = replace(blank.machine("alpha"), disks=(*blank.machine("alpha").disks, Disk("cidata", 4)))
    text = (
        '[setup.name]\nname = "alpha"\n[setup.link.enp0s2]\naddress4 = "10.9.1.11/24"\n'
        '[setup.link.enp0s3]\naddress4 = "10.9.2.11/24"\n'
        '[setup.admin]\npassword = "a horse, a boat"\nagain = "a horse, a boat"\n'
        '[setup.cluster]\naction = "create"\nname = "shop"\n[setup.fencing]\nhow = "manual"\n'
        # The lab's own address in that network.
        '[setup.service]\naddress = "10.9.1.1/24"\ndatabase = "shop"\nuser = "shop"\npassword = "pairkeep-lab"\n'
    )
    lab.up(of(blank, alpha), boot=False)
    cidata(lab.folder / "alpha", text, tmp_path, progress)
    lab["alpha"].power_on()
    with at(lab["alpha"]) as typist:
        typist.wait_for("This machine is not set up yet", timeout_s=BOOT_S)
        typist.wait_for(r'service.address: found "10.9.1.1/24",\s+which')
        typist.type(ENTER)
        typist.wait_for("Step .*: Service", timeout_s=300)
        typist.wait_for("which the machine with the card")
        typist.type(*[BACKSPACE] * len("1/24"), "100/24", *[ENTER] * 5)
        typist.wait_for(r"Code +[A-Z0-9]{4}-[A-Z0-9]{4}")
