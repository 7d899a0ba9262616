# SPDX-License-Identifier: GPL-2.0-or-later
"""What machines answer to somebody in their networks who is none of them: the lab's own host, 10.9.1.1."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from appliance.joining.channel import PORT
from appliance.joining.firewall import SET
from appliance.lab import topology
from appliance.lab.inside import interface
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.pair import ROLES, SERVICE_ADDRESS
from appliance.lab.spec import Topology
from appliance.lab.trial import Trial

SCANNER = Path(__file__).parent / "scan.py"
SCAN_S = 300.0
ANSWER_S = 60.0
FEW = 1000
SSH, MARIADB = 22, 3306
ADDRESS = "10.9.1.13"
Answers = dict[str, dict[int, str]]


def scan(lab: Lab, address: str, first: int = 1, last: int = 65535) -> Answers:
    """What answers at ``address`` from outside, on these ports: "tcp" and "udp" -> port -> how."""
    said = lab.run_client([sys.executable, str(SCANNER), address, str(first), str(last)], timeout_s=SCAN_S).stdout
    return {kind: {int(port): how for port, how in ports.items()} for kind, ports in json.loads(said).items()}


def answers_only(lab: Lab, expected: dict[str, set[int]]) -> None:
    """At each address its ports of TCP answer, and no other one.

    A flood may drown an answer, also that of another address on the same two cores: the ports that are to
    answer are asked when it is over, and again until they do.
    """
    with ThreadPoolExecutor(2) as several:
        for address, everywhere in zip(expected, several.map(partial(scan, lab), expected), strict=True):
            assert everywhere["tcp"].keys() <= expected[address], address
            assert everywhere["udp"] == {}, address
    for address, ports in expected.items():
        for port in ports:
            reached = partial(_answers, lab, address, port)
            lab.wait_for(f"an answer of {address}, port {port}", reached, timeout_s=ANSWER_S)


def _answers(lab: Lab, address: str, port: int) -> bool:
    return port in scan(lab, address, port, port)["tcp"]


@pytest.fixture
def blank(machines_of: Callable[..., Topology]) -> Iterator[Machine]:
    """A machine that nobody has set up, with an address all the same."""
    role, machines = ROLES[-1], machines_of(topology.pair)
    alone = replace(
        machines, machines=(topology.machine(role, None),), images={role.image: machines.images[role.image]}
    )
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
    assert scan(lab, ADDRESS, last=FEW) == {"tcp": {}, "udp": {}}
    # As Host.start does; nobody listens there, so it refuses, which is an answer.
    blank.exec(["nft", "add", "element", *SET, f"{{ {PORT} timeout 600s }}"])
    answers_only(lab, {ADDRESS: {PORT}})
    # Without rules everything answers, so the scan would have seen it. The kernel limits refusals of UDP.
    blank.exec(["nft", "delete", "table", *SET[:2]])
    seen = scan(lab, ADDRESS, last=FEW)
    assert len(seen["tcp"]) > FEW / 2
    assert len(seen["udp"]) > 3


def test_a_node_answers_only_where_its_role_needs_it(pair: Trial) -> None:
    active, standby = pair.begin(20)
    addresses = {role.name: f"10.9.1.{role.number}" for role in ROLES}
    expected = {addresses[active.name]: {SSH}, addresses["witness"]: {SSH}, SERVICE_ADDRESS: {SSH, MARIADB}}
    answers_only(pair.lab, expected)
    assert scan(pair.lab, SERVICE_ADDRESS, MARIADB, MARIADB)["tcp"] == {MARIADB: "open"}
    # The database listens on the machine's own addresses as well; it is not there for whoever comes along.
    listening = [line.split()[3] for line in active.exec(["ss", "-Hltn"]).stdout.splitlines()]
    assert f"0.0.0.0:{MARIADB}" in listening
    # The cluster has not suffered from it, and what it says to itself still passes.
    pair.wait_rows(20)
    pair.wait_paired()
    assert standby.name in pair.status()["drbd"][0]["current"]
