# SPDX-License-Identifier: GPL-2.0-or-later
"""What keepalived 2.3 says in the log, as changes of state with their reasons (check_*.c, ipwrapper.c)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from appliance.config.virtual import Virtual
from appliance.lvs.table import endpoint

_AT = r"\[(?P<address>[0-9a-fA-F.:]+)\](?::\w+)?(?::(?P<port>\d+))?"
_SERVICE = r"(?P<service>\[\S+|FWM \d+|\S+)"
_SERVER_CHANGE = re.compile(
    rf"(?P<what>Adding|Removing|Enabling|Disabling) (?P<sorry>sorry server|service) {_AT} "
    rf"(?:to|from|of) VS {_SERVICE}"
)
_QUORUM = re.compile(rf"(?P<what>Lost|Gained) quorum \S+ \S+ \S+ for VS {_SERVICE}")
_VRRP = re.compile(r"\((?P<instance>[\w-]+)\) Entering (?P<state>MASTER|BACKUP|FAULT) STATE")
_ABOUT = re.compile(_AT)
_BAD = re.compile(r"fail|error|timeout|timed out|refused|unreachable|exited|status code|mismatch", re.IGNORECASE)
# Said of a server that works, and of what is a change itself.
_NO_REASON = re.compile(r"success|succeed|Activating|quorum|Adding|Removing|Enabling|Disabling")
# The verdict on a check. Some kinds say before that what was wrong; of the others this is all.
_VERDICT = re.compile(r"CHECK on service .*failed")
_STATES = {"MASTER": "active", "BACKUP": "standing by", "FAULT": "out of action"}


@dataclass(frozen=True)
class Change:
    """``subject``: what it is a change of, for those who count; ``up`` is None where that is no question."""

    kind: str
    subject: str
    text: str
    up: bool | None = None
    data: Mapping[str, str] = field(default_factory=dict)


class Words:
    """Keeps the last complaint about each server, to give it as the reason when the server goes."""

    def __init__(self, virtuals: Iterable[Virtual]) -> None:
        self.reasons: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._servers: dict[tuple[str, str], str] = {}
        for virtual in virtuals:
            self._names[_spoken(virtual)] = virtual.name
            for real in virtual.reals:
                at = endpoint(str(real.address), real.port)
                self._servers[virtual.name, at] = real.name

    def heard(self, line: str) -> Change | None:
        """One line of keepalived's."""
        if found := _SERVER_CHANGE.search(line):
            return self._server(found)
        if found := _QUORUM.search(line):
            name = self._name(found["service"])
            up = found["what"] == "Gained"
            text = f"{name}: {'enough servers again' if up else 'too few servers are left'}"
            return Change("virtual", name, text, up, {"virtual": name})
        if found := _VRRP.search(line):
            state = _STATES[found["state"]]
            text = f"{found['instance']}: this director is {state}"
            data = {"vrrp": found["instance"], "state": found["state"].lower()}
            return Change("director", found["instance"], text, found["state"] != "FAULT", data)
        if (found := _ABOUT.search(line)) and _BAD.search(line) and not _NO_REASON.search(line):
            at, reason = _endpoint(found), _plain(line, found)
            if _VERDICT.search(line):
                self.reasons.setdefault(at, reason)
            else:
                self.reasons[at] = reason
        return None

    def _server(self, found: re.Match[str]) -> Change:
        name, at = self._name(found["service"]), _endpoint(found)
        up = found["what"] in ("Adding", "Enabling")
        if found["sorry"] == "sorry server":
            text = f"{name}: {'clients get the sorry server now' if up else 'the sorry server is needed no more'}"
            return Change("sorry", f"{name} sorry", text, data={"virtual": name})
        who = self._servers.get((name, at), at)
        if up:
            self.reasons.pop(at, None)
        reason = self.reasons.get(at)
        why = f" ({reason})" if reason and not up else ""
        text = f"{name}: server {who} is {'up' if up else 'down'}{why}"
        return Change("server", f"{name}/{who}", text, up, {"virtual": name, "server": who})

    def _name(self, service: str) -> str:
        return self._names.get(service, service)


def _spoken(virtual: Virtual) -> str:
    """As keepalived names a service."""
    if virtual.mark is not None:
        return f"FWM {virtual.mark}"
    return f"[{virtual.address}]:{virtual.protocol}:{virtual.port}"


def _endpoint(found: re.Match[str]) -> str:
    return endpoint(str(ip_address(found["address"])), int(found["port"] or 0))


def _plain(line: str, found: re.Match[str]) -> str:
    """The complaint without whom it is about, which the reader knows."""
    text = (line[: found.start()] + line[found.end() :]).strip(" .")
    text = re.sub(r"\b(on|to|with) (service|server)?\s*", "", text)
    text = re.sub(r"\b1 retries\b", "1 retry", text)
    return re.sub(r"\s+", " ", text).replace("_CHECK", " check").strip(" .:")
