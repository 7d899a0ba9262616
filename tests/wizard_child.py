# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.wizard_child NAME FOLDER`: the whole wizard on this terminal, on a machine in memory.

Its pages, screen, threads and the exchange with other machines are the real ones; the one step writes down what
the machine would have been set up with.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

from appliance.errors import PairkeepError
from appliance.firstboot import forming, install, session
from appliance.firstboot.answers import Answers
from appliance.firstboot.look import look_of
from appliance.firstboot.steps import Step
from appliance.firstboot.tui import Tui
from tests.wizard_machine import FACTS, ToyMachine


def main(name: str, folder: Path) -> int:
    joining = folder / "joining"
    for one in ("Host", "join", "resume", "abandon"):
        setattr(forming, one, partial(getattr(forming, one), folder=joining))

    def record(answers: Answers) -> None:
        # Once, a step fails: it has to be possible to try again.
        if name == "beta" and not (folder / "failed").exists():
            (folder / "failed").touch()
            raise PairkeepError("the disk is not blank")
        (folder / "cluster.toml").write_text(answers.cluster_toml)
        (folder / "key").write_bytes(answers.cluster_key)

    install.RECORDS = folder / "nothing"
    one_step = partial(install.install, steps=(Step("writing it down", record),))
    # For as long as this process lives: the machine that it runs on is not to be set up.
    mock.patch.object(session, "install", one_step).start()
    first_boot = session.FirstBoot(ToyMachine(replace(FACTS, links=FACTS.links[:2])), folder / "setup.json")
    return 0 if Tui(first_boot, look_of(os.environ["TERM"])).run() else 1


if __name__ == "__main__":
    # As console.py does it, for whoever runs the tests with nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
