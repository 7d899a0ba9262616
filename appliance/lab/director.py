# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster of the scenarios of load balancing: two directors, and real servers in a third machine."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from appliance.build.progress import Progress
from appliance.errors import PairkeepError
from appliance.lab import servers, topology
from appliance.lab.inside import interface
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine
from appliance.lab.networks import mac_address
from appliance.lab.pair import KEY, Role
from appliance.lab.spec import Topology
from appliance.lab.trial import Trial

DIRECTORS = ("alpha", "beta")
SERVERS = "servers"
WEB, MAIL = "10.9.1.100", "10.9.1.101"
NUMBERS = (21, 22, 23, 24)
ROLES = (
    Role("alpha", "director", 448, 11),
    Role("beta", "director", 448, 12),
    Role(SERVERS, "director", 320, 13),
)
_UNIT = "pairkeep-lab-servers"
# Long enough to hear twice of every connection (overlays/director, sync_refresh_period), and no two minutes.
PREEMPT_S = 25
# A supervisor that ended so shortly ago may do so again, and what its parent says of that (supervisor/parent.py).
STEADY_S = 20
ENDED = "; the next one starts"
# Machines that have just booted may take long over anything.
SLOW_S = 120.0
_FILE = "/run/pairkeep-lab-servers.py"

CLUSTER_TOML = f"""\
[cluster]
name = "balance"
networks = ["10.9.1.0/24", "10.9.2.0/24"]

[node.alpha]
links = ["10.9.1.11", "10.9.2.11"]

[node.beta]
links = ["10.9.1.12", "10.9.2.12"]

[vrrp.web]
id = 51
addresses = ["{WEB}/24", "{servers.GATEWAY}/24"]
prefer = "alpha"
advert_ms = 1000
preempt_delay_s = {PREEMPT_S}

[vrrp.mail]
id = 52
addresses = ["{MAIL}/24"]
prefer = "beta"
preempt_delay_s = {PREEMPT_S}
"""


def virtual(
    name: str,
    port: int,
    forward: str,
    *,
    address: str = WEB,
    more: str = "",
    real: str = "",
    numbers: tuple[int, ...] = NUMBERS,
) -> str:
    """A `[virtual.NAME]` with these real servers, reached through the network that ``forward`` needs."""
    network = 2 if forward == "nat" else 1
    reals = "".join(f'[[virtual.{name}.real]]\naddress = "10.9.{network}.{number}"\n{real}\n' for number in numbers)
    # A machine that boots beside it can keep a server from answering for seconds; to take it out ends connections.
    check = f'check = {{ kind = "http", port = {servers.PORTS[-1]}, interval_s = 1, timeout_s = 20, retries = 0 }}'
    return (
        f'\n[virtual.{name}]\naddress = "{address}"\nport = {port}\nforward = "{forward}"\nscheduler = "rr"\n'
        f"{check}\n{more}\n{reals}"
    )


SERVICES = (
    virtual("nat", 80, "nat", real="port = 8080")
    + virtual("dr", 81, "dr")
    + virtual("ipip", 82, "tun")
    + virtual("gre", 83, "tun", more='tunnel = "gre"')
    + virtual("gue", 84, "tun", more='tunnel = "gue"')
    + virtual("mail", 80, "dr", address=MAIL)
)


# What scenarios add: several ports as one service, and a service with a sorry server.
MORE = virtual("both", 0, "dr", address=MAIL, more="persistence_s = 300").replace(
    "port = 0\n", "ports = [81, 443]\n", 1
) + virtual("few", 443, "dr", more='sorry = { address = "10.9.1.24" }', numbers=NUMBERS[:2])


def answers(role: Role, cluster_toml: str) -> str | None:
    """What a director is told at its first boot; the real servers' machine is told nothing."""
    if role.name not in DIRECTORS:
        return None
    return (
        f'node = "{role.name}"\n'
        f'cluster_key = "{base64.b64encode(KEY).decode()}"\n'
        f"interfaces = {json.dumps([mac_address(network, role.number) for network in (1, 2)])}\n"
        f"cluster = '''\n{cluster_toml}'''\n"
    )


def directors(progress: Progress, cluster_toml: str = CLUSTER_TOML + SERVICES) -> Topology:
    machines = tuple(topology.machine(role, answers(role, cluster_toml)) for role in ROLES)
    return topology.of(progress, topology.NETWORKS, machines)


def start_servers(lab: Lab) -> None:
    """Let the third machine be the real servers."""
    machine = lab[SERVERS]
    # It is set up as nothing: its firewall is closed, and a wizard waits on its consoles.
    machine.exec(["systemctl", "stop", "--no-block", "pairkeep-setup@*.service"], check=False, timeout_s=SLOW_S)
    machine.exec(["nft", "flush", "ruleset"], timeout_s=SLOW_S)
    for network in (1, 2):
        machine.exec(["ip", "link", "set", interface(network), "up"], timeout_s=SLOW_S)
    machine.exec(["tee", _FILE], stdin=Path(servers.__file__).read_text(), timeout_s=SLOW_S)
    words = ["--cards", interface(1), interface(2), "--addresses", WEB, MAIL, "--", *map(str, NUMBERS)]
    run_it = ["systemd-run", "--quiet", "--collect", f"--unit={_UNIT}", "python3", _FILE, *words]
    machine.exec(run_it, timeout_s=SLOW_S)


def mood(lab: Lab, number: int, mood: str) -> None:
    """Let a real server be "ok", answer "500", or "hang"."""
    lab[SERVERS].exec(["tee", str(servers.MOODS / str(number))], stdin=mood)


def waiting_for(lab: Lab) -> str | None:
    """What a lab that is being formed still lacks, in words."""
    machine = lab[SERVERS]
    if _state(machine, _UNIT) != "active":
        # The agent answers before udev has named the cards, and before the firewall is closed.
        named = machine.exec(["test", "-e", f"/sys/class/net/{interface(2)}"], check=False, timeout_s=SLOW_S)
        if named.returncode or _state(machine, "nftables.service") != "active":
            return "the machine of the real servers still boots"
        start_servers(lab)
    if machine.exec(["test", "-e", str(servers.MOODS / "ready")], check=False, timeout_s=SLOW_S).returncode:
        return "the real servers do not answer yet"
    for name in DIRECTORS:
        if (state := _state(lab[name], "keepalived.service")) != "active":
            return f"keepalived on {name} is {state}"
    if (lacks := _cluster(lab)) is not None:
        return lacks
    masters = {address: holders(lab, address) for address in (WEB, MAIL)}
    if masters != {WEB: ["alpha"], MAIL: ["beta"]}:
        return f"addresses are on {masters}"
    if len(found := spread(lab, WEB, 80, 8)) < len(NUMBERS):
        return f"connections reach {', '.join(map(str, found)) or 'no server'}"
    return None


def _cluster(lab: Lab) -> str | None:
    """What the directors still lack as a cluster. VRRP and services work without it, so nothing else shows it."""
    trial = Trial(lab)
    for name in DIRECTORS:
        status = trial.status(name)
        if not status["quorate"]:
            return f"the supervisor of {name} does not answer, or has no quorum"
        online = [node["name"] for node in status["nodes"] if node["state"] == "online"]
        if online != list(DIRECTORS):
            return f"{name} finds {' and '.join(online) or 'no node'} online"
        if not status["settled"]:
            return f"{name} still has something to do"
        words = ["journalctl", "--unit=pairkeep.service", f"--since=-{STEADY_S}s", "--output=cat"]
        if ENDED in lab[name].exec(words, timeout_s=SLOW_S).stdout:
            return f"the supervisor of {name} does not stay"
    return None


def apply(lab: Lab, text: str) -> subprocess.CompletedProcess[str]:
    """`pairkeep apply` of ``text`` on alpha."""
    lab["alpha"].exec(["tee", "/etc/pairkeep/cluster.toml"], stdin=text)
    words = ["pairkeep", "apply", "--yes", "--why", "a scenario"]
    return lab["alpha"].exec(words, timeout_s=180, check=False)


def _state(machine: Machine, unit: str) -> str:
    return machine.exec(["systemctl", "is-active", unit], check=False, timeout_s=SLOW_S).stdout.strip()


def holders(lab: Lab, address: str) -> list[str]:
    """The directors that have ``address``, of those that answer."""
    found = []
    for name in DIRECTORS:
        with contextlib.suppress(PairkeepError):
            shown = lab[name].exec(["ip", "-oneline", "address", "show", "to", address], timeout_s=10).stdout
            found += [name] if shown.strip() else []
    return found


def fetch(lab: Lab, url: str, *more: str, timeout_s: float = 5.0) -> str:
    """The page, or nothing where none came in time."""
    words = ["curl", "--silent", "--max-time", str(timeout_s), *more, url]
    return lab.run_client(words, check=False, timeout_s=timeout_s + 5).stdout


def spread(lab: Lab, address: str, port: int, count: int, *more: str) -> Counter[str]:
    """How many of ``count`` connections each real server got."""
    urls: Sequence[str] = [f"http://{address}:{port}/?{i}" for i in range(count)]
    words = ["curl", "--silent", "--max-time", "5", "--no-keepalive", "--header", "Connection: close", *more, *urls]
    return Counter(lab.run_client(words, check=False, timeout_s=count * 5 + 10).stdout.split())


class Downloads:
    """Clients that each fetch a page that takes its time; ``finish`` waits for them."""

    def __init__(self, lab: Lab, urls: Sequence[str], most_s: int = 180) -> None:
        words = ("curl", "--silent", "--fail", "--max-time", str(most_s), "--output", "/dev/null")
        self._clients = [lab.popen_client([*words, url]) for url in urls]

    def running(self) -> int:
        return sum(client.poll() is None for client in self._clients)

    def finish(self) -> int:
        """How many of them broke."""
        return sum(client.wait() != 0 for client in self._clients)
