# SPDX-License-Identifier: GPL-2.0-or-later
"""One check: ends with 0 when the server works; otherwise with 1, and says why. keepalived runs it."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from pathlib import Path

from appliance.drivers import secret
from appliance.errors import PairkeepError
from appliance.health.ask import KINDS, Login, Unwell

NOBODY = "nobody"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m appliance.health")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--timeout", type=float, default=3.0)
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--host")
    parser.add_argument("--tcp", action="store_true")
    said = parser.parse_args(argv)
    try:
        password = secret.read(said.password_file) if said.password_file else ""
        _be_nobody()
        login = Login(said.user, password, said.database, said.host, said.tcp)
        KINDS[said.kind](said.address, said.port, said.timeout, login)
    except (Unwell, OSError, PairkeepError) as error:
        print(f"{said.kind} {said.address} {said.port}: {error}", file=sys.stderr)
        return 1
    return 0


def _be_nobody() -> None:
    """What a server answers is read without any right: it may have been taken over."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(NOBODY)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


if __name__ == "__main__":
    sys.exit(main())
