# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 -m appliance.realserver`: a machine that is a real server and nothing else, by its own small file.

Makes it so, and again whenever somebody changes it by hand; takes it all back when it is told to end, and reads the
file anew when it is told to. A crash changes nothing: the next one adopts what it finds.
"""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import sys
from pathlib import Path

from appliance.config.load import read
from appliance.config.realserver import RealServer
from appliance.config.realserver_file import FILE, load, parse
from appliance.drivers.realserver import RealServerDriver
from appliance.errors import PairkeepError
from appliance.files import replace_file

log = logging.getLogger("pairkeep-realserver")
IN_FORCE = Path("/run/pairkeep/realserver.toml")
# linux/rtnetlink.h: links, addresses and routes of both versions, and rules.
CHANGES = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400
# Settings below /proc/sys tell nobody when they change.
LOOK_EVERY_S = 15.0
# Changes come in bursts.
SETTLE_S = 0.3


def main() -> int:
    from systemd import daemon

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        watch = Watch()
        watch.read(FILE)
    except PairkeepError as error:
        log.error("%s", error)
        return error.exit_code
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: told.append(number))
    # A signal wakes the loop by a byte that Python writes here.
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    changes.bind((0, CHANGES))
    watch.put_right("taken up")
    daemon.notify("READY=1")
    while True:
        ready, _, _ = select.select([changes, wake], [], [], LOOK_EVERY_S)
        if ready:
            select.select([wake], [], [], SETTLE_S)
            _empty(changes, wake)
        if signal.SIGTERM in told or signal.SIGINT in told:
            return 0 if watch.take_back() else 1
        if told:
            told.clear()
            try:
                watch.read(FILE)
            except PairkeepError as error:
                # One with mistakes changes nothing.
                log.error("not taken up: %s", error)
        watch.put_right("put right")


def _empty(*sockets: socket.socket) -> None:
    for one in sockets:
        # ENOBUFS: more has changed than the socket could hold. All is looked at anyway.
        with contextlib.suppress(OSError):
            while one.recv(65536, socket.MSG_DONTWAIT):
                pass


class Watch:
    """``in_force``: a copy of the file as it was last read, for one that comes after a crash."""

    def __init__(self, in_force: Path = IN_FORCE) -> None:
        self._in_force = in_force
        self._servers = load(in_force) if in_force.exists() else ()
        self._complaints: dict[str, str] = {}

    def read(self, file: Path) -> None:
        """Go by ``file`` as it is now: what it says no more is taken back. Raises ConfigError, InputError."""
        text = read(file)
        wanted = parse(text, str(file))
        for server in self._servers:
            if server not in wanted:
                _taken_back(server)
        self._servers = wanted
        replace_file(self._in_force, text.encode())

    def put_right(self, what: str) -> None:
        for server in self._servers:
            driver = RealServerDriver(server)
            try:
                if faults := driver.faults():
                    driver.start()
                    log.info("%s: %s (%s)", server.name, what, "; ".join(faults))
                self._complaints.pop(server.name, None)
            except PairkeepError as error:
                # It is tried again and again, and told once.
                if self._complaints.get(server.name) != error.message:
                    log.error("%s: %s", server.name, error.message)
                self._complaints[server.name] = error.message

    def take_back(self) -> bool:
        """Whether all of it could be."""
        taken = [_taken_back(server) for server in reversed(self._servers)]
        if all(taken):
            self._in_force.unlink(missing_ok=True)
        return all(taken)


def _taken_back(server: RealServer) -> bool:
    try:
        RealServerDriver(server).stop()
    except PairkeepError as error:
        log.error("%s: %s", server.name, error.message)
        return False
    log.info("%s: taken back", server.name)
    return True


if __name__ == "__main__":
    sys.exit(main())
