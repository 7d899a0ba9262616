# SPDX-License-Identifier: GPL-2.0-or-later
"""Mail by whatever brings /usr/sbin/sendmail, and the administrator's own program.

Both are started by systemd, for they are others' programs: what the supervisor may not do is no limit for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.config.notify import Notify
from appliance.run import run

SENDMAIL = Path("/usr/sbin/sendmail")
OUTSIDE = ("systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--property=RuntimeMaxSec=60")
TIMEOUT_S = 90.0


def message(notify: Notify, cluster: str, node: str, lines: Sequence[str]) -> str:
    """A mail: RFC 5322, as `sendmail -t` reads it. Other letters than those of US-ASCII are in its body only."""
    subject = lines[0] if len(lines) == 1 else f"{len(lines)} changes"
    safe = subject.encode("ascii", "replace").decode()[:120]
    return (
        f"From: {notify.sender}\nTo: {', '.join(notify.mail)}\nSubject: [{cluster}] {safe}\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
        f"Auto-Submitted: auto-generated\n\nSeen by {node}:\n\n" + "".join(f"{line}\n" for line in lines)
    )


def tell(notify: Notify, cluster: str, node: str, lines: Sequence[str]) -> None:
    """Blocks until both have taken it. Raises PairkeepError when one does not."""
    if notify.program is not None:
        # Standard input has the lines; the words say whose they are.
        run(
            (*OUTSIDE, notify.program, cluster, node),
            stdin="".join(f"{line}\n" for line in lines),
            timeout_s=TIMEOUT_S,
        )
    if notify.mail and SENDMAIL.exists():
        run((*OUTSIDE, SENDMAIL, "-t", "-oi"), stdin=message(notify, cluster, node, lines), timeout_s=TIMEOUT_S)
