# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interface is in which network, while cards and addresses come and go; and what keepalived is told of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from appliance.drivers import keepalived
from appliance.render import lvs
from appliance.run import run

PROGRAM = Path(__file__).parent.parent / "overlays/director/usr/lib/pairkeep/name-networks"
# Answers from a table of networks and names, as `ip -oneline address show to NETWORK` does.
IP = """\
#!/bin/sh
while read -r network name; do
    [ "$network" != "$5" ] || echo "2: $name    inet 10.9.0.1/24 scope global $name"
done <"$TABLE"
"""
INSIDE, OUTSIDE = "10.9.1.0/24", "10.9.2.0/24"


class Machine:
    """Its addresses, and the files of its director."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.networks, self.named = folder / "networks", folder / "run/networks.conf"
        self._table = folder / "table"
        self._program = folder / "bin/ip"
        self._program.parent.mkdir()
        self._program.write_text(IP)
        self._program.chmod(0o755)
        self.addresses()
        self.networks.write_text(f"{INSIDE}\n{OUTSIDE}\n")
        monkeypatch.setenv("PATH", f"{self._program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("TABLE", str(self._table))
        monkeypatch.setattr(keepalived, "NAME_NETWORKS", PROGRAM)
        monkeypatch.setattr(lvs, "NETWORKS", self.networks)
        monkeypatch.setattr(lvs, "NAMED", self.named)

    def addresses(self, **cards: str) -> None:
        self._table.write_text("".join(f"{network} {card}\n" for card, network in cards.items()))

    def look(self, seconds: int = 0) -> dict[str, str]:
        run([PROGRAM, self.networks, self.named, str(seconds)])
        lines = [line for line in self.named.read_text().splitlines() if not line.startswith("#")]
        return dict(line.split("=") for line in lines)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_network_without_an_interface_has_a_name_that_no_interface_has(machine: Machine) -> None:
    machine.addresses(eth0=INSIDE)
    assert machine.look() == {"$NETWORK1": "eth0", "$NETWORK2": "none2"}


def test_an_interface_that_has_lost_its_address_keeps_its_place(machine: Machine) -> None:
    """A reload at that moment would take the instance's addresses away."""
    machine.addresses(eth0=INSIDE, eth1=OUTSIDE)
    machine.look()
    machine.addresses(eth0=INSIDE)
    assert machine.look() == {"$NETWORK1": "eth0", "$NETWORK2": "eth1"}
    machine.networks.write_text(f"{OUTSIDE}\n{INSIDE}\n")
    assert machine.look() == {"$NETWORK1": "eth1", "$NETWORK2": "eth0"}
    machine.addresses(eth0=INSIDE, eth7=OUTSIDE)
    assert machine.look() == {"$NETWORK1": "eth7", "$NETWORK2": "eth0"}


def test_an_interface_that_never_comes_is_waited_for_once(machine: Machine) -> None:
    machine.addresses(eth0=INSIDE)
    began = time.monotonic()
    machine.look(2)
    assert time.monotonic() - began >= 1
    began = time.monotonic()
    machine.look(30)
    assert time.monotonic() - began < 5


def test_keepalived_is_told_when_a_missing_interface_is_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(keepalived, "take_up", lambda: told.append(machine.named.read_text()))
    keepalived.find_networks()
    machine.addresses(eth0=INSIDE)
    machine.look()
    keepalived.find_networks()
    assert told == []
    machine.addresses(eth0=INSIDE, eth1=OUTSIDE)
    keepalived.find_networks()
    assert len(told) == 1
    assert "$NETWORK2=eth1" in told[0]
    keepalived.find_networks()
    assert len(told) == 1


@pytest.mark.parametrize(("in_use", "said"), [([INSIDE], 1), ([INSIDE, OUTSIDE], 0)])
def test_a_new_network_needs_an_interface_and_one_in_use_may_have_lost_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_use: list[str], said: int
) -> None:
    """Otherwise nothing could be changed any more while a card is gone."""
    program = tmp_path / "bin/keepalived"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(keepalived, "PATH", str(program.parent))
    machine.addresses(eth0=INSIDE)
    monkeypatch.setattr(lvs, "KEEPALIVED", tmp_path)
    wanted = {machine.networks: machine.networks.read_text(), tmp_path / "keepalived.conf": "global_defs {\n}\n"}
    machine.networks.write_text("".join(f"{network}\n" for network in in_use))
    assert (
        list(keepalived.complaints(wanted))
        == [f"no interface of this machine has an address in {OUTSIDE}, where directors need one"][:said]
    )
