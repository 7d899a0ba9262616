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

from appliance.config.realserver import RealServer
from appliance.config.realserver_file import FILE, load
from appliance.drivers.realserver import RealServerDriver
from appliance.errors import PairkeepError

log = logging.getLogger("pairkeep-realserver")
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
        watch = Watch(load(FILE))
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
            watch.read_again()
        watch.put_right("put right")


def _empty(*sockets: socket.socket) -> None:
    for one in sockets:
        # ENOBUFS: more has changed than the socket could hold. All is looked at anyway.
        with contextlib.suppress(OSError):
            while one.recv(65536, socket.MSG_DONTWAIT):
                pass


class Watch:
    """``servers``: what the file said when it was last good."""

    def __init__(self, servers: tuple[RealServer, ...]) -> None:
        self._servers = servers
        self._complaints: dict[str, str] = {}

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
        return all(taken)

    def read_again(self) -> None:
        """By the file as it is now; one with mistakes changes nothing."""
        try:
            wanted = load(FILE)
        except PairkeepError as error:
            log.error("not taken up: %s", error)
            return
        for server in self._servers:
            if server not in wanted:
                _taken_back(server)
        self._servers = wanted


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
