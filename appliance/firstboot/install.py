# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries out the steps, and tidies up after them."""

from __future__ import annotations

from collections.abc import Callable

from appliance.firstboot import state
from appliance.firstboot.answers import Answers
from appliance.firstboot.steps import STEPS, Step

Report = Callable[[str], None]
RECORDS = state.FOLDER / "joining"


def install(answers: Answers, report: Report, steps: tuple[Step, ...] = STEPS) -> None:
    """Each of ``steps``; raises PairkeepError at the first that fails. All may be done again."""
    for number, step in enumerate(steps, start=1):
        report(f"step {number} of {len(steps)}: {step.title}")
        step.do(answers)
    clean_up()


def clean_up() -> None:
    """The machine is set up: no passwords and keys stay behind.

    The answers go last: while they are there the next boot does this again.
    """
    if RECORDS.exists():
        # Only then, since its cryptography takes longer to import than all the rest.
        from appliance.joining import forget

        forget()
    state.STATE.unlink(missing_ok=True)
