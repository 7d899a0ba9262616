# SPDX-License-Identifier: GPL-2.0-or-later
"""The join port in this machine's nftables rules: open while somebody may join, and never for longer.

The rules (render/nftables.conf.j2) have a set for it. What is put there carries its own end, so a program
that is killed leaves nothing open.
"""

from __future__ import annotations

import shutil

from appliance.run import run

SET = ("inet", "pairkeep", "joining")


def open_port(port: int, for_s: float) -> None:
    """Let other machines reach ``port`` for ``for_s`` seconds from now. Raises RunError."""
    if _there():
        close_port(port)
        run(["nft", "add", "element", *SET, f"{{ {port} timeout {max(1, round(for_s))}s }}"], timeout_s=10)


def close_port(port: int) -> None:
    if _there():
        run(["nft", "delete", "element", *SET, f"{{ {port} }}"], check=False, timeout_s=10)


def _there() -> bool:
    """Whether this machine has our rules; one that only tests or builds has not."""
    return shutil.which("nft") is not None and run(["nft", "list", "set", *SET], check=False).returncode == 0
