# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's table of virtual services as values, and what ipvsadm(8) prints of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal

from appliance.config.model import IPAddress
from appliance.errors import PairkeepError

Protocol = Literal["tcp", "udp", "sctp", "mark"]
Forwarding = Literal["nat", "dr", "tun"]

# Words of `ipvsadm -S`, which prints what `ipvsadm -R` reads (ipvsadm(8)).
_PROTOCOLS: dict[str, Protocol] = {"-t": "tcp", "-u": "udp", "--sctp-service": "sctp", "-f": "mark"}
_OPTIONS = {protocol: option for option, protocol in _PROTOCOLS.items()}
_FORWARDING: dict[str, Forwarding] = {"-m": "nat", "-g": "dr", "-i": "tun"}
_FORWARDING_OPTIONS = {forwarding: option for option, forwarding in _FORWARDING.items()}
# What `ipvsadm -L` calls a service.
_LISTED: dict[str, Protocol] = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp", "FWM": "mark"}


class TableError(PairkeepError):
    """What ipvsadm printed is not understood: better to say so than to repair by it."""


@dataclass(frozen=True, order=True)
class ServiceKey:
    """What a virtual service is known by: an address and a port (0: all), or a firewall mark of one IP version."""

    protocol: Protocol
    address: str
    port: int = 0
    version: int = 4

    @classmethod
    def at(cls, protocol: Protocol, address: IPAddress, port: int) -> ServiceKey:
        return cls(protocol, str(address), port, address.version)

    @classmethod
    def of_mark(cls, mark: int, version: int = 4) -> ServiceKey:
        return cls("mark", str(mark), 0, version)

    @property
    def all_ports(self) -> bool:
        return self.protocol != "mark" and self.port == 0

    @property
    def words(self) -> tuple[str, ...]:
        """As ipvsadm(8) takes it."""
        if self.protocol == "mark":
            return ("-f", self.address, *(("-6",) if self.version == 6 else ()))
        return (_OPTIONS[self.protocol], endpoint(self.address, self.port))

    def __str__(self) -> str:
        if self.protocol == "mark":
            return f"mark {self.address}{' (IPv6)' if self.version == 6 else ''}"
        return f"{self.protocol} {endpoint(self.address, self.port)}"


@dataclass(frozen=True)
class Server:
    """A real server of one service. ``tunnel``: what its tunnel has beyond plain IPIP, in ipvsadm's words.

    ``upper``, ``lower``: the limits of connections at which it gets no more, and gets some again; 0 for none.
    """

    address: str
    port: int
    forwarding: Forwarding = "dr"
    weight: int = 1
    upper: int = 0
    lower: int = 0
    tunnel: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        return endpoint(self.address, self.port)

    @property
    def words(self) -> tuple[str, ...]:
        limits = ("-x", str(self.upper), "-y", str(self.lower)) if self.upper or self.lower else ()
        how = _FORWARDING_OPTIONS[self.forwarding]
        return ("-r", self.endpoint, how, "-w", str(self.weight), *limits, *self.tunnel)


@dataclass(frozen=True)
class Service:
    """A virtual service. ``persistent``: seconds for which a client stays with its server, 0 for none.

    ``netmask``: the clients that count as one, as ipvsadm writes it, "" for each by itself. ``flags``: the
    scheduler's. ``one_packet``: each datagram is scheduled by itself. ``engine``: what tells clients apart
    instead of their address ("sip").
    """

    key: ServiceKey
    scheduler: str = "wlc"
    persistent: int = 0
    netmask: str = ""
    flags: tuple[str, ...] = ()
    one_packet: bool = False
    engine: str = ""
    servers: tuple[Server, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        words = ["-s", self.scheduler]
        if self.persistent:
            words += ["-p", str(self.persistent)]
        if self.netmask:
            words += ["-M", self.netmask]
        if self.engine:
            words += ["--pe", self.engine]
        if self.flags:
            words += ["-b", ",".join(self.flags)]
        return (*self.key.words, *words, *(("-o",) if self.one_packet else ()))

    @property
    def bare(self) -> Service:
        """Without its servers: what ``ipvsadm -E`` can change."""
        return replace(self, servers=())

    def server(self, at: str) -> Server | None:
        return next((server for server in self.servers if server.endpoint == at), None)


Table = dict[ServiceKey, Service]


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def split_endpoint(text: str) -> tuple[str, int]:
    """``[fd00::1]:80`` and ``10.9.1.1:80`` as address and port. Raises TableError."""
    found = re.fullmatch(r"\[?([0-9a-fA-F.:]+?)\]?:(\d+)", text)
    try:
        return str(ip_address(found[1] if found else "")), int(found[2] if found else "")
    except ValueError as error:
        raise TableError(f"found {text!r} where ipvsadm prints an address and a port") from error


def parse_saved(lines: Sequence[str], thresholds: Sequence[str]) -> Table:
    """``ipvsadm -S -n`` as values; and ``ipvsadm -L -n --thresholds``, for the former leaves limits out.

    Raises TableError.
    """
    limits = {(row.key, row.server): row.numbers[:2] for row in parse_listed(thresholds) if row.server}
    table: Table = {}
    for line in lines:
        words = line.split()
        if not words:
            continue
        options = _Options(words[1:], line)
        key = options.key()
        if words[0] == "-A":
            table[key] = _service(key, options)
        elif words[0] == "-a" and key in table:
            had = table[key]
            server = _server(options)
            upper, lower = limits.get((key, server.endpoint), (0, 0))
            table[key] = replace(had, servers=(*had.servers, replace(server, upper=upper, lower=lower)))
        else:
            raise TableError(f"ipvsadm printed {line!r}, which is not understood")
        options.finish()
    return table


class _Options:
    """The words of one line, taken out one after the other; what is left at the end is not understood."""

    def __init__(self, words: Sequence[str], line: str) -> None:
        self._words = list(words)
        self._line = line

    def flag(self, *names: str) -> str:
        for name in names:
            if name in self._words:
                self._words.remove(name)
                return name
        return ""

    def value(self, name: str) -> str:
        if name not in self._words[:-1]:
            return ""
        place = self._words.index(name)
        _, value = self._words[place : place + 2]
        del self._words[place : place + 2]
        return value

    def key(self) -> ServiceKey:
        for option, protocol in _PROTOCOLS.items():
            if not (value := self.value(option)):
                continue
            if protocol == "mark":
                return ServiceKey.of_mark(_number(value), 6 if self.flag("-6") else 4)
            address, port = split_endpoint(value)
            return ServiceKey.at(protocol, ip_address(address), port)
        raise TableError(f"ipvsadm printed {self._line!r}, in which no service is found")

    def finish(self) -> None:
        if self._words:
            rest = " ".join(self._words)
            raise TableError(f"ipvsadm printed {self._line!r}, of which {rest!r} is not understood")


def _service(key: ServiceKey, options: _Options) -> Service:
    return Service(
        key,
        scheduler=options.value("-s"),
        persistent=_number(options.value("-p") or "0"),
        netmask=options.value("-M"),
        flags=tuple(sorted(flag for flag in options.value("-b").split(",") if flag)),
        one_packet=bool(options.flag("-o", "--ops")),
        engine=options.value("--pe"),
    )


def _server(options: _Options) -> Server:
    address, port = split_endpoint(options.value("-r"))
    how = options.flag(*_FORWARDING)
    if not how:
        raise TableError(f"the server {endpoint(address, port)} has none of {', '.join(_FORWARDING)}")
    found = Server(
        address,
        port,
        _FORWARDING[how],
        weight=_number(options.value("-w") or "1"),
    )
    kind = options.value("--tun-type")
    number = options.value("--tun-port")
    sums = options.flag("--tun-nocsum", "--tun-csum", "--tun-remcsum")
    if kind in ("", "ipip"):
        return found
    # Without sums is how it is when nothing is said.
    more = (*(("--tun-port", number) if number else ()), *((sums,) if sums not in ("", "--tun-nocsum") else ()))
    return replace(found, tunnel=("--tun-type", kind, *more))


@dataclass(frozen=True)
class Listed:
    """A row of ``ipvsadm -L``: a service (``server`` is ""), or one of its servers, and the row's numbers."""

    key: ServiceKey
    server: str
    numbers: tuple[int, ...]


def parse_listed(lines: Sequence[str]) -> Iterator[Listed]:
    """Rows of ``ipvsadm -Ln --exact``, plain (weight, active, inactive), or with ``--stats``, ``--rate`` or
    ``--thresholds``. Raises TableError.
    """
    key: ServiceKey | None = None
    for line in lines:
        words = line.split()
        if words[:1] == ["->"] and len(words) > 1 and not words[1].startswith("RemoteAddress"):
            if key is None:
                raise TableError(f"ipvsadm printed {line!r} before any service")
            address, port = split_endpoint(words[1])
            yield Listed(key, endpoint(address, port), _numbers(words[2:]))
        elif words and words[0] in _LISTED:
            key = _listed_key(words)
            yield Listed(key, "", _numbers(words[2:]))


def _listed_key(words: Sequence[str]) -> ServiceKey:
    protocol = _LISTED[words[0]]
    if len(words) < 2:
        raise TableError(f"ipvsadm printed {words[0]!r} without what it is of")
    if protocol == "mark":
        return ServiceKey.of_mark(_number(words[1]), 6 if "IPv6" in words else 4)
    address, port = split_endpoint(words[1])
    return ServiceKey.at(protocol, ip_address(address), port)


def _number(word: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise TableError(f"found {word!r} where ipvsadm prints a number") from error


def _numbers(words: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(word) for word in words if word.isdecimal())
