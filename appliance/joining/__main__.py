# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 -m appliance.joining`: on the machine that has formed a cluster, tells those in doubt that it did.

pairkeep-join.service runs it while there is a record of such machines. See records.py.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path

from appliance.errors import PairkeepError
from appliance.joining import records
from appliance.joining.answering import answer
from appliance.joining.channel import PORT, Lost, Wire, greeted
from appliance.joining.firewall import close_port, open_port
from appliance.joining.host import listen

log = logging.getLogger("pairkeep-join")
# At every boot; a machine in doubt asks every few seconds for as long as it runs.
FOR_S = 3600.0
# One that has not asked for so long has been told, and only its own last word was lost; or it is no more.
FORGET_S = 7 * 86400.0
OPEN_AGAIN_S = 30.0


def serve(folder: Path = records.FOLDER, port: int = PORT, for_s: float = FOR_S) -> None:
    """Returns when nobody is in doubt any more, or after ``for_s``."""
    record = records.load_hosted(folder)
    if record is not None and time.time() - (folder / records.HOSTED).stat().st_mtime > FORGET_S:
        for session in record.members:
            records.settle_member(folder, session)
    deadline = time.monotonic() + for_s
    with contextlib.closing(listen(port)) as listener:
        while (record := records.load_hosted(folder)) is not None and record.members:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                # Again and again: whoever loads the rules anew, as pairkeep apply does, closes it.
                open_port(port, left)
            except PairkeepError as error:
                log.warning("%s", error)
            listener.settimeout(min(left, OPEN_AGAIN_S))
            # One after the other: each has few seconds, and who waits asks again.
            with contextlib.suppress(Lost, OSError):
                sock, _ = listener.accept()
                with contextlib.closing(Wire(sock)) as wire:
                    hello = greeted(wire)
                    if hello.kind == "resume":
                        answer(wire, hello, folder, deciding=False)
                        log.info("%s has asked how it ended, and was told", wire.peer)
    close_port(port)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    serve()
