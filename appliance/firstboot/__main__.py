# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 -m appliance.firstboot`: unattended first boot from a systemd credential."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from appliance.errors import PairkeepError

log = logging.getLogger("pairkeep-firstboot")
CREDENTIAL = "pairkeep.toml"


def main() -> int:
    """Exit code 0 also when there are no answers: the machine then waits to be set up."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    path = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / CREDENTIAL
    try:
        text = path.read_text()
    except FileNotFoundError:
        log.info("no answers were given: this machine is not set up yet")
        return 0
    # Only now, since a machine without answers should not spend seconds of its boot on them.
    from appliance.firstboot.answers import parse_answers
    from appliance.firstboot.steps import STEPS

    try:
        answers = parse_answers(text)
        for number, step in enumerate(STEPS, start=1):
            log.info("step %d of %d: %s", number, len(STEPS), step.title)
            step.do(answers)
    except PairkeepError as error:
        log.error("first boot stopped: %s", error)
        return error.exit_code
    log.info("%s is set up", answers.node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
