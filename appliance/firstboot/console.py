# SPDX-License-Identifier: GPL-2.0-or-later
"""A person sits down at a terminal of this machine: `pairkeep setup`, or Enter on a console of a blank machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

from appliance.errors import InputError, PairkeepError
from appliance.firstboot import compose, state
from appliance.firstboot.__main__ import AGREED, NOTICE
from appliance.firstboot.forming import begin_anew, taken_up
from appliance.firstboot.given import Given
from appliance.firstboot.install import install
from appliance.firstboot.look import dumb, give_size, look_of
from appliance.firstboot.prompt import Prompt
from appliance.firstboot.session import FirstBoot, Session, Settings
from appliance.firstboot.steps import CLUSTER_TOML
from appliance.firstboot.this_machine import ThisMachine

# Held while somebody sets the machine up; says on which terminal, and by which process.
LOCK = Path("/run/pairkeep/setup.lock")
LEAVE_S = 10.0
# Asking how the forming ended; then a person is asked again whether to wait.
ASK_S = 30.0
ANEW = "begin anew"


def sit_down(*, plain: bool, take_over: bool) -> bool:
    """Whether it was carried through. Raises InputError when somebody else is at it, or without a terminal.

    ``take_over``: who is at it on another terminal is shown the door; what was answered there is kept.
    """
    if os.geteuid() != 0:
        raise InputError("only root can set a machine up", hint="sudo pairkeep setup")
    if not sys.stdin.isatty():
        raise InputError("pairkeep setup asks a person, and there is no terminal", hint="pairkeep answers --help")
    with _alone(take_over=take_over):
        set_up = CLUSTER_TOML.exists()
        if not set_up and _taken_up():
            return True
        session: Session = Settings(ThisMachine()) if set_up else _first_boot()
        term = os.environ.get("TERM", "")
        if plain or dumb(term):
            return Prompt(session, sys.stdin, sys.stdout).run()
        give_size(sys.stdin.fileno())
        # Only here: a dumb terminal never needs it.
        from appliance.firstboot.tui import Tui

        return Tui(session, look_of(term)).run()


def _first_boot() -> FirstBoot:
    """With the reason why an answers file was not enough."""
    session = FirstBoot(ThisMachine())
    if NOTICE.exists():
        session.wizard.go_to(session.wizard.page.key, NOTICE.read_text().strip())
        NOTICE.unlink()
    return session


def _taken_up() -> bool:
    """The power went while the cluster was being formed: whether that is carried through now.

    Only a person may give up what this machine has agreed to, for the others may run already.
    """
    while any(path.exists() for path in AGREED):
        print("The power went while the cluster was being formed.")
        typed = input(f'Enter asks the first machine how that ended, "{ANEW}" gives it up: ').strip()
        try:
            if typed == ANEW:
                begin_anew()
                return False
            made = taken_up(print, within_s=ASK_S)
            if made is None:
                return False
            install(compose.answers(Given(ThisMachine().facts(), state.load().values), made), print)
            return True
        except PairkeepError as error:
            print(f"! {error}")
    return False


def _alone(*, take_over: bool) -> TextIO:
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = LOCK.open("a+")
    deadline = time.monotonic() + LEAVE_S
    while not _locked(lock):
        lock.seek(0)
        where, _, pid = lock.read().strip().partition(" ")
        if not take_over or time.monotonic() > deadline:
            lock.close()
            raise InputError(f"this machine is being set up on {where}", hint="pairkeep setup --take-over")
        # It saves after every page, and its screen says where it went on.
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(pid), signal.SIGHUP)
        time.sleep(0.2)
    # Whoever takes over sends this, and it has to work for a process that was started with nohup as well.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    lock.truncate(0)
    lock.write(f"{os.ttyname(sys.stdin.fileno())} {os.getpid()}")
    lock.flush()
    return lock


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
