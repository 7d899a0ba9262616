# SPDX-License-Identifier: GPL-2.0-or-later
"""Online verify of a DRBD resource, and the resync that repairs what it finds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from gi.repository import GLib

from appliance.decide.view import DrbdReport
from appliance.errors import InputError, PairkeepError
from appliance.supervisor.service import SupervisorService
from appliance.supervisor.world import Event

# How often it is looked whether a verify is due.
LOOK_S = 30


class Verifier:
    """``results``: per resource the running or last verify, as the status shows it."""

    def __init__(self, service: SupervisorService) -> None:
        self._service = service
        self.results: dict[str, dict[str, Any]] = {}
        self._due = {d.name: d.verify_every_h * 3600 for d in service.core.cluster.drbd if d.verify_every_h}
        self._last = dict.fromkeys(self._due, service.now())
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
        self._service.tell(Event("verify", f"verify of {name}: {text}", {"drbd": name, "out_of_sync_kib": kib}))

    def _set(self, name: str, state: str, text: str, percent: float, kib: int | None = None) -> None:
        self.results[name] = {
            "state": state,
            "text": text,
            "percent": percent,
            "out_of_sync_kib": kib,
            "at": time.time(),
        }
