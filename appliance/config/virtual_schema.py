# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of the tables of load balancing: `[virtual.NAME]`, `[vrrp.NAME]` and `[director]`."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

import voluptuous as vol

from appliance.config.shape import Check, array, number, shown, table, tables, text, value_like, word
from appliance.config.values import (
    HOSTNAME,
    INTERFACE,
    NAME,
    address,
    boolean,
    interface_address,
    is_plain,
    network,
    timeout,
    unit,
)

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos")
# The kernel's other schedulers have none (ip_vs.h, IP_VS_SVC_F_SCHED_…).
FLAGS = {"sh": ("sh-fallback", "sh-port"), "mh": ("mh-fallback", "mh-port")}
# What fits in one nftables rule and is still one service to a person.
MOST_PORTS = 32
# ipvsadm(8): of persistence, 31 days.
MOST_PERSISTENT_S = 2678400
# keepalived counts microseconds, and refuses or cuts off what is finer.
MOST_DECIMALS = 3
# A line of keepalived.conf(5) with 1,024 characters ends keepalived 2.3 by a signal. No part takes more than a
# fourth of one, but what stands there alone: hexadecimal digits, and text, of which each character takes five.
MOST_CHARACTERS = 250
LONGEST_ADDRESS = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
MOST_DIGITS = 400
MOST_TEXT = 199
# The marks above are left to others (linux/Documentation, tc and policy routing).
MOST_MARK = 0x7FFFFFFF


def port_range(value: object) -> tuple[int, int]:
    """``80`` or ``"30000-30100"`` as the first and the last port. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (found := re.fullmatch(r"(\d{1,5})-(\d{1,5})", value)):
        first, last = int(found[1]), int(found[2])
    else:
        raise ValueError(value)
    if not 1 <= first <= last <= 65535:
        raise ValueError(value)
    return first, last


def status_range(value: object) -> tuple[int, int]:
    """``200`` or ``"200-299"``. Raises ValueError."""
    first, last = port_range(value)
    if not 100 <= first <= last <= 599:
        raise ValueError(value)
    return first, last


def _is_command(value: Any) -> bool:
    """Its words go to keepalived.conf(5), where quotes, `$`, `#` and braces mean something else."""
    if not isinstance(value, str) or not re.fullmatch(r"/[\w/.:@+=,-]+( [\w/.:@+=,%-]+)*", value, re.ASCII):
        return False
    return len(value.replace("%a", LONGEST_ADDRESS).replace("%p", "65535")) <= MOST_CHARACTERS


def _seconds(low: float, high: float) -> Check:
    return number(low, high, "seconds", whole=False, decimals=MOST_DECIMALS)


_port = number(1, 65535, "")
_database = text("a database's name of letters, digits, _ and -, no - first", r"(?!-)[\w-]{1,64}")
_host = text("a host name", r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_command = value_like(
    f"an absolute path and plain words after it, at most {MOST_CHARACTERS} characters with the address",
    _is_command,
)
_DIGITS = f"an even number of hexadecimal digits, at most {MOST_DIGITS}"
_label = "[A-Za-z0-9_-]{1,63}"
_login = {
    "user": text("a user's name without blanks, no - first", r"(?!-)[\w.@=,+-]{1,128}"),
    "password_file": value_like(
        f"the absolute path of a file, without '..' or blanks, at most {MOST_CHARACTERS} characters",
        lambda v: is_plain(v) and len(v.encode()) <= MOST_CHARACTERS,
    ),
}
_http = {
    "path": text("a path that begins with / and has no blanks and quotes", r"/[\w/.~%&=?:@+,;-]{0,200}"),
    "host": _host,
    "status": array(
        "an array of status codes and ranges",
        value_like('a status code like 200, or a range like "200-299"', status_range),
        least=1,
        most=16,
    ),
    "digest": text("an MD5 sum of 32 hexadecimal digits", r"[0-9a-f]{32}"),
    "text": value_like(
        f"text of 1 to {MOST_TEXT} printable characters",
        lambda v: isinstance(v, str) and v.isprintable() and v.isascii() and 0 < len(v) <= MOST_TEXT,
    ),
}
_COMMON: dict[str, Check] = {
    "port": _port,
    "interval_s": _seconds(0.1, 3600),
    "timeout_s": _seconds(0.1, 300),
    "retries": number(0, 100, ""),
    "retry_s": _seconds(0.1, 300),
}
# What each kind of check has besides these, and which of them it has to have.
CHECKS: dict[str, dict[str, Check]] = {
    "connect": {},
    "http": _http,
    "https": _http,
    "smtp": {"host": _host},
    "dns": {
        "query": text("a domain name", rf"(?=.{{1,253}}$){_label}(\.{_label})*"),
        "record": word("A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"),
    },
    "ping": {},
    "udp": {
        "send": text(_DIGITS, rf"([0-9A-Fa-f]{{2}}){{1,{MOST_DIGITS // 2}}}"),
        "expect": text(f"{_DIGITS}, x for any", rf"([0-9A-Fa-fxX]{{2}}){{1,{MOST_DIGITS // 2}}}"),
    },
    "script": {"command": _command},
    "mysql": {**_login, "database": _database},
    "postgresql": {**_login, "database": _database},
    "ldap": _login,
    "ftp": _login,
    "imap": _login,
    "pop3": _login,
    "sip": {"user": _login["user"], "host": _host},
    "none": {},
}
_NEEDED = {"script": ("command",)}


def _check(value: Any) -> Any:
    """`"http"`, or `{ kind = "http", … }`."""
    given = {"kind": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise vol.Invalid('expected the name of a check, or a table like { kind = "http", path = "/" }')
    kind = given.get("kind")
    if kind is None:
        raise vol.Invalid('expected a table with a kind, like { kind = "http", path = "/" }')
    if not isinstance(kind, str) or kind not in CHECKS:
        near = get_close_matches(str(kind), CHECKS, n=1)
        advice = f" (did you mean {shown(near[0])}?)" if near else ""
        raise vol.Invalid(
            f"expected one of {', '.join(CHECKS)}{advice}", path=None if isinstance(value, str) else ["kind"]
        )
    needed = {key: CHECKS[kind][key] for key in _NEEDED.get(kind, ())}
    fields = {"kind": word(*CHECKS), **({} if kind == "none" else _COMMON), **CHECKS[kind]}
    return table("a table", needed, fields)(given)


_weight = number(0, 65535, "")
_connections = number(1, 2**32 - 1, "connections")
_server: dict[str, Check] = {"port": _port, "forward": word("nat", "dr", "tun")}
_REAL = table(
    "a table",
    {"address": address},
    {
        **_server,
        "name": text("a name of letters, digits, ., : and - (at most 45)", r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,44}"),
        "weight": _weight,
        "upper": _connections,
        "lower": _connections,
        "check": _check,
    },
)
_VIRTUAL = table(
    "a table",
    {"address": address, "real": array("at least one [[virtual.NAME.real]] table", _REAL, least=1)},
    {
        "port": number(0, 65535, ""),
        "ports": array(
            f"an array of 1 to {MOST_PORTS} ports and ranges",
            value_like('a port from 1 to 65535, or a range like "30000-30100"', port_range),
            least=1,
            most=MOST_PORTS,
        ),
        "mark": number(1, MOST_MARK, ""),
        "protocol": word("tcp", "udp", "sctp"),
        "failover": word("vrrp", "cluster"),
        "forward": word("nat", "dr", "tun"),
        "tunnel": word("ipip", "gue", "gre"),
        "tunnel_port": _port,
        "scheduler": word(*SCHEDULERS),
        "flags": array("an array of flags of the scheduler", word(*(f for fs in FLAGS.values() for f in fs))),
        "persistence_s": number(1, MOST_PERSISTENT_S, "seconds"),
        "persistence_prefix": number(1, 128, "bits"),
        "persistence_engine": word("sip"),
        "one_packet": boolean,
        "sorry": table("a table", {"address": address}, _server),
        "quorum": number(1, 1_000_000, "points of weight"),
        "hysteresis": number(0, 1_000_000, "points of weight"),
        "on_failure": word("remove", "quiesce"),
        "trust": boolean,
        "check": _check,
    },
)
_SCRIPT = table(
    "a table",
    {"command": _command},
    {
        "interval_s": _seconds(0.1, 3600),
        "timeout_s": _seconds(0.1, 3600),
        "weight": number(-253, 253, ""),
        "rise": number(1, 1000, ""),
        "fall": number(1, 1000, ""),
    },
)
_VRRP = table(
    "a table",
    {
        "id": number(1, 255, ""),
        "addresses": array("an array of at least one address", interface_address, least=1, most=255),
    },
    {
        "network": network,
        "prefer": text("a node's name", HOSTNAME),
        "advert_ms": number(10, 255000, "milliseconds"),
        "version": number(2, 3, ""),
        "preempt": boolean,
        "preempt_delay_s": _seconds(0, 1000),
        "unicast": boolean,
        "together": text("a name of letters, digits, - and _ (at most 32)", NAME),
        "track_networks": array("an array of networks", network),
        "track_interfaces": tables(
            "a table of weights for interfaces, like { ens5 = -20 }",
            "an interface's name",
            INTERFACE,
            number(-253, 253, ""),
        ),
        "track_services": array("an array of systemd units", unit),
        "track_scripts": array('an array of tables like { command = "/path" }', _SCRIPT),
    },
)
_of_kernel = number(1, 2678400, "seconds")
VIRTUAL_TABLES: dict[str, Check] = {
    "virtual": tables(
        "[virtual.NAME] tables", "letters, digits, - and _, a letter first (at most 32)", NAME, _VIRTUAL
    ),
    "vrrp": tables("[vrrp.NAME] tables", "letters, digits, - and _, a letter first (at most 32)", NAME, _VRRP),
    "director": table(
        "a table",
        {},
        {
            "networks": array("an array of networks", network, most=64),
            "sync": boolean,
            "sync_network": network,
            "tcp_timeout_s": _of_kernel,
            "tcp_fin_timeout_s": _of_kernel,
            "udp_timeout_s": _of_kernel,
            "start_delay_s": _seconds(0, 3600),
        },
    ),
}
VIRTUAL_RESOURCE = table(
    "a table",
    {"virtual": text("the name of a [virtual.NAME] table", NAME)},
    {"start_timeout_s": timeout, "stop_timeout_s": timeout},
)
