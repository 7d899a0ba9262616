# SPDX-License-Identifier: GPL-2.0-or-later
"""A person at the serial line of a machine."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path

from appliance.lab.qemu import SERIAL_SOCKET

LEAVE = b"\x1d"  # Ctrl and ], as in telnet and virsh


def attach(folder: Path) -> None:
    """Join this terminal with the serial line of the machine in ``folder`` until Ctrl-], or until it is off.

    Without a terminal, what the machine prints is copied until it is off.
    """
    line = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_PATH)
    try:
        line.connect(f"/proc/self/fd/{descriptor}/{SERIAL_SOCKET}")
    finally:
        os.close(descriptor)
    with line:
        if not sys.stdin.isatty():
            _join(line, None)
            return
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        try:
            tty.setraw(terminal)
            _join(line, terminal)
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _join(line: socket.socket, terminal: int | None) -> None:
    sources: list[int | socket.socket] = [line] if terminal is None else [line, terminal]
    while True:
        readable = select.select(sources, [], [])[0]
        if line in readable:
            printed = line.recv(65536)
            if not printed:
                return
            os.write(sys.stdout.fileno(), printed)
        if terminal is not None and terminal in readable:
            typed = os.read(terminal, 4096)
            if LEAVE in typed or not typed:
                return
            line.sendall(typed)
