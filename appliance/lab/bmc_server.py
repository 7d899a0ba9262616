# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's BMC: answers IPMI 2.0 (lanplus) and switches the machine's power by way of the keeper.

Started as ``python -m appliance.lab.bmc_server MACHINE ADDRESS USER PASSWORD LOG`` in the lab's folder
and network. It prints ``ready``, then takes faults as JSON lines on standard input (`Trouble`), and ends
when that is closed. What it is asked, and its answers, go to the file LOG, as JSON lines too.

A process for each machine: pyghmi keeps the sockets and sessions of a process in variables of a class,
and serves one request at a time; two BMCs that wait for each other's machine must not share that.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pyghmi.ipmi.bmc import Bmc
from pyghmi.ipmi.private import session as wire

from appliance.errors import PairkeepError
from appliance.lab.bmc import READY
from appliance.lab.connection import Connection

PORT = 623
# How long it sleeps when nothing comes: it has nothing else to do.
_IDLE_S = 60.0
# Clients that are remembered. Each run of ipmitool is another one, and pyghmi never forgets any.
_CLIENTS = 64
# RMCP+ open session request and response (IPMI 2.0, 13.17 and 13.18): payload types, where the wanted
# authentication algorithm stands in the packet, the only one that is known, and the refusal of another.
_OPEN_SESSION, _OPEN_SESSION_ANSWER = b"\x06\x10", b"\x06\x11"
_AUTHENTICATION = 28
_HMAC_SHA1 = 1
_INVALID_AUTHENTICATION = 0x04
# Completion codes of IPMI 2.0, table 5-2: the state does not allow it, and an error without a name.
_NOT_NOW = 0xD5
_FAILED = 0xFF


class Power(Protocol):
    """What a BMC does to its machine. Each may raise PairkeepError; nothing happens to what is so already."""

    def is_on(self) -> bool: ...

    def off(self) -> None: ...

    def on(self) -> None: ...

    def reset(self) -> None: ...

    def press_button(self) -> None: ...


@dataclass
class Trouble:
    """What ails the BMC: ``mute``, it answers nothing and forgets what it was asked; ``delay_s`` is how
    long it takes over each packet, of which a session has seven.
    """

    mute: bool = False
    delay_s: float = 0.0


class LabMachine:
    """The power of ``machine``, asked of the keeper of the lab in ``folder``."""

    def __init__(self, folder: Path, machine: str) -> None:
        self._keeper = Connection(folder)
        self._machine = machine

    def is_on(self) -> bool:
        return bool(self._ask("powered"))

    def off(self) -> None:
        self._ask("power_off")

    def on(self) -> None:
        if not self.is_on():
            self._ask("power_on")

    def reset(self) -> None:
        self._ask("qmp", command="system_reset", arguments={})

    def press_button(self) -> None:
        self._ask("qmp", command="system_powerdown", arguments={})

    def _ask(self, do: str, **more: Any) -> Any:
        return self._keeper.ask(do, machine=self._machine, **more)


class MachineBmc(Bmc):
    """Chassis power by way of ``power``; each request becomes a line of ``log``."""

    def __init__(self, power: Power, users: dict[str, str], log: Path, address: str, port: int = PORT) -> None:
        # pyghmi wakes its own reader with a packet to itself, and would guess the IPv6 loopback for that.
        wire.myself = address
        super().__init__(users, port=port, address=address)
        self._power = power
        self._log = log

    def sessionless_data(self, data: bytes, client: Any) -> None:
        """Refuse what is not cipher suite 3: pyghmi would go on with that, whatever the client wants."""
        if data[4:6] == _OPEN_SESSION and len(data) > _AUTHENTICATION and data[_AUTHENTICATION] != _HMAC_SHA1:
            tag, session = data[16:17], data[20:24]
            answer = bytes((*tag, _INVALID_AUTHENTICATION, 0, 0, *session))
            header = b"\x06\x00\xff\x07" + _OPEN_SESSION_ANSWER + bytes(8) + len(answer).to_bytes(2, "little")
            wire._io_sendto(self.serversocket, header + answer, client)
        else:
            super().sessionless_data(data, client)

    def get_power_state(self) -> str:
        state = "on" if self._power.is_on() else "off"
        self._write_log("status", state)
        return state

    def power_off(self) -> int:
        return self._do("off")

    def power_on(self) -> int:
        return self._do("on")

    def power_cycle(self) -> int:
        return self._do("off", "on") if self._power.is_on() else _NOT_NOW

    def power_reset(self) -> int:
        return self._do("reset") if self._power.is_on() else _NOT_NOW

    def power_shutdown(self) -> int:
        return self._do("press_button") if self._power.is_on() else _NOT_NOW

    def _do(self, *actions: str) -> int:
        try:
            for action in actions:
                getattr(self._power, action)()
        except PairkeepError as error:
            self._write_log(" and ".join(actions), str(error))
            return _FAILED
        self._write_log(" and ".join(actions), "done")
        return 0

    def _write_log(self, asked: str, answer: str) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps({"time": round(time.time(), 3), "asked": asked, "answer": answer}) + "\n")


def serve(trouble: Trouble) -> None:
    """Answer for ever, as far as ``trouble`` lets it."""
    while True:
        wire._poller(_IDLE_S)
        if trouble.mute:
            while wire.sessionqueue:
                wire.sessionqueue.popleft().pktqueue.clear()
            continue
        if trouble.delay_s and wire.sessionqueue:
            time.sleep(trouble.delay_s)
        wire.Session.wait_for_rsp(0)
        _forget_clients()


def _forget_clients() -> None:
    """Oldest first; the listening sockets themselves, which stand in the same table, stay."""
    known = wire.Session.bmc_handlers
    clients = [key for key in known if isinstance(key, tuple)]
    for client in clients[:-_CLIENTS]:
        del known[client]


def listen(trouble: Trouble) -> None:
    """Let ``trouble`` be what standard input says, until it is closed."""
    for line in sys.stdin:
        for name, value in json.loads(line).items():
            setattr(trouble, name, value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("machine", "address", "user", "password"):
        parser.add_argument(name)
    parser.add_argument("log", type=Path)
    args = parser.parse_args()
    MachineBmc(LabMachine(Path.cwd(), args.machine), {args.user: args.password}, args.log, args.address)
    trouble = Trouble()
    threading.Thread(target=serve, args=(trouble,), daemon=True).start()
    print(READY, flush=True)
    listen(trouble)
    return 0


if __name__ == "__main__":
    sys.exit(main())
