# SPDX-License-Identifier: GPL-2.0-or-later
"""Online verify of a DRBD resource, and the resync that repairs what it finds.

When the last one ended is kept on disk, by the wall clock: no supervisor, nor machine, may run for as long as lies
between two of them. While one runs it counts by the machine's own clock, which does not jump.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gi.repository import GLib

from appliance.decide.view import DrbdReport
from appliance.errors import InputError, PairkeepError
from appliance.files import replace_file
from appliance.supervisor.service import SupervisorService
from appliance.supervisor.world import Event

# How often it is looked whether a verify is due.
LOOK_S = 30
# Per DRBD resource when it was last compared (``last``), or when it was first to be, and how the last time ended.
KEPT = Path("/var/lib/pairkeep/verify.json")

log = logging.getLogger("pairkeep")


class Verifier:
    """``results``: per resource the running or last verify, as the status shows it."""

    def __init__(self, service: SupervisorService) -> None:
        self._service = service
        self.results: dict[str, dict[str, Any]] = {}
        self._due = {d.name: d.verify_every_h * 3600 for d in service.core.cluster.drbd if d.verify_every_h}
        self._kept = _read()
        self.results |= {name: kept["result"] for name, kept in self._kept.items() if kept["result"]}
        now = time.time()
        new = {name: {"last": now, "result": None} for name in self._due if name not in self._kept}
        # What lies in the future by a clock that has jumped counts as now: once, and a whole time from here.
        self._last = {name: service.now() - max(0.0, now - (self._kept | new)[name]["last"]) for name in self._due}
        if new:
            self._keep(new)
        if self._due:
            GLib.timeout_add_seconds(LOOK_S, self._start_what_is_due)

    def _start_what_is_due(self) -> bool:
        """The Primary compares, since it can repair. What cannot be compared now is tried at the next look."""
        now = self._service.now()
        for name, every_s in self._due.items():
            report = self._service.core.local.drbd.get(name, DrbdReport())
            resting = report.paired and not self._service.core.view.record.maintenance
            if report.role == "Primary" and resting and now - self._last[name] >= every_s:
                with contextlib.suppress(InputError):
                    self.start(name)
        return True

    def start(self, name: str) -> None:
        """Begin; raises InputError when the disks are not in a state to be compared."""
        if self.results.get(name, {}).get("state") in ("running", "repairing"):
            raise InputError(f"{name} is being verified already")
        report = self._service.core.local.drbd.get(name, DrbdReport())
        if not report.paired:
            raise InputError(
                f"{name} cannot be verified: it needs both disks UpToDate and connected, and here it is "
                f"{report.disk}, the peer {report.peer_disk}, {report.connection}"
            )
        self._last[name] = self._service.now()
        self._set(name, "running", "0 % compared", percent=0.0)
        self._service.lanes.put(f"verify:{name}", lambda: self._verify(name))

    def _verify(self, name: str) -> Callable[[], None]:
        drbd = self._service.executor.drbd[name]
        began = time.monotonic()
        try:
            found = drbd.verify(lambda percent: self._set(name, "running", f"{percent:.0f} % compared", percent))
            if found.out_of_sync_kib:
                self._set(name, "repairing", f"{found.out_of_sync_kib} KiB differ, being repaired", 100.0)
                drbd.repair()
        except PairkeepError as error:
            text = error.message
            return lambda: self._ended(name, "failed", text, None)
        seconds = time.monotonic() - began
        kib = found.out_of_sync_kib
        text = f"{kib} KiB differed and were repaired" if kib else "no difference found"
        return lambda: self._ended(name, "done", f"{text} ({seconds:.0f} s)", kib)

    def _ended(self, name: str, state: str, text: str, kib: int | None) -> None:
        self._set(name, state, text, 100.0, kib)
        result = self.results[name]
        # One that failed is yet to be done.
        last = self._kept.get(name, {}).get("last", 0.0) if state == "failed" else result["at"]
        self._keep({name: {"last": last, "result": result}})
        self._service.tell(Event("verify", f"verify of {name}: {text}", {"drbd": name, "out_of_sync_kib": kib}))

    def _keep(self, news: dict[str, dict[str, Any]]) -> None:
        self._kept |= news
        text = json.dumps(self._kept)

        def write() -> Callable[[], None]:
            try:
                replace_file(KEPT, text.encode())
            except OSError as error:
                log.warning("when disks were compared cannot be written down: %s", error)
            return lambda: None

        self._service.lanes.put("verify", write)

    def _set(self, name: str, state: str, text: str, percent: float, kib: int | None = None) -> None:
        self.results[name] = {
            "state": state,
            "text": text,
            "percent": percent,
            "out_of_sync_kib": kib,
            "at": time.time(),
        }


def _read() -> dict[str, dict[str, Any]]:
    try:
        kept = json.loads(KEPT.read_text()).items()
        return {name: {"last": float(one["last"]), "result": one["result"]} for name, one in kept}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # None yet, damaged, or another Pairkeep's: it is written anew, and costs that one verify comes late.
        return {}
