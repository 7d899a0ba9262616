# SPDX-License-Identifier: GPL-2.0-or-later
"""What a director's programs read: keepalived.conf(5), and what the kernel's firewall has to know."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from appliance.config.model import Cluster, IPAddress, IPNetwork, Node
from appliance.config.virtual import Check, Failover, Real, TrackedScript, Virtual, Vrrp

KEEPALIVED = Path("/etc/keepalived")
# One network a line. overlays/director finds the interface of each and writes NAMED.
NETWORKS = KEEPALIVED / "networks"
NAMED = Path("/run/pairkeep/networks.conf")
# The number of the network in which directors tell each other their connections, and the group there.
SYNC = KEEPALIVED / "sync"
# What runs all the time, and what a group of the cluster starts and stops.
MAIN = KEEPALIVED / "keepalived.conf"
VIRTUALS = KEEPALIVED / "virtual"
# Of ours: kinds of checks that keepalived does not have.
CHECK = "/usr/bin/python3 -P -m appliance.health"
# Who runs the programs of checks and of what is tracked, unless it has to be root.
SCRIPT_USER, SCRIPT_GROUP = "nobody", "nogroup"
OWN_CHECKS = ("mysql", "postgresql", "ldap", "ftp", "imap", "pop3", "sip")
# Checks of all servers begin within this time instead of at one moment.
WARM_UP_S = 1.0
# ipvsadm(8), of the sync daemons.
SYNC_PORT = 8848


@dataclass(frozen=True)
class NamedScript:
    """A tracked script as keepalived knows it."""

    name: str
    command: str
    interval_s: float
    timeout_s: float
    weight: int
    rise: int
    fall: int


def is_director(cluster: Cluster, node: Node) -> bool:
    return not node.votes_only and bool(cluster.virtuals or cluster.vrrps)


def own(cluster: Cluster, failover: Failover) -> tuple[Virtual, ...]:
    return tuple(virtual for virtual in cluster.virtuals if virtual.failover == failover)


def values(
    cluster: Cluster, node: Node, virtuals: tuple[Virtual, ...], vrrps: tuple[Vrrp, ...]
) -> dict[str, object]:
    """What keepalived.conf.j2 asks for."""
    groups: dict[str, list[str]] = {}
    for vrrp in vrrps:
        if vrrp.together is not None:
            groups.setdefault(vrrp.together, []).append(vrrp.name)
    return {
        "cluster": cluster,
        "node": node,
        "director": cluster.director,
        "virtuals": virtuals,
        "vrrps": vrrps,
        "together": list(groups.items()),
        "timeouts": _timeouts(cluster),
        "networks_file": NAMED,
        "scripts": scripts,
        "script_user": f"{SCRIPT_USER} {SCRIPT_GROUP}",
        "interface": lambda network: interface(cluster, network),
        "link_address": lambda of, network: of.links[cluster.networks.index(network)],
        "granularity": granularity,
        "check": lambda virtual, real: tuple(check_lines(virtual, real)),
    }


def sync(cluster: Cluster) -> str:
    """The groups are those of ipvsadm(8), and the one like it that passes no router."""
    network = cluster.sync_network
    group = "224.0.0.81" if network.version == 4 else "ff02::81"
    return f"{cluster.directors_networks.index(network) + 1} {group}\n"


def interface(cluster: Cluster, network: IPNetwork) -> str:
    """The name by which keepalived.conf means the interface that is in ``network`` on a node."""
    return f"$NETWORK{cluster.directors_networks.index(network) + 1}"


def _timeouts(cluster: Cluster) -> str:
    director = cluster.director
    said = (
        ("tcp", director.tcp_timeout_s),
        ("tcpfin", director.tcp_fin_timeout_s),
        ("udp", director.udp_timeout_s),
    )
    return " ".join(f"{name} {seconds}" for name, seconds in said if seconds is not None)


def scripts(vrrp: Vrrp) -> tuple[NamedScript, ...]:
    """Scripts and services that ``vrrp`` tracks; a service is asked for at systemd."""
    # A backslash, as in app\x2done.service (systemd-escape(1)), begins an escape of keepalived.conf(5), too.
    units = (unit.replace("\\", "\\\\") for unit in vrrp.track_services)
    asked = tuple(TrackedScript(f"/usr/bin/systemctl is-active --quiet {unit}") for unit in units)
    return tuple(
        NamedScript(f"{vrrp.name}_{number}", s.command, s.interval_s, s.timeout_s, s.weight, s.rise, s.fall)
        for number, s in enumerate((*asked, *vrrp.track_scripts), start=1)
    )


def granularity(virtual: Virtual) -> str:
    """As ipvsadm(8) wants it: a netmask of IPv4, a number of bits of IPv6."""
    if virtual.address.version == 6:
        return str(virtual.persistence_prefix)
    return str(ip_network(f"0.0.0.0/{virtual.persistence_prefix}").netmask)


def check_lines(virtual: Virtual, real: Real) -> Iterator[str]:
    """The checker of one real server."""
    check = real.check
    if check.kind == "none":
        return
    script = check.kind == "script" or check.kind in OWN_CHECKS
    begin = {"connect": "TCP_CHECK", "http": "HTTP_GET", "https": "SSL_GET"}.get(check.kind)
    yield f"{'MISC_CHECK' if script else begin or f'{check.kind.upper()}_CHECK'} {{"
    if script:
        yield f'    misc_path "{command(virtual, real)}"'
        # Whole seconds; the program's own limit, which is finer, comes first.
        yield f"    misc_timeout {math.ceil(check.timeout_s) + 1}"
        if check.password_file is not None:
            # To read it; the program is nobody before it talks to the server.
            yield "    user root"
    else:
        yield f"    connect_timeout {check.timeout_s}"
        if check.port is not None and check.port != real.port:
            yield f"    connect_port {check.port}"
    yield f"    retry {check.retries}"
    yield f"    delay_before_retry {check.retry_s}"
    yield f"    delay_loop {check.interval_s}"
    yield f"    warmup {min(check.interval_s, WARM_UP_S)}"
    yield f"    alpha {'false' if virtual.trust else 'true'}"
    yield from (f"    {line}" for line in _own_lines(check))
    yield "}"


def _own_lines(check: Check) -> Iterator[str]:
    """What only this kind of check has."""
    match check.kind:
        case "http" | "https":
            if check.kind == "https" and check.host is not None:
                yield "enable_sni"
            yield "url {"
            yield f"    path {check.path}"
            yield f"    status_code {' '.join(f'{first}-{last}' for first, last in check.status)}"
            if check.host is not None:
                yield f"    virtualhost {check.host}"
            if check.digest is not None:
                yield f"    digest {check.digest}"
            if check.text is not None:
                yield f'    regex "{pattern(check.text)}"'
            yield "}"
        case "smtp" if check.host is not None:
            yield f"helo_name {check.host}"
        case "dns":
            yield f"type {check.record}"
            yield f"name {check.query}"
        case "udp":
            if check.send is not None:
                yield f"payload {check.send}"
            if check.expect is not None:
                yield f"require_reply {check.expect}"
                yield f"min_reply_length {len(check.expect) // 2}"


def pattern(text: str) -> str:
    """A regular expression that means ``text``, as keepalived.conf has it between quotes, where `\\\\` is `\\`."""
    return re.sub(r"[^A-Za-z0-9 ]", lambda found: f"\\\\x{ord(found[0]):02x}", text)


def command(virtual: Virtual, real: Real) -> str:
    """The program of a check that is one."""
    check = real.check
    if check.command is not None:
        return check.command.replace("%a", str(real.address)).replace("%p", str(check.port or real.port))
    words = [CHECK, check.kind, str(real.address), str(check.port), "--timeout", str(check.timeout_s)]
    for option, value in (
        ("--user", check.user),
        ("--password-file", check.password_file),
        ("--database", check.database),
        ("--host", check.host),
    ):
        if value is not None:
            words += [option, value]
    if virtual.protocol == "tcp" and check.kind == "sip":
        words.append("--tcp")
    return " ".join(words)


@dataclass(frozen=True)
class Mark:
    """Packets to ``address`` and one of ``ports`` get the firewall mark ``mark``."""

    version: int
    address: str
    protocol: str
    ports: str
    mark: int


@dataclass(frozen=True)
class Rules:
    """What nftables lets through for virtual services, and marks.

    ``services``: address, protocol and ports of each, by IP version; ``replies``: the same of servers whose answers
    come back by way of the director.
    """

    services: dict[int, tuple[str, ...]]
    replies: dict[int, tuple[str, ...]]
    marks: tuple[Mark, ...]


# Address and protocol -> ranges of ports.
_Ranges = dict[tuple[IPAddress, str], list[tuple[int, int]]]


def rules(cluster: Cluster) -> Rules:
    services: _Ranges = {}
    replies: _Ranges = {}
    marks = []
    for virtual in cluster.virtuals:
        ranges = virtual.ports or (_range(virtual.port),)
        services.setdefault((virtual.address, virtual.protocol), []).extend(ranges)
        for server in virtual.servers:
            # Answers of servers that are reached otherwise go to the client by themselves.
            if server.forward == "nat":
                own = (_range(server.port),) if server.port else ranges
                replies.setdefault((server.address, virtual.protocol), []).extend(own)
        if virtual.mark is not None:
            listed = ", ".join(map(_ports, virtual.ports))
            marks.append(
                Mark(virtual.address.version, str(virtual.address), virtual.protocol, listed, virtual.mark)
            )
    return Rules(_elements(services), _elements(replies), tuple(marks))


def _range(port: int) -> tuple[int, int]:
    """Port 0 means all of them."""
    return (port, port) if port else (0, 65535)


def _ports(ports: tuple[int, int]) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _elements(found: _Ranges) -> dict[int, tuple[str, ...]]:
    """Elements of sets by IP version. nftables refuses those that overlap."""
    elements: dict[int, list[str]] = {4: [], 6: []}
    for (address, protocol), ranges in found.items():
        end = -1
        for first, last in sorted(ranges, key=lambda r: (r[0], -r[1])):
            if last > end:
                elements[address.version].append(f"{address} . {protocol} . {_ports((max(first, end + 1), last))}")
            end = max(end, last)
    return {version: tuple(each) for version, each in elements.items()}
