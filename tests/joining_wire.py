# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is on the line beside the machines that join: strangers, and one in the middle."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from appliance.joining import Host, channel


@contextlib.contextmanager
def stranger(creator: Host) -> Iterator[channel.Wire]:
    wire = channel.Wire(socket.create_connection(("127.0.0.1", creator.port)))
    yield wire
    wire.close()


def turned(frame: bytes) -> bytes:
    return bytes([frame[0] ^ 1]) + frame[1:]


@contextlib.contextmanager
def in_the_middle(port: int, change: Callable[[int, bytes], bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Passes one connection on to ``port``, frame by frame, both ways."""
    seen: list[bytes] = []

    def exactly(sock: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = sock.recv(count - len(data))
            if not part:
                raise OSError
            data += part
        return data

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                (length,) = struct.unpack("!I", exactly(source, 4))
                frame = change(len(seen), exactly(source, length))
                seen.append(frame)
                target.sendall(struct.pack("!I", len(frame)) + frame)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join(5)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield listener.getsockname()[1], seen
        thread.join(5)
