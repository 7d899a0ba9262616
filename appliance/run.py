# SPDX-License-Identifier: GPL-2.0-or-later
"""The one way to run another program."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.errors import InputError, PairkeepError

Argument = str | os.PathLike[str]
# How long a program that was killed has to be gone.
KILLED_S = 1.0
# How long a program may tidy up after itself when whoever asked for it does not want it any more.
TIDY_S = 10.0
# The kernel ends what follows these words when the thread that started it ends, however that comes (prctl(2),
# PR_SET_PDEATHSIG).
MORTAL = ("setpriv", "--pdeathsig", "KILL", "--")


class RunError(PairkeepError):
    """A program ended otherwise than it should; says which, how, what it printed, and what to paste.

    ``returncode`` is the exit status, negative for a signal, None when the time ran out. ``left``: it was killed
    and is still there, as one is that waits in the kernel for a disk; what it was to do may yet be done.
    """

    def __init__(
        self,
        argv: Sequence[str],
        returncode: int | None,
        output: str,
        left: subprocess.Popen[str] | None = None,
    ) -> None:
        if returncode is None:
            ended = "ran out of time"
        elif returncode < 0:
            ended = f"was ended by signal {-returncode}"
        else:
            ended = f"ended with {returncode}"
        tail = "\n".join(output.strip().splitlines()[-12:])
        super().__init__(
            f"{Path(argv[0]).name} {ended}" + (f": {tail}" if tail else ""),
            hint=f"to see it yourself: {shlex.join(argv)}",
        )
        self.argv = tuple(argv)
        self.returncode = returncode
        self.output = output
        self.left = left


def run(
    argv: Sequence[Argument],
    *,
    check: bool = True,
    timeout_s: float | None = None,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    shown: bool = False,
    group: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` (never through a shell) and return it with ``stdout`` and ``stderr`` as text.

    ``env`` is laid over this process's environment. Without ``stdin`` the program reads end-of-file.
    ``shown``: what it prints goes where this process prints, and is not returned.
    ``group``: it and all that it starts are a process group of their own, which is told to end as a whole. That is
    for one that leaves its work to children, or signals its whole group. A terminal's Ctrl-C reaches it only by way
    of this process, and it can ask nothing on that terminal.
    Raises RunError when ``check`` and it does not exit with 0, or when ``timeout_s`` ran out;
    InputError when the program does not exist.
    """
    words = [os.fspath(word) for word in argv]
    output_to = None if shown else subprocess.PIPE
    try:
        program = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=output_to,
            stderr=output_to,
            text=True,
            errors="replace",
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            process_group=0 if group else None,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.exists():
            raise
        raise InputError(
            f"the program {words[0]} is not installed", hint="make setup installs what is needed"
        ) from error
    try:
        stdout, stderr = program.communicate(stdin, timeout_s)
    except subprocess.TimeoutExpired as error:
        output = _killed(program, group)
        raise RunError(words, None, output, program if program.poll() is None else None) from error
    except BaseException:
        try:
            _signal(program, signal.SIGTERM, group)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.communicate(timeout=TIDY_S)
        finally:
            _killed(program, group)
        raise
    if check and program.returncode != 0:
        raise RunError(words, program.returncode, stderr or stdout or "")
    return subprocess.CompletedProcess(words, program.returncode, stdout or "", stderr or "")


def _signal(program: subprocess.Popen[str], number: signal.Signals, group: bool) -> None:
    """Signal ``program``, or its ``group``: that has its number for as long as it has not been waited for."""
    if not group:
        program.send_signal(number)
    elif program.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)


def _killed(program: subprocess.Popen[str], group: bool) -> str:
    """End ``program``; returns what it had printed.

    One that waits in the kernel for a disk cannot be ended before the disk answers. It is not waited for, or the
    time that it was given would be no bound.
    """
    _signal(program, signal.SIGKILL, group)
    try:
        return "".join(text for text in program.communicate(timeout=KILLED_S) if text)
    except subprocess.TimeoutExpired:
        return ""
