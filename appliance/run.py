# SPDX-License-Identifier: GPL-2.0-or-later
"""The one way to run another program."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.errors import InputError, PairkeepError

Argument = str | os.PathLike[str]


class RunError(PairkeepError):
    """A program ended otherwise than it should; says which, how, what it printed, and what to paste.

    ``returncode`` is the exit status, negative for a signal, None when the time ran out.
    """

    def __init__(self, argv: Sequence[str], returncode: int | None, output: str) -> None:
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


def run(
    argv: Sequence[Argument],
    *,
    check: bool = True,
    timeout_s: float | None = None,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` (never through a shell) and return it with ``stdout`` and ``stderr`` as text.

    ``env`` is laid over this process's environment. Without ``stdin`` the program reads end-of-file.
    Raises RunError when ``check`` and it does not exit with 0, or when ``timeout_s`` ran out;
    InputError when the program does not exist.
    """
    words = [os.fspath(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.exists():
            raise
        raise InputError(
            f"the program {words[0]} is not installed", hint="make setup installs what is needed"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunError(words, None, _text(error.stdout) + _text(error.stderr)) from error
    if check and done.returncode != 0:
        raise RunError(words, done.returncode, done.stderr or done.stdout)
    return done


def _text(data: bytes | str | None) -> str:
    return data.decode(errors="replace") if isinstance(data, bytes) else data or ""
