# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 scan.py ADDRESS FIRST LAST`: what answers there on those ports: "tcp", "udp" -> port -> how, as JSON.

An answer is a connection, a refusal, or an ICMP error: whatever tells that a packet got through. Silence is none.
"""

from __future__ import annotations

import collections
import errno
import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Iterable

# Where daemons listen; above are mostly the ports that programs are given for what they ask others.
UDP_LAST = 8192
# A lost packet is sent again by TCP after one second; what then does not answer will not.
PATIENCE_S = 3.0
# A faster sender fills the queue of the machine's card.
PER_SECOND = 4000
AT_ONCE = 16000
MEANINGS = {0: "open", errno.ECONNREFUSED: "closed"}


def scan(address: str, kind: socket.SocketKind, ports: Iterable[int]) -> dict[int, str]:
    """Port -> "open", "closed" or an error's name, of the ports that answered."""
    family, _, _, _, where = socket.getaddrinfo(address, 0, type=kind)[0]
    found: dict[int, str] = {}
    waiting: collections.deque[tuple[float, int, socket.socket]] = collections.deque()
    began, sent = time.monotonic(), 0
    left = iter(ports)
    with selectors.EpollSelector() as selector:

        def answered() -> None:
            for key, _ in selector.select(0.0):
                sock, port = key.fileobj, key.data
                assert isinstance(sock, socket.socket)
                found[port] = _meaning(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                selector.unregister(sock)

        more = True
        while more or waiting:
            while more and len(waiting) < AT_ONCE and sent < (time.monotonic() - began) * PER_SECOND + 1:
                port = next(left, None)
                if port is None:
                    more = False
                    break
                sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
                error = sock.connect_ex((where[0], port, *where[2:]))
                if kind == socket.SOCK_DGRAM:
                    sock.send(b"\0")
                elif error not in (0, errno.EINPROGRESS):
                    found[port] = _meaning(error)
                # For UDP only an answer or an error makes it readable; for TCP the end of the handshake, writable.
                selector.register(
                    sock, selectors.EVENT_READ if kind == socket.SOCK_DGRAM else selectors.EVENT_WRITE, port
                )
                waiting.append((time.monotonic() + PATIENCE_S, port, sock))
                sent += 1
            answered()
            while waiting and waiting[0][0] < time.monotonic():
                _, _, sock = waiting.popleft()
                if sock.fileno() in selector.get_map():
                    selector.unregister(sock)
                sock.close()
            time.sleep(0.002)
    return dict(sorted(found.items()))


def _meaning(error: int) -> str:
    return MEANINGS.get(error) or errno.errorcode[error]


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (AT_ONCE + 100, hard))
    address, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    found = {
        "tcp": scan(address, socket.SOCK_STREAM, range(first, last + 1)),
        "udp": scan(address, socket.SOCK_DGRAM, range(first, min(last, UDP_LAST) + 1)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
