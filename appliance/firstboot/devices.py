# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and cards that come up late: behind slow controllers, or on a bus that is scanned at leisure."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from appliance.firstboot.fields import Values
from appliance.firstboot.given import LINK_PAGE
from appliance.run import run

WAIT_S = 30.0
_POLL_S = 0.25
_NET = Path("/sys/class/net")


def settle() -> None:
    """Until all that the kernel has found so far has its names, which on most machines is at once."""
    run(["udevadm", "settle", "--timeout=30"], check=False, timeout_s=120)


def named(pages: Mapping[str, Values]) -> tuple[str, ...]:
    """The disk and the cards that answers to the wizard's pages speak of."""
    disk = pages.get("disk", {}).get("disk", "")
    cards = (
        key.removeprefix(LINK_PAGE)
        for key, page in pages.items()
        if key.startswith(LINK_PAGE) and page.get("use") != "unused"
    )
    return (*((disk,) if disk else ()), *cards)


def wait_for(names: Collection[str], report: Callable[[str], None]) -> tuple[str, ...]:
    """Until all of ``names`` are there, or `WAIT_S` are over; returns those that are missing even then.

    ``names``: paths of disks, names and MAC addresses of cards.
    """
    missing = _missing(names)
    if not missing:
        return ()
    report(f"waiting up to {WAIT_S:.0f} s for {' and '.join(missing)}")
    until = time.monotonic() + WAIT_S
    while missing and time.monotonic() < until:
        time.sleep(_POLL_S)
        missing = _missing(names)
    # What has come may not have all its names yet.
    settle()
    if missing:
        report(f"not there after {WAIT_S:.0f} s: {' and '.join(missing)}")
    return missing


def _missing(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not _is_there(name))


def _is_there(name: str) -> bool:
    if name.startswith("/"):
        return Path(name).exists()
    if ":" not in name:
        return (_NET / name).exists()
    return any(_mac(card) == name for card in _NET.iterdir())


def _mac(card: Path) -> str:
    try:
        return (card / "address").read_text().strip()
    except OSError:
        # Not every network interface is a card, and one may go while it is looked at.
        return ""
