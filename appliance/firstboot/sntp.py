# SPDX-License-Identifier: GPL-2.0-or-later
"""One question to a time server (RFC 4330), before systemd-timesyncd is told of it."""

from __future__ import annotations

import socket
import struct
import time

PORT = 123
ANSWER_S = 2.0
# Version 4, and what a client is; the server fills in the rest.
_QUESTION = struct.pack("!B47x", 0x23)
_SERVER, _LENGTH = 4, 48
# Seconds from 1900, where NTP counts from, to 1970 (RFC 5905, figure 4).
_EPOCH = 2208988800


def clock_ahead_s(server: str, port: int = PORT) -> float | None:
    """How far this clock is ahead of the server's; None when it does not answer, or does not know the time itself.

    It may be wrong by half of what the way there and back takes.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(server, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as asked:
            asked.settimeout(ANSWER_S)
            asked.connect(place)
            sent = time.time()
            asked.send(_QUESTION)
            answer = asked.recv(512)
            received = time.time()
    except OSError:
        return None
    # Stratum 0 is a "kiss of death": whatever else it holds is no time.
    if len(answer) < _LENGTH or answer[0] & 7 != _SERVER or answer[1] == 0:
        return None
    seconds, fraction = struct.unpack("!II", answer[40:48])
    theirs: float = seconds - _EPOCH + fraction / 2**32
    return (sent + received) / 2 - theirs
