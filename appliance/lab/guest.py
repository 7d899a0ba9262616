# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine as the keeper holds it: its QEMU process, its QMP and its guest agent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError

from appliance.errors import InputError, PairkeepError
from appliance.lab import qemu, snapshots
from appliance.lab.agent import Agent
from appliance.lab.breakage import Breakage
from appliance.lab.process import Process
from appliance.lab.spec import MachineSpec, Topology
from appliance.run import MORTAL

_START_S = 20.0
_QMP_S = 30.0
_SAVE_S = 120.0
# QEMU limits a migration to 128 MiB/s unless told otherwise, even of a machine that stands still.
_BANDWIDTH = 64 * 1024**3
_LOG_LIMIT = 4000


class Guest:
    """One machine. The file ``log`` receives what QMP says, as JSON lines; ``changed`` is called whenever
    the machine starts or ends.
    """

    def __init__(self, topology: Topology, spec: MachineSpec, log: Path, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.folder = Path(spec.name)
        self.agent = Agent(spec.name, self.folder / qemu.AGENT_SOCKET)
        self.process: Process | None = None
        self.ended = "never started"
        self.broken = Breakage(spec, self.command)
        self._topology = topology
        self._log = log
        self._changed = changed
        self._lives = 0
        self._starting = asyncio.Lock()
        self._qmp: QMPClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone: asyncio.Event = asyncio.Event()
        self._program: asyncio.subprocess.Process | None = None

    async def start(self, source: Path | None = None) -> None:
        """Boot the machine; or, with the snapshot folder ``source``, let it wait in that state, paused."""
        async with self._starting:
            if self.process is not None:
                raise InputError(f"{self.spec.name} is running already")
            await self._start(source)

    async def _start(self, source: Path | None) -> None:
        if source is not None and self.folder.exists():
            shutil.rmtree(self.folder)
            self._lives = 0
            self.broken.forget()
        self.folder.mkdir(exist_ok=True)
        if source is None:
            await asyncio.to_thread(snapshots.create_disks, self._topology, self.spec, self.folder)
        else:
            snapshots.lay_out_disks(self.spec, source / self.spec.name, self.folder)
        if self.spec.answers is not None:
            credential = base64.b64encode(self.spec.answers.encode()).decode()
            text = f"io.systemd.credential.binary:pairkeep.toml={credential}"
            (self.folder / qemu.ANSWERS_FILE).write_text(text)
        self._lives += 1
        await self._spawn(incoming=source is not None)
        if source is not None:
            await self._load(source / self.spec.name / snapshots.MEMORY)

    async def kill(self) -> None:
        """Cut the power; returns when it is off. Nothing happens to a machine that is off."""
        if self._program is not None and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._program.kill()
            await self._gone.wait()

    async def command(self, name: str, arguments: Mapping[str, object] | None = None) -> Any:
        """One QMP command's answer. Raises PairkeepError when it is refused or the machine is off."""
        if self._qmp is None:
            raise InputError(f"{self.spec.name} is off")
        entry: dict[str, Any] = {"execute": name, "arguments": dict(arguments or {})}
        try:
            async with asyncio.timeout(_QMP_S):
                entry["answer"] = await self._qmp.execute(name, dict(arguments or {}))
                return entry["answer"]
        except (QMPError, TimeoutError) as error:
            entry["failed"] = str(error) or "no answer"
            raise PairkeepError(f"{self.spec.name}: QEMU refused {name}: {entry['failed']}") from error
        finally:
            self._write_log(entry)

    async def state(self) -> str:
        """In QEMU's words ("running", "paused", …), or "off"."""
        if self._qmp is None:
            return "off"
        return str((await self.command("query-status"))["status"])

    async def save(self, target: Path) -> None:
        """Write the memory of this machine, which must stand still, to ``target``."""
        await self._mapped_ram()
        await self.command("migrate", {"uri": f"file:{target}"})
        deadline = time.monotonic() + _SAVE_S
        while True:
            answer = await self.command("query-migrate")
            if answer["status"] == "completed":
                return
            if answer["status"] in ("failed", "cancelled") or time.monotonic() > deadline:
                why = answer.get("error-desc", answer["status"])
                raise PairkeepError(f"{self.spec.name}: its memory could not be saved: {why}")
            await asyncio.sleep(0.05)

    async def _load(self, memory: Path) -> None:
        await self._mapped_ram()
        await self.command("migrate-incoming", {"uri": f"file:{memory}"})
        deadline = time.monotonic() + _SAVE_S
        while await self.state() == "inmigrate":
            if time.monotonic() > deadline:
                raise PairkeepError(f"{self.spec.name}: its memory could not be read")
            await asyncio.sleep(0.02)

    async def _mapped_ram(self) -> None:
        capability = {"capability": "mapped-ram", "state": True}
        await self.command("migrate-set-capabilities", {"capabilities": [capability]})
        await self.command("migrate-set-parameters", {"max-bandwidth": _BANDWIDTH})

    async def _spawn(self, *, incoming: bool) -> None:
        for name in (qemu.QMP_SOCKET, qemu.AGENT_SOCKET, qemu.SERIAL_SOCKET):
            (self.folder / name).unlink(missing_ok=True)
        argv = qemu.argv(self._topology, self.spec, life=self._lives, incoming=incoming)
        self._gone = asyncio.Event()
        with (self.folder / "qemu.log").open("ab") as output:
            self._program = await asyncio.create_subprocess_exec(
                *(*MORTAL, *argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )
        self.process = Process.find(self._program.pid)
        self._changed()
        self._spawn_task(self._wait(self._program))
        await self._connect()

    async def _connect(self) -> None:
        qmp = QMPClient(self.spec.name)
        deadline = time.monotonic() + _START_S
        while True:
            if self._gone.is_set() or time.monotonic() > deadline:
                await self.kill()
                printed = (self.folder / "qemu.log").read_text(errors="replace").strip()
                raise PairkeepError(f"QEMU did not start {self.spec.name}: {printed[-_LOG_LIMIT:] or self.ended}")
            # Only once the socket is there: qemu.qmp logs every refused connection as an error.
            if (self.folder / qemu.QMP_SOCKET).exists():
                with contextlib.suppress(QMPError, OSError):
                    await qmp.connect(str(self.folder / qemu.QMP_SOCKET))
                    break
            await asyncio.sleep(0.02)
        self._qmp = qmp
        self._spawn_task(self._follow(qmp))
        await self.broken.break_again()

    async def _wait(self, program: asyncio.subprocess.Process) -> None:
        code = await program.wait()
        self.ended = f"QEMU ended with {code}" if code >= 0 else f"QEMU was ended by signal {-code}"
        self._write_log({"ended": self.ended})
        self.process = None
        self.agent.close()
        qmp, self._qmp = self._qmp, None
        self._gone.set()
        self._changed()
        if qmp is not None:
            with contextlib.suppress(QMPError, EOFError, OSError):
                await qmp.disconnect()

    async def _follow(self, qmp: QMPClient) -> None:
        async for event in qmp.events:
            self._write_log(dict(event))

    def _spawn_task(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _write_log(self, entry: Mapping[str, Any]) -> None:
        entry = {"time": round(time.time(), 3), "machine": self.spec.name, **entry}
        with self._log.open("a") as log:
            log.write(json.dumps(entry)[:_LOG_LIMIT] + "\n")
