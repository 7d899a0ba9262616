# SPDX-License-Identifier: GPL-2.0-or-later
"""The BMC, asked by pyghmi's own client over loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyghmi.exceptions import IpmiException
from pyghmi.ipmi.command import Command

from appliance.config.load import parse
from appliance.lab.bmc import READY
from appliance.lab.pair import CLUSTER_TOML, ROLES, bmc, fenced, fenced_answers

USER, PASSWORD = "pairkeep", "a password"
# A process of its own, as in the lab: pyghmi keeps sockets and sessions in variables of a class.
SERVER = """
import sys, threading
from pathlib import Path
from appliance.lab.bmc_server import MachineBmc, Trouble, listen, serve

class Power:
    on_ = True
    def is_on(self): return self.on_
    def off(self): self.on_ = False
    def on(self): self.on_ = True
    def reset(self): pass
    def press_button(self): self.on_ = False

MachineBmc(Power(), {"%s": "%s"}, Path(sys.argv[2]), "127.0.0.1", int(sys.argv[1]))
trouble = Trouble()
threading.Thread(target=serve, args=(trouble,), daemon=True).start()
print("ready", flush=True)
listen(trouble)
"""
# RMCP, IPMI 1.5, Get Channel Authentication Capabilities: what every client asks first.
GREETING = bytes.fromhex("0600ff07000000000000000000092018c88100388e04b5")


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", SERVER % (USER, PASSWORD), str(port), str(tmp_path / "bmc.log")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline().strip() == READY
        yield program
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(5) == 0


def test_power_is_switched_and_told_and_written_down(
    server: subprocess.Popen[str], port: int, tmp_path: Path
) -> None:
    assert server.poll() is None
    client = Command("127.0.0.1", USER, PASSWORD, port=port)
    assert client.get_power() == {"powerstate": "on"}
    assert client.set_power("off", wait=5) == {"powerstate": "off"}
    # What is off already is off: a second request is no mistake.
    assert client.set_power("off", wait=5) == {"powerstate": "off"}
    with pytest.raises(IpmiException, match="not supported in present state"):
        client.set_power("reset")
    assert client.set_power("on", wait=5) == {"powerstate": "on"}
    client.ipmi_session.logout()
    asked = [json.loads(line)["asked"] for line in (tmp_path / "bmc.log").read_text().splitlines()]
    assert [word for word in asked if word != "status"] == ["off", "on"]


def test_a_mute_bmc_answers_nothing_and_forgets_what_it_was_asked(server: subprocess.Popen[str], port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        assert _answered(client)
        _tell(server, mute=True)
        assert not _answered(client)
        _tell(server, mute=False)
        assert _answered(client)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_a_slow_bmc_takes_its_time_over_each_packet(server: subprocess.Popen[str], port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        _tell(server, delay_s=0.4)
        began = time.monotonic()
        assert _answered(client)
        assert time.monotonic() - began >= 0.4


def test_many_clients_are_served_and_forgotten(server: subprocess.Popen[str], port: int) -> None:
    assert server.poll() is None
    for _ in range(200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            assert _answered(client)


def test_only_the_workers_have_bmcs_and_each_can_fence_the_other() -> None:
    assert [role.name for role in ROLES if bmc(role)] == ["alpha", "beta"]
    told = fenced_answers(ROLES[0])
    assert '"fence-beta.password" = ' in told
    assert 'address = "10.9.3.11/24"' in told
    assert 'ip = "10.9.3.112"' in told
    assert fenced().count("fence_ipmilan") == 2
    # Nothing else is different.
    parse(CLUSTER_TOML)
    plain = [line for line in fenced().splitlines() if not line.startswith("fence = ")]
    assert plain == CLUSTER_TOML.splitlines()


def _answered(client: socket.socket) -> bool:
    client.settimeout(1.5)
    client.send(GREETING)
    try:
        return len(client.recv(100)) > 20
    except TimeoutError:
        return False


def _tell(server: subprocess.Popen[str], **trouble: object) -> None:
    assert server.stdin is not None
    server.stdin.write(json.dumps(trouble) + "\n")
    server.stdin.flush()
    time.sleep(0.2)
