# SPDX-License-Identifier: GPL-2.0-or-later
"""What `cluster.toml` says of load balancing: virtual services, their real servers, and who has the addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import ClassVar, Literal

Failover = Literal["vrrp", "cluster"]
Protocol = Literal["tcp", "udp", "sctp"]
Forward = Literal["nat", "dr", "tun"]
Tunnel = Literal["ipip", "gue", "gre"]
OnFailure = Literal["remove", "quiesce"]
CheckKind = Literal[
    "none", "connect", "http", "https", "smtp", "dns", "ping", "udp", "script",
    "mysql", "postgresql", "ldap", "ftp", "imap", "pop3", "sip",
]  # fmt: skip

# The two priorities of an instance that says who is preferred. Between them is room for what is tracked.
PREFERRED_PRIORITY, PRIORITY = 150, 100
# How long a director that has returned lets the other one have its addresses, where connections are told: twelve
# times the period after which it hears of each again (overlays/director, sync_refresh_period), for the sake of
# those that have a packet only every minute or so. What it does not know by then is cut.
TOLD_AGAIN_S = 120
# GUE's registered port (RFC draft-ietf-intarea-gue, linux/Documentation/networking/fou).
GUE_PORT = 6080


@dataclass(frozen=True)
class Check:
    """How it is found out whether a real server works.

    It is asked every ``interval_s`` and has ``timeout_s`` to answer. After ``retries`` further failures,
    ``retry_s`` apart, it is down. ``port``: None for the real server's own. The rest is each kind's own:
    ``path``, ``host``, ``status`` (ranges), ``digest`` (MD5 of the page) and ``text`` (a regular expression) of
    http and https; ``query`` and ``record`` of dns; ``send`` and ``expect`` (hexadecimal) of udp; ``command`` of
    script; ``user``, ``password_file`` and ``database`` of what logs in.
    """

    kind: CheckKind = "connect"
    port: int | None = None
    interval_s: float = 5.0
    timeout_s: float = 3.0
    retries: int = 1
    retry_s: float = 1.0
    path: str = "/"
    host: str | None = None
    status: tuple[tuple[int, int], ...] = ((200, 299),)
    digest: str | None = None
    text: str | None = None
    query: str = "."
    record: str = "SOA"
    send: str | None = None
    expect: str | None = None
    command: str | None = None
    user: str | None = None
    password_file: str | None = None
    database: str | None = None


@dataclass(frozen=True)
class Real:
    """A real server of one virtual service, with what the service says for all of them filled in.

    ``port``: 0 where each port of the service goes to the same one here. More than ``upper`` connections are not
    given to it, and after that none before it has fewer than ``lower``; None for no limit. ``stays``: it is never
    taken out, only given the weight 0 (`lvs.drain`).
    """

    name: str
    address: IPv4Address | IPv6Address
    port: int
    forward: Forward
    check: Check
    weight: int = 1
    upper: int | None = None
    lower: int | None = None
    stays: bool = False


@dataclass(frozen=True)
class Sorry:
    """The server that answers while too few real ones do."""

    address: IPv4Address | IPv6Address
    port: int
    forward: Forward


@dataclass(frozen=True)
class Virtual:
    """A virtual service: connections to ``address`` are spread over ``reals``.

    ``port``: 0 for all ports. ``ports``: ranges, for several ports as one service by the firewall mark ``mark``;
    ``port`` is 0 then. ``persistence_s``: a client (or all of its network, ``persistence_prefix``) goes where it
    went within that time. ``failover``: who has the address and the service, keepalived by VRRP or a group of the
    cluster. Fewer than ``quorum`` points of weight, give or take ``hysteresis``, and the service is the ``sorry``
    server's; without one that is told and nothing else. ``trust``: servers count as working before they were asked
    for the first time.
    """

    name: str
    address: IPv4Address | IPv6Address
    port: int
    reals: tuple[Real, ...]
    ports: tuple[tuple[int, int], ...] = ()
    mark: int | None = None
    protocol: Protocol = "tcp"
    failover: Failover = "vrrp"
    forward: Forward = "nat"
    tunnel: Tunnel = "ipip"
    tunnel_port: int = GUE_PORT
    scheduler: str = "wlc"
    flags: tuple[str, ...] = ()
    persistence_s: int | None = None
    persistence_prefix: int | None = None
    persistence_engine: str | None = None
    one_packet: bool = False
    sorry: Sorry | None = None
    quorum: int = 1
    hysteresis: int = 0
    on_failure: OnFailure = "remove"
    trust: bool = False

    def real(self, name: str) -> Real:
        return next(r for r in self.reals if r.name == name)

    @property
    def servers(self) -> tuple[Real | Sorry, ...]:
        """The real servers, and the sorry server where there is one."""
        return (*self.reals, *((self.sorry,) if self.sorry else ()))


@dataclass(frozen=True)
class VirtualService:
    """The resource of a group that is *started* while ``virtual`` is in the kernel and its servers are checked."""

    virtual: str
    start_timeout_s: float = 30.0
    stop_timeout_s: float = 20.0
    on_stop_failure: ClassVar[Literal["fence"]] = "fence"

    @property
    def id(self) -> str:
        return f"virtual:{self.virtual}"


@dataclass(frozen=True)
class TrackedScript:
    """A command that a director has to pass: ``weight`` 0 gives the address up, another changes its priority."""

    command: str
    interval_s: float = 2.0
    timeout_s: float = 2.0
    weight: int = 0
    rise: int = 1
    fall: int = 2


@dataclass(frozen=True)
class Vrrp:
    """Addresses that one director has at a time, as VRRP agrees: one instance.

    ``id`` is the virtual router id. ``network``: where the directors advertise to each other, every ``advert_ms``.
    ``preempt_delay_s``: how long after its return the preferred node takes the addresses back.
    ``together``: instances with the same word are masters on the same director. ``track_networks`` and
    ``track_interfaces``: a lost carrier gives the addresses up, or changes the priority by the interface's weight.
    """

    name: str
    id: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    network: IPv4Network | IPv6Network
    prefer: str | None = None
    advert_ms: int = 1000
    version: int = 3
    preempt: bool = True
    preempt_delay_s: float = 0.0
    unicast: bool = False
    together: str | None = None
    track_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    track_interfaces: Mapping[str, int] = field(default_factory=dict)
    track_services: tuple[str, ...] = ()
    track_scripts: tuple[TrackedScript, ...] = ()

    def priority(self, node: str) -> int:
        return PREFERRED_PRIORITY if node == self.prefer else PRIORITY


@dataclass(frozen=True)
class Director:
    """What all virtual services of a director share.

    ``networks``: those in which directors have addresses besides `Cluster.networks`. ``sync``: directors tell each
    other their connections, in ``sync_network`` (None: the last of `Cluster.networks`). Time-outs of the kernel's
    table, None for its own. ``start_delay_s``: a director that has just started waits so long before VRRP.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    sync: bool = True
    sync_network: IPv4Network | IPv6Network | None = None
    tcp_timeout_s: int | None = None
    tcp_fin_timeout_s: int | None = None
    udp_timeout_s: int | None = None
    start_delay_s: float = 0.0
