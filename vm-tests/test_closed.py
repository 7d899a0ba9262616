# SPDX-License-Identifier: GPL-2.0-or-later
"""What machines answer to somebody in their networks who is none of them: the lab's own host, 10.9.1.1."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.joining.channel import PORT
from appliance.joining.firewall import SET
from appliance.lab.inside import interface
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.pair import ROLES, SERVICE_ADDRESS
from appliance.lab.spec import Topology
from appliance.lab.topology import machine
from appliance.lab.trial import Trial

SCANNER = Path(__file__).parent / "scan.py"
SCAN_S = 300.0
SSH, MARIADB = 22, 3306
ADDRESS = "10.9.1.13"
Answers = dict[str, dict[int, str]]


def scan(lab: Lab, address: str) -> Answers:
    """What answers at ``address`` from outside: "tcp" and "udp" -> port -> how."""
    said = lab.run_client([sys.executable, str(SCANNER), address], timeout_s=SCAN_S).stdout
    return {
        kind: {int(port): how for port, how in ports.items()} for kind, ports in json.loads(said)[address].items()
    }


@pytest.fixture
def blank(machines: Topology) -> Iterator[Machine]:
    """A machine that nobody has set up, with an address all the same."""
    role = ROLES[-1]
    alone = replace(machines, machines=(machine(role, None),), images={role.image: machines.images[role.image]})
    lab = Lab.open("closed")
    lab.down()
    with lab.up(alone):
        lab[role.name].wait_booted()
        card = interface(1)
        lab[role.name].exec(["udevadm", "wait", f"/sys/class/net/{card}"], timeout_s=120)
        for words in (["addr", "add", ADDRESS + "/24"], ["link", "set", "up"]):
            lab[role.name].exec(["ip", *words, "dev", card])
        yield lab[role.name]


def test_before_first_boot_nothing_answers_but_what_the_set_up_opens(blank: Machine) -> None:
    lab = blank.lab
    assert scan(lab, ADDRESS) == {"tcp": {}, "udp": {}}
    # As Host.start does; nobody listens there, so it refuses, which is an answer.
    blank.exec(["nft", "add", "element", *SET, f"{{ {PORT} timeout 600s }}"])
    assert scan(lab, ADDRESS) == {"tcp": {PORT: "closed"}, "udp": {}}
    # And without rules everything answers, so the scan would have seen it. The kernel limits refusals of UDP.
    blank.exec(["nft", "delete", "table", *SET[:2]])
    seen = scan(lab, ADDRESS)
    assert len(seen["tcp"]) > 60000
    assert len(seen["udp"]) > 3


def test_a_node_answers_only_where_its_role_needs_it(pair: Trial) -> None:
    active, standby = pair.begin(20)
    addresses = {role.name: f"10.9.1.{role.number}" for role in ROLES}
    places = (addresses[active.name], addresses["witness"], SERVICE_ADDRESS)
    with ThreadPoolExecutor(2) as several:
        found = dict(zip(places, several.map(lambda place: scan(pair.lab, place), places), strict=True))
    listening = {port for line in active.exec(["ss", "-Hltn"]).stdout.splitlines() for port in [_port(line)]}
    # The database and DRBD do listen on the machine's own addresses; they are not there for whoever comes along.
    assert MARIADB in listening
    for place in places[:2]:
        assert found[place]["tcp"].keys() == {SSH}, place
        assert found[place]["udp"] == {}, place
    assert found[SERVICE_ADDRESS]["tcp"].keys() == {SSH, MARIADB}
    assert found[SERVICE_ADDRESS]["tcp"][MARIADB] == "open"
    assert found[SERVICE_ADDRESS]["udp"] == {}
    # The cluster has not suffered from it, and what it says to itself still passes.
    pair.wait_rows(20)
    pair.wait_paired()
    assert standby.name in pair.status()["drbd"][0]["current"]


def _port(line: str) -> int:
    """The local port of a line of ss(8)."""
    return int(line.split()[3].rpartition(":")[2])
