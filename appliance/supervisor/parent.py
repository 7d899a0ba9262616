# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's parent: it has loaded all that a supervisor needs, and forks the next one when one ends.

To load Python's modules takes most of a supervisor's start: seconds on a slow machine, of the few that the
watchdog allows. A forked one starts without. The parent has one thread, opens nothing and decides nothing, so
there is little that could end it; if something does, its child is killed by the kernel, and systemd starts both.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# include/uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1
# One that lived for less than this is not followed at once: what ended it is still there.
SHORT_LIFE_S = 5.0
PAUSE_S = 1.0
# So long after a child's start the machine has better things to do than to prepare for the next one.
BUSY_S = 30.0
_LONGEST_NAME = 64
# How long what a supervisor has left at work may take to be gone; one that waits for a disk may never be.
LEFTOVERS_S = 5.0
POLL_S = 0.02
CGROUPS = Path("/sys/fs/cgroup")
UNIT = "pairkeep.service"


class Keep:
    """What a child has of its parent: the descriptors that its forerunners left, and where to leave more."""

    def __init__(self, handles: Mapping[str, int], left: socket.socket) -> None:
        self._handles = handles
        self._left = left

    def handle(self, name: str) -> int | None:
        return self._handles.get(name)

    def leave(self, name: str, handle: int) -> None:
        """Let ``handle`` stay open when this process ends, for the next one."""
        socket.send_fds(self._left, [name.encode()], [handle])


class Parent:
    """``handles``: descriptors by name that an earlier parent left; ``left``: told of each new one.

    ``prepare`` loads what a child loads only after its start, so that the next one has that as well.
    """

    def __init__(
        self, handles: Mapping[str, int], left: Callable[[str, int], None], prepare: Callable[[], None]
    ) -> None:
        self._handles = dict(handles)
        self._left = left
        self._prepare = prepare
        self._prepared = False
        self._child = 0
        self._ending = False

    def fork(self) -> Keep:
        """Returns in the children only, in one after the other; the parent ends with the last one's exit code.

        That is the one which ends after a SIGTERM. To be called while there is one thread.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        while True:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            # Until the child's number is known, a SIGTERM has to wait.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            if self._ending:
                sys.exit(0)
            # What the collector leaves alone stays shared with the children (gc.freeze).
            gc.freeze()
            began, parent = time.monotonic(), os.getpid()
            self._child = os.fork()
            if self._child == 0:
                ours.close()
                _die_with(parent)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                return Keep(self._handles, theirs)
            theirs.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            self._attend(ours)
            code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
            self._child = 0
            if self._ending:
                sys.exit(max(code, 0))
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            print(f"the supervisor {how}; the next one starts", file=sys.stderr, flush=True)
            _end_leftovers()
            if time.monotonic() - began < SHORT_LIFE_S:
                time.sleep(PAUSE_S)

    def _attend(self, ours: socket.socket) -> None:
        """Take what the child leaves, until it ends: then the kernel closes its end."""
        with ours:
            while True:
                if not self._prepared and not select.select([ours], [], [], BUSY_S)[0]:
                    self._prepare()
                    self._prepared = True
                name, handles, _, _ = socket.recv_fds(ours, _LONGEST_NAME, 1, socket.MSG_CMSG_CLOEXEC)
                if not name:
                    return
                self._handles[name.decode()] = handles[0]
                self._left(name.decode(), handles[0])

    def _terminate(self, _number: int, _frame: object) -> None:
        self._ending = True
        # It may have ended this moment.
        with contextlib.suppress(ProcessLookupError):
            if self._child:
                os.kill(self._child, signal.SIGTERM)


def _end_leftovers() -> None:
    """End what the last child began, such as a mount, and wait for it.

    The next one looks at what there is, and what is not yet mounted then must not be so a moment later. What
    systemd or the kernel does for it is not among these processes.
    """
    # Version 2 of cgroups has the line "0::PATH" (cgroups(7)). Only in a unit of its own all processes are ours.
    own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    if Path(own).name != UNIT:
        return
    deadline = time.monotonic() + LEFTOVERS_S
    while time.monotonic() < deadline:
        pids = (CGROUPS / own / "cgroup.procs").read_text().split()
        left = [int(pid) for pid in pids if int(pid) != os.getpid()]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _die_with(parent: int) -> None:
    """Two supervisors must never be at work: the kernel kills this one when its parent ends (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(70)
