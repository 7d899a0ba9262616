# SPDX-License-Identifier: GPL-2.0-or-later
"""Real servers as network namespaces of one guest; `director.start_servers` runs this file there.

It makes one for each number (21 for 10.9.1.21 and 10.9.2.21) with the service addresses silently on lo, every
tunnel's end, and a way back through the directors for what comes by NAT. One process answers HTTP for all of them.
Uses the standard library and iproute2 only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
from functools import partial
from pathlib import Path

PORTS = (80, 81, 82, 83, 84, 443, 8080)
GUE_PORT = 6080
GATEWAY = "10.9.2.254"
# What the server of a number does: "ok", "500", "hang".
MOODS = Path("/run/pairkeep-lab-servers")
NAMESPACES = Path("/run/netns")
TICK_S = 0.2


def build(number: int, cards: tuple[str, str], addresses: list[str]) -> None:
    """The namespace ``s<number>``, whole."""
    name = f"s{number}"
    ip("netns", "add", name)
    for network, card in enumerate(cards, start=1):
        ip("link", "add", f"m{network}", "link", card, "netns", name, "type", "macvlan", "mode", "bridge")
        inside(name, "ip", "address", "add", f"10.9.{network}.{number}/24", "dev", f"m{network}")
    # Addresses on lo are for what the directors hand over: nobody else is to learn of them.
    settings = {"arp_ignore": 1, "arp_announce": 2, "rp_filter": 0}
    for where in ("all", "default"):
        inside(name, "sysctl", "-qw", *(f"net.ipv4.conf.{where}.{key}={value}" for key, value in settings.items()))
    for kind, device in (("ipip", "tunl0"), ("gre", "gre0")):
        inside(name, "modprobe", "--quiet", {"gre": "ip_gre"}.get(kind, kind))
        inside(name, "ip", "link", "set", device, "up")
        inside(name, "sysctl", "-qw", f"net.ipv4.conf.{device}.rp_filter=0")
    inside(name, "modprobe", "fou")
    inside(name, "ip", "fou", "add", "port", str(GUE_PORT), "gue")
    for device in ("lo", "m1", "m2"):
        inside(name, "ip", "link", "set", device, "up")
    for address in addresses:
        inside(name, "ip", "address", "add", f"{address}/32", "dev", "lo")
    inside(name, "ip", "route", "add", "10.9.2.0/24", "dev", "m2", "table", "2")
    inside(name, "ip", "route", "add", "default", "via", GATEWAY, "table", "2")
    inside(name, "ip", "rule", "add", "from", f"10.9.2.{number}", "table", "2")


def ip(*words: str) -> None:
    subprocess.run(["/sbin/ip", *words], check=True)


def inside(name: str, *words: str) -> None:
    subprocess.run(["/sbin/ip", "netns", "exec", name, *words], check=True)


def listeners(number: int) -> list[socket.socket]:
    """Sockets that listen in the namespace of ``number``."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    target = os.open(NAMESPACES / f"s{number}", os.O_RDONLY)
    os.setns(target)  # type: ignore[attr-defined]  # the guest's Python has it, from 3.12 on
    made = []
    try:
        for port in PORTS:
            made.append(socket.create_server(("", port), backlog=512))
    finally:
        os.setns(own)  # type: ignore[attr-defined]
        os.close(own)
        os.close(target)
    return made


async def answer(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request: the server's number, or, with ``/slow/SECONDS``, a page that takes so long."""
    with contextlib.suppress(ConnectionError, IndexError, ValueError):
        words = (await reader.readline()).decode().split()
        while (await reader.readline()).strip():
            pass
        mood = (MOODS / str(number)).read_text().strip()
        if mood == "hang":
            await asyncio.sleep(3600)
        status = "500 Internal Server Error" if mood == "500" else "200 OK"
        body = f"{number}\n"
        _, place, *rest = words[1].split("/")
        ticks = int(float(rest[0]) / TICK_S) if place == "slow" else 0
        length = len(body) + ticks
        writer.write(f"HTTP/1.0 {status}\r\nContent-Length: {length}\r\n\r\n{body}".encode())
        for _ in range(ticks):
            await writer.drain()
            await asyncio.sleep(TICK_S)
            writer.write(b".")
        await writer.drain()
    writer.close()


async def serve(numbers: list[int]) -> None:
    for number in numbers:
        for listener in listeners(number):
            await asyncio.start_server(partial(answer, number), sock=listener)
    (MOODS / "ready").touch()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cards", nargs=2, required=True)
    parser.add_argument("--addresses", nargs="*", default=[])
    parser.add_argument("numbers", nargs="+", type=int)
    said = parser.parse_args()
    MOODS.mkdir(exist_ok=True)
    for number in said.numbers:
        (MOODS / str(number)).write_text("ok")
        build(number, tuple(said.cards), said.addresses)
    asyncio.run(serve(said.numbers))


if __name__ == "__main__":
    main()
