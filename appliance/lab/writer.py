# SPDX-License-Identifier: GPL-2.0-or-later
"""A client that writes rows through the service address and remembers which ones were acknowledged.

`python -m appliance.lab.writer LOG` runs inside the lab's namespace until it is ended by SIGTERM. Each
acknowledged row is one JSON line in LOG: its number, and when (Unix time) its commit was answered.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pymysql

from appliance.lab.pair import DATABASE, PASSWORD, SERVICE_ADDRESS, USER

# Shorter than any failover, so that a dead connection is given up and a new one tried.
TIMEOUT_S = 1.0
# An address that has not moved yet does not answer at all. Asking again soon shows when it does.
CONNECT_S = 0.25
# Between two tries to connect, and between two rows.
PAUSE_S = 0.05
TABLE = "CREATE TABLE IF NOT EXISTS written (id BIGINT PRIMARY KEY, made DOUBLE, filler TEXT)"
# What a failover may look like to a client. Anything else is a mistake, and ends the writer.
UNREACHABLE = (pymysql.OperationalError, pymysql.InterfaceError, pymysql.InternalError, OSError)


@dataclass(frozen=True)
class Acknowledged:
    row: int
    at: float


@dataclass(frozen=True)
class Outage:
    """The longest time between two acknowledged rows, as Unix times."""

    last_before: float
    first_after: float

    @property
    def seconds(self) -> float:
        return self.first_after - self.last_before


def connect(timeout_s: float = TIMEOUT_S, connect_s: float = CONNECT_S) -> Any:
    """A connection through the service address. Raises pymysql.MySQLError or OSError."""
    return pymysql.connect(
        host=SERVICE_ADDRESS,
        user=USER,
        password=PASSWORD,
        database=DATABASE,
        connect_timeout=connect_s,
        read_timeout=timeout_s,
        write_timeout=timeout_s,
        autocommit=True,
    )


def write(log: Path, pause_s: float = PAUSE_S) -> None:
    """Write rows for ever. One whose commit was not answered is not acknowledged, its number not used again."""
    row = 0
    with log.open("a", buffering=1) as out:
        while True:
            with contextlib.suppress(*UNREACHABLE):
                connection = connect()
                with contextlib.closing(connection), connection.cursor() as cursor:
                    if row == 0:
                        cursor.execute(TABLE)
                    while True:
                        row += 1
                        cursor.execute(
                            "INSERT INTO written VALUES (%s, %s, REPEAT(%s, 200))", (row, time.time(), "x")
                        )
                        out.write(json.dumps({"row": row, "at": time.time()}) + "\n")
                        time.sleep(pause_s)
            time.sleep(pause_s)


def read_log(log: Path) -> list[Acknowledged]:
    """What was acknowledged, oldest first. A half-written last line is left out."""
    return list(_lines(log))


def _lines(log: Path) -> Iterator[Acknowledged]:
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            yield Acknowledged(**json.loads(line))


def longest_outage(rows: list[Acknowledged], since: float = 0.0) -> Outage:
    """The longest pause that ended after ``since``. Needs two rows."""
    pairs = [Outage(before.at, after.at) for before, after in pairwise(rows) if after.at >= since]
    return max(pairs, key=lambda outage: outage.seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--check", action="store_true", help="print which rows the database holds, as JSON")
    parser.add_argument("--ping", action="store_true", help="connect once, and end")
    args = parser.parse_args()
    if args.ping:
        connect(timeout_s=5, connect_s=5).close()
        return 0
    if args.check:
        with contextlib.closing(connect(timeout_s=30, connect_s=30)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM written ORDER BY id")
            json.dump([number for (number,) in cursor.fetchall()], sys.stdout)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    write(args.log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
