# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that owns a lab: its namespace, its networks and its machines.

Started as ``python -m appliance.lab.keeper FOLDER`` in a new network namespace (and, for an ordinary
user, a new user namespace). It takes requests on the unix socket ``keeper.sock`` in FOLDER: one JSON
line each, answered by one JSON line ``{"ok": VALUE}`` or ``{"error": TEXT, "hint": TEXT, "input": BOOL}``.

Nothing outlives it. It ends when asked to, when it is killed, and when the connection that asked for
a ``lease`` closes before ``settle``: so whoever makes a lab may die half-way and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from appliance.build.layers import settle
from appliance.errors import InputError, PairkeepError
from appliance.lab import networks, snapshots
from appliance.lab.agent import AgentError
from appliance.lab.bmc import BmcProcess
from appliance.lab.guest import Guest
from appliance.lab.process import Process
from appliance.lab.qemu import tap_name
from appliance.lab.spec import Topology

SOCKET = "keeper.sock"
STATE = "state.json"
TOPOLOGY = "topology.json"
QMP_LOG = "qmp.log"

# Whoever started the keeper connects at once; without anyone it is not wanted any more.
_LONELY_S = 30.0
_CLOCK_S = 15.0
_CLOCK_OFF_S = 10.0
_LINE_LIMIT = 48 * 1024 * 1024


class Keeper:
    """The lab in the current folder, whose topology stands there in TOPOLOGY.

    All its paths are relative: the name of a socket may hold 107 characters (unix(7)), and the folder's
    own name may be longer.
    """

    def __init__(self) -> None:
        self.topology = Topology.loads(Path(TOPOLOGY).read_text())
        self.guests = {
            spec.name: Guest(self.topology, spec, Path(QMP_LOG), self._write_state)
            for spec in self.topology.machines
        }
        self.bmcs = {
            spec.name: BmcProcess(spec.name, spec.bmc) for spec in self.topology.machines if spec.bmc is not None
        }
        self.since = time.time()
        self.done = asyncio.Event()
        self._leases: set[asyncio.Task[None]] = set()
        self._partitioned: tuple[str, ...] = ()
        self._settled = False
        self._visited = False
        self._handlers: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "status": self._status,
            "power_on": lambda r: self._guest(r).start(),
            "power_off": lambda r: self._guest(r).kill(),
            "powered": self._powered,
            "link": lambda r: self._guest(r).broken.set_link(r["network"], up=r["up"]),
            "drop": lambda r: self._guest(r).broken.set_drop(r["network"], r["way"], on=r["on"]),
            "disk": lambda r: self._guest(r).broken.set_disk(r["disk"], r["fault"]),
            "bmc": self._bmc,
            "partition": self._partition,
            "heal": self._heal,
            "qmp": lambda r: self._guest(r).command(r["command"], r["arguments"]),
            "agent": lambda r: self._guest(r).agent.call(r["command"], r["arguments"], timeout_s=r["timeout_s"]),
            "exec": self._exec,
            "read": lambda r: self._guest(r).agent.read(r["path"], timeout_s=r["timeout_s"]),
            "snapshot": lambda r: self._snapshot(Path(r["folder"])),
            "restore": lambda r: self._restore(Path(r["folder"])),
            "lease": self._lease,
            "settle": self._settle,
            "quit": self._quit,
        }

    async def serve(self) -> None:
        """Take requests until the end; then end every machine."""
        server = await asyncio.start_unix_server(self._client, SOCKET, limit=_LINE_LIMIT)
        await asyncio.gather(*(bmc.start() for bmc in self.bmcs.values()))
        self._write_state()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.done.set)
        loop.call_later(_LONELY_S, lambda: None if self._visited else self.done.set())
        await self.done.wait()
        server.close()
        await self._kill_all()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._visited = True
        task = asyncio.current_task()
        try:
            while line := await reader.readline():
                request = json.loads(line)
                if request["do"] == "lease" and task is not None:
                    self._leases.add(task)
                writer.write(json.dumps(await self._answer(request)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            if task in self._leases and not self._settled:
                self.done.set()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": await self._handlers[request["do"]](request)}
        except PairkeepError as error:
            return {"error": error.message, "hint": error.hint, "input": isinstance(error, InputError)}
        except OSError as error:
            return {"error": f"{request['do']}: {error}", "hint": None, "input": False}

    def _guest(self, request: dict[str, Any]) -> Guest:
        return self.guests[self.topology.machine(request["machine"]).name]

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "since": self.since,
            "settled": self._settled,
            "partitioned": list(self._partitioned),
            "machines": {
                name: {
                    "state": await guest.state(),
                    "pid": None if guest.process is None else guest.process.pid,
                    "ended": guest.ended if guest.process is None else None,
                    "broken": [*guest.broken.in_words(), *(bmc.in_words() if (bmc := self.bmcs.get(name)) else ())],
                    "memory_mib": guest.spec.memory_mib,
                }
                for name, guest in self.guests.items()
            },
        }

    async def _powered(self, request: dict[str, Any]) -> bool:
        return self._guest(request).process is not None

    async def _bmc(self, request: dict[str, Any]) -> None:
        name = self.topology.machine(request["machine"]).name
        if name not in self.bmcs:
            raise InputError(f"{name} has no BMC")
        self.bmcs[name].trouble(mute=request.get("mute"), delay_s=request.get("delay_s"))

    async def _partition(self, request: dict[str, Any]) -> None:
        """Two machines that see each other no more, on any network; none: all see each other."""
        machines = tuple(self.topology.machine(name).name for name in request["machines"])
        if machines and self._partitioned:
            raise InputError(f"{' and '.join(self._partitioned)} do not see each other already")
        changed = [
            spec for spec in self.topology.machines if spec.name in machines or spec.name in self._partitioned
        ]
        taps = [tap_name(spec.name, nic.network) for spec in changed for nic in spec.nics]
        networks.isolate(taps, on=bool(machines))
        self._partitioned = machines

    async def _heal(self, request: dict[str, Any]) -> None:
        guest = self._guest(request)
        if guest.process is None:
            guest.broken.forget()
        else:
            await guest.broken.mend_all()
        if (bmc := self.bmcs.get(guest.spec.name)) is not None:
            bmc.trouble(mute=False, delay_s=0.0)

    async def _exec(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin = None if request["stdin"] is None else base64.b64decode(request["stdin"])
        guest = self._guest(request)
        if guest.process is None:
            raise InputError(f"{guest.spec.name} is off", hint=f"pairkeep lab fault {guest.spec.name} power-on")
        ended = await guest.agent.run(request["argv"], stdin=stdin, timeout_s=request["timeout_s"])
        return {
            "returncode": ended.returncode,
            "stdout": base64.b64encode(ended.stdout).decode(),
            "stderr": base64.b64encode(ended.stderr).decode(),
        }

    async def _snapshot(self, folder: Path) -> None:
        """Save all machines to ``folder``, and let them go on from there."""
        if folder.exists():
            raise InputError(f"there is a snapshot {folder.name!r} already")
        off = [name for name, guest in self.guests.items() if guest.process is None]
        if off:
            raise InputError(f"only running machines can be saved, and off is: {', '.join(off)}")
        broken = [name for name, guest in self.guests.items() if guest.broken.in_words()]
        if broken or self._partitioned:
            raise InputError(f"repair first: {', '.join(broken) or ' and '.join(self._partitioned)}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name in self.guests:
                (making / name).mkdir()
            await self._all(lambda guest: guest.command("stop"))
            try:
                await self._all(lambda guest: guest.save(making / guest.spec.name / snapshots.MEMORY))
            except PairkeepError:
                await self._all(lambda guest: guest.command("cont"))
                raise
            await self._kill_all()
            for name, guest in self.guests.items():
                place = (making / name, folder / name)
                await asyncio.to_thread(snapshots.freeze_disks, self.topology, guest.spec, guest.folder, *place)
            (making / snapshots.DESCRIPTION).write_text(self.topology.dumps())
            await asyncio.to_thread(settle, making)
            making.rename(folder)
        finally:
            if making.exists():
                shutil.rmtree(making)
        await self._restore(folder)

    async def _restore(self, folder: Path) -> None:
        """Put all machines into the state saved in ``folder``, with the time of day of now, running."""
        snapshots.load(folder)
        await self._kill_all()
        await self._partition({"machines": ()})
        for bmc in self.bmcs.values():
            bmc.trouble(mute=False, delay_s=0.0)
        await self._all(lambda guest: guest.start(folder))
        networks.forget_neighbours()
        await self._all(lambda guest: guest.command("cont"))
        await self._all(self._set_clock)

    async def _set_clock(self, guest: Guest) -> None:
        now = {"time": time.time_ns()}
        # The agent sets the clock and then runs hwclock, which the image lacks and which would be slow:
        # that it fails says nothing, so the clock is read (QEMU qga/commands-posix.c, qmp_guest_set_time).
        with contextlib.suppress(AgentError):
            await guest.agent.call("guest-set-time", now, timeout_s=_CLOCK_S)
        found_ns = await guest.agent.call("guest-get-time", timeout_s=_CLOCK_S)
        if abs(found_ns - time.time_ns()) > _CLOCK_OFF_S * 1e9:
            raise PairkeepError(f"{guest.spec.name}: its clock could not be set")

    async def _lease(self, _: dict[str, Any]) -> None:
        self._settled = False

    async def _settle(self, _: dict[str, Any]) -> None:
        self._settled = True

    async def _quit(self, _: dict[str, Any]) -> None:
        await self._kill_all()
        self.done.set()

    async def _kill_all(self) -> None:
        await self._all(lambda guest: guest.kill())

    async def _all(self, action: Callable[[Guest], Awaitable[Any]]) -> None:
        """Do ``action`` with every machine at the same time; raises the first error when all have ended."""
        results = await asyncio.gather(*map(action, self.guests.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _write_state(self) -> None:
        """Who belongs to this lab, for cleaning up should the keeper not be able to."""
        own = Process.find(os.getpid())
        processes = {name: guest.process for name, guest in self.guests.items()}
        state = {
            "keeper": None if own is None else vars(own),
            "machines": {name: vars(process) for name, process in processes.items() if process is not None},
        }
        making = Path(f".{STATE}")
        making.write_text(json.dumps(state, indent=1) + "\n")
        making.replace(STATE)


async def _main() -> None:
    keeper = Keeper()
    networks.create(keeper.topology)
    await keeper.serve()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    asyncio.run(_main())
