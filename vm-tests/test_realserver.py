# SPDX-License-Identifier: GPL-2.0-or-later
"""Real servers for real: a client, a director and servers as namespaces of one machine, and the image by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from appliance.build.progress import Progress
from appliance.config.realserver_file import parse
from appliance.lab import topology
from appliance.lab.inside import interface
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.pair import Role
from appliance.lvs.script import script

LAB = "vm-tests-realserver"
# Machines without KVM, on a busy host.
SLOW_S = 180.0
SERVICE, SERVICE6 = "10.9.1.100", "[fd00:9::100]"
BOTH = {4: (SERVICE, ("10.9.1.21", "10.9.1.22")), 6: (SERVICE6, ("[fd00:9::21]", "[fd00:9::22]"))}
# Beside the client, the director and two servers in one network there is one behind the director, in another.
SETUP = """\
set -e
nft flush ruleset
for bridge in lan back; do ip link add $bridge type bridge; ip link set $bridge up; done
host() { # NAME BRIDGE ADDRESS...
    name=$1 bridge=$2
    shift 2
    ip netns add $name 2>/dev/null || true
    ip -n $name link set lo up
    ip link add $name-$bridge type veth peer name $bridge netns $name
    ip link set $name-$bridge master $bridge up
    ip -n $name link set $bridge up
    for address; do
        case $address in *:*) ip -n $name address add $address dev $bridge nodad ;; *)
            ip -n $name address add $address dev $bridge ;; esac
    done
}
host client lan 10.9.1.1/24 fd00:9::1/64
host director lan 10.9.1.11/24 fd00:9::11/64 10.9.1.100/32 fd00:9::100/128
host director back 10.9.2.11/24
host rs1 lan 10.9.1.21/24 fd00:9::21/64
host rs2 lan 10.9.1.22/24 fd00:9::22/64
host rs3 back 10.9.2.23/24
ip netns exec director sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip netns exec director sysctl -qw net.ipv4.conf.all.send_redirects=0
modprobe ip_vs
for server in rs1 rs2 rs3; do
    mkdir -p /run/www/$server
    echo $server >/run/www/$server/name
    systemd-run --quiet --collect --unit=www-$server --working-directory=/run/www/$server \
        ip netns exec $server python3 -m http.server --bind :: 80
done
"""
# What the driver does as a group's resource or for the image, in the namespace of one server.
DRIVE = """\
import sys
from pathlib import Path
from appliance.config.realserver_file import parse
from appliance.drivers.realserver import RealServerDriver

for server in parse(Path(sys.argv[1]).read_text()):
    driver = RealServerDriver(server, kept=Path(sys.argv[1] + ".kept"))
    print(getattr(driver, sys.argv[2])() or "done")
"""
FETCH = """\
import sys, urllib.request
for _ in range(int(sys.argv[2])):
    try:
        print(urllib.request.urlopen(f"http://{sys.argv[1]}/name", timeout=3).read().decode().strip())
    except OSError:
        print("nothing")
"""
DIRECT = f"""\
[realserver.web]
forwarding = "dr"
addresses = ["{SERVICE}", "{SERVICE6.strip("[]")}"]
"""
# By the version of what is outside and inside.
TUNNELS = {
    version: f"""\
[realserver.web]
forwarding = "tun"
tunnel = "KIND"
network = "{network}"
addresses = ["{address}"]
"""
    for version, network, address in ((4, "10.9.1.0/24", SERVICE), (6, "fd00:9::/64", SERVICE6.strip("[]")))
}
BEHIND = """\
[realserver.web]
forwarding = "nat"
network = "10.9.2.0/24"
gateway = "10.9.2.11"
"""


class Hosts:
    """The namespaces of ``machine``."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def run(self, host: str, *words: str, check: bool = True) -> str:
        argv = ["ip", "netns", "exec", host, *words]
        return self._machine.exec(argv, timeout_s=SLOW_S, check=check).stdout

    def drive(self, host: str, text: str, word: str) -> str:
        file = f"/run/{host}.toml"
        self._machine.exec(["tee", file], stdin=text)
        return self.run(host, "python3", "-P", "-c", DRIVE, file, word).strip()

    def fetch(self, address: str, count: int) -> Counter[str]:
        return Counter(self.run("client", "python3", "-c", FETCH, address, str(count)).split())

    def serve(self, address: str, servers: tuple[str, ...], *how: str) -> None:
        """Have the director spread connections in turn."""
        self.run("director", "ipvsadm", "-A", "-t", f"{address}:80", "-s", "rr")
        for server in servers:
            self.run("director", "ipvsadm", "-a", "-t", f"{address}:80", "-r", f"{server}:80", *how)

    def who_answers_arp(self) -> set[str]:
        """The hardware addresses that a question for the service address brings, three times."""
        self.run("client", "ip", "neigh", "flush", "all")
        said = self.run("client", "arping", "-c", "3", "-I", "lan", SERVICE)
        return {line.split("[")[1].split("]")[0].lower() for line in said.splitlines() if "[" in line}

    def director_s_card(self) -> str:
        return self.run("director", "cat", "/sys/class/net/lan/address").strip()


@pytest.fixture(scope="module")
def machine(progress: Progress) -> Iterator[Machine]:
    Lab.open(LAB).down()
    one = topology.machine(Role("hosts", "director", 384, 11), None)
    with Lab.open(LAB).up(topology.of(progress, topology.NETWORKS, (one,))) as lab:
        lab["hosts"].wait_booted(600)
        lab["hosts"].exec(["sh", "-c", SETUP], timeout_s=SLOW_S)
        yield lab["hosts"]


@pytest.fixture
def hosts(machine: Machine) -> Iterator[Hosts]:
    found = Hosts(machine)
    yield found
    found.run("director", "ipvsadm", "-C")


@pytest.mark.long
def test_only_the_director_answers_for_a_service_address_and_every_server_serves_it(hosts: Hosts) -> None:
    for host in ("rs1", "rs2"):
        hosts.run(host, "ip", "address", "add", f"{SERVICE}/32", "dev", "lo")
    assert len(hosts.who_answers_arp()) > 1, "without the settings they would all answer"
    for host in ("rs1", "rs2"):
        hosts.run(host, "ip", "address", "delete", f"{SERVICE}/32", "dev", "lo")
    for host in ("rs1", "rs2"):
        assert hosts.drive(host, DIRECT, "start") == "done"
    assert hosts.who_answers_arp() == {hosts.director_s_card()}
    for address, servers in BOTH.values():
        hosts.serve(address, servers)
        assert hosts.fetch(address, 6) == {"rs1": 3, "rs2": 3}
    for host in ("rs1", "rs2"):
        assert hosts.drive(host, DIRECT, "stop") == "done"
        assert SERVICE not in hosts.run(host, "ip", "address", "show")
        assert hosts.run(host, "cat", "/proc/sys/net/ipv4/conf/all/arp_ignore") == "0\n"


@pytest.mark.long
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["ipip", "gre", "gue"])
def test_packets_come_through_a_tunnel_of_each_kind(hosts: Hosts, kind: str, version: int) -> None:
    text = TUNNELS[version].replace("KIND", kind)
    address, servers = BOTH[version]
    more = ("--tun-type", kind, *(("--tun-port", "6080") if kind == "gue" else ()))
    hosts.serve(address, servers, "-i", *more)
    for host in ("rs1", "rs2"):
        assert hosts.drive(host, text, "start") == "done"
        assert hosts.drive(host, text, "state") == "started"
    assert hosts.fetch(address, 6) == {"rs1": 3, "rs2": 3}
    assert hosts.who_answers_arp() == {hosts.director_s_card()}
    for host in ("rs1", "rs2"):
        assert hosts.drive(host, text, "stop") == "done"
        assert hosts.drive(host, text, "state") == "stopped"
        assert "pk-" not in hosts.run(host, "ip", "link", "show")


@pytest.mark.long
def test_answers_behind_nat_go_by_the_director_as_long_as_it_lasts(hosts: Hosts) -> None:
    hosts.serve(SERVICE, ("10.9.2.23",), "-m")
    assert hosts.fetch(SERVICE, 1) == {"nothing": 1}
    assert hosts.drive("rs3", BEHIND, "start") == "done"
    assert hosts.fetch(SERVICE, 3) == {"rs3": 3}
    assert hosts.drive("rs3", BEHIND, "stop") == "done"
    assert hosts.fetch(SERVICE, 1) == {"nothing": 1}


@pytest.mark.long
def test_the_script_for_other_machines_does_the_same(hosts: Hosts, machine: Machine) -> None:
    machine.exec(["tee", "/run/realserver.sh"], stdin=script(parse(DIRECT)))
    hosts.serve(SERVICE, ("10.9.1.21",), "-g")
    hosts.run("rs1", "sh", "/run/realserver.sh", "start")
    assert "no " not in hosts.run("rs1", "sh", "/run/realserver.sh", "status")
    assert hosts.drive("rs1", DIRECT, "state") == "started"
    assert hosts.fetch(SERVICE, 2) == {"rs1": 2}
    assert hosts.who_answers_arp() == {hosts.director_s_card()}
    hosts.run("rs1", "sh", "/run/realserver.sh", "stop")
    assert hosts.drive("rs1", DIRECT, "state") == "stopped"


@pytest.mark.long
def test_the_image_serves_and_keeps_its_addresses_as_its_file_says(progress: Progress) -> None:
    with Lab.open(f"{LAB}-image").up(
        topology.of(progress, topology.NETWORKS, (topology.machine(Role("web", "realserver", 256, 21), None),))
    ) as lab:
        web = lab["web"]
        web.wait_booted(600)
        card = interface(1)
        web.exec(["ip", "address", "add", "10.9.1.21/24", "dev", card])
        web.exec(["ip", "link", "set", card, "up"])
        web.exec(["mkdir", "--parents", "/etc/pairkeep"])
        web.exec(["tee", "/etc/pairkeep/realserver.toml"], stdin=DIRECT + OTHER_WAY)
        web.exec(["systemctl", "start", "pairkeep-realserver.service"], timeout_s=SLOW_S)
        shown = ["pairkeep", "realserver", "status"]
        assert web.exec(shown, timeout_s=SLOW_S).stdout == "web: as it should be\nfar: as it should be\n"
        name = web.exec(["hostname"]).stdout
        page = ["curl", "--silent", "--max-time", "10", "http://10.9.1.21/"]
        assert lab.run_client(page, timeout_s=20).stdout == name
        web.exec(["ip", "address", "delete", f"{SERVICE}/32", "dev", "lo"])
        web.exec(["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0"])
        lab.wait_for(
            "it is put right", lambda: web.exec(shown, check=False, timeout_s=60).returncode == 0, timeout_s=90
        )
        web.exec(["systemctl", "kill", "--signal=KILL", "pairkeep-realserver.service"])
        assert SERVICE in web.exec(["ip", "address", "show", "dev", "lo"]).stdout
        web.exec(["systemctl", "stop", "pairkeep-realserver.service"], timeout_s=SLOW_S)
        assert SERVICE not in web.exec(["ip", "address", "show"]).stdout
        assert "pk-far" not in web.exec(["ip", "link", "show"]).stdout
        assert web.exec(["cat", "/proc/sys/net/ipv4/conf/all/arp_ignore"]).stdout == "0\n"


OTHER_WAY = """\
[realserver.far]
forwarding = "tun"
tunnel = "gue"
network = "10.9.1.0/24"
addresses = ["10.9.1.101"]
"""
