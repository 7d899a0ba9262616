# SPDX-License-Identifier: GPL-2.0-or-later
"""A plain shell script that does and undoes the driver's steps, for machines without Pairkeep."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from appliance.config.realserver import RealServer
from appliance.lvs.realserver import Step, Sysctl, loosened, own_address_argv, steps, sysctls

OWN = "$own"
_HEAD = """\
#!/bin/sh
# Printed by `pairkeep realserver script`. Makes this machine a real server behind LVS directors, and undoes it.
# It needs iproute2 and awk, and root.
set -u
kept=/run/pairkeep-realserver
failed=0

# holds SIGN COMMAND...: whether the command prints a line with SIGN in it.
holds() {
    sign=$1
    shift
    "$@" 2>/dev/null | grep -q -F -- "$sign"
}

# The shell's word for a setting below /proc/sys: what it was is kept until it is put back.
set_to() {
    [ -e "/proc/sys/$1" ] || return 0
    mkdir -p "$kept"
    note=$kept/$(echo "$1" | tr / .)
    [ -e "$note" ] || cat "/proc/sys/$1" >"$note"
    echo "$2" >"/proc/sys/$1" || failed=1
}
put_back() {
    note=$kept/$(echo "$1" | tr / .)
    [ -e "$note" ] || return 0
    cat "$note" >"/proc/sys/$1" || failed=1
    rm -f "$note"
}

# found NAME WHETHER: for the status.
found() {
    if [ "$2" = 0 ]; then echo "yes  $1"; else echo "no   $1"; failed=1; fi
}

# first_own SERVICE_ADDRESSES: the first address on standard input that is neither one of them nor on lo.
first_own() {
    awk -v services=" $1 " '{ sub(/\\/.*/, "", $4) }
        $2 != "lo" && !index(services, " " $4 " ") { print $4; exit }'
}
"""
_TAIL = """
case ${1-} in
start) start ;;
stop) stop ;;
status) status ;;
*)
    echo "usage: $0 start|stop|status" >&2
    exit 2
    ;;
esac
exit "$failed"
"""


def script(servers: Sequence[RealServer]) -> str:
    """POSIX shell; ``start``, ``stop`` and ``status`` are its only words."""
    parts = [_HEAD]
    for name, body in (("start", _start), ("stop", _stop), ("status", _status)):
        lines = [f"    {line}" for server in servers for line in (*_own(server), *body(server))]
        if name == "stop":
            # Settings are put back when nothing needs them any more, so after all of the rest.
            lines += [f"    put_back {s.path}" for s in dict.fromkeys(s for one in servers for s in sysctls(one))]
        parts.append("\n".join((f"\n{name}() {{", *lines, "}\n")))
    return "".join((*parts, _TAIL))


def _own(server: RealServer) -> Iterator[str]:
    yield f"# realserver.{server.name}"
    if server.network is not None:
        yield f"own=$({shlex.join(own_address_argv(server))} | first_own {shlex.quote(' '.join(server.addresses))})"


def _start(server: RealServer) -> Iterator[str]:
    if server.network is not None:
        why = f"no interface of this machine is in {server.network}"
        yield f'[ -n "$own" ] || {{ echo {shlex.quote(why)} >&2; exit 1; }}'
    yield from (_set(sysctl) for sysctl in sysctls(server))
    for step in steps(server, OWN):
        yield f"{_holds(step)} || {_words(step.do)} || failed=1"
    yield from (f"echo {sysctl.value} >/proc/sys/{sysctl.path}" for sysctl in loosened(server))


def _stop(server: RealServer) -> Iterator[str]:
    for step in (step for step in reversed(steps(server, OWN)) if step.undo):
        yield f"! {_holds(step)} || {_words(step.undo)} || failed=1"


def _status(server: RealServer) -> Iterator[str]:
    for sysctl in sysctls(server):
        good = " | ".join((sysctl.value, *sysctl.also))
        test = f"case $(cat /proc/sys/{sysctl.path}) in {good}) true ;; *) false ;; esac"
        yield f"{test}; found '{sysctl.path} is {sysctl.value}' $?"
    for step in steps(server, OWN):
        yield f"{_holds(step)}; found {_word(step.what)} $?"


def _set(sysctl: Sysctl) -> str:
    test = f"case $(cat /proc/sys/{sysctl.path}) in {' | '.join((sysctl.value, *sysctl.also))}) ;;"
    return f"{test} *) set_to {sysctl.path} {sysctl.value} ;; esac"


def _holds(step: Step) -> str:
    return f"holds {_word(step.sign)} {_words(step.holds)}"


def _words(words: Sequence[str]) -> str:
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    if OWN not in word:
        return shlex.quote(word)
    return f'"{OWN}"'.join(part and shlex.quote(part) for part in word.split(OWN))
