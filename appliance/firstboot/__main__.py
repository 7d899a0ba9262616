# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 -m appliance.firstboot`, at boot: what needs nobody. Goes on after a power cut, or takes answers.

Whatever it cannot do is left to the wizard on the consoles, with the reason.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path

from appliance.errors import PairkeepError

log = logging.getLogger("pairkeep-firstboot")
STATE = Path("/var/lib/pairkeep/setup.json")
AGREED = (Path("/var/lib/pairkeep/joining/hosted.json"), Path("/var/lib/pairkeep/joining/staged.json"))
CLUSTER_TOML = Path("/etc/pairkeep/cluster.toml")
# Read by the greeting on every console.
NOTICE = Path("/run/pairkeep/notice")
# A machine in doubt asks for so long before its consoles offer to begin anew.
IN_DOUBT_S = 600.0


def main() -> int:
    """Exit code 0 also when there are no answers: the machine then waits to be set up."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return _main()
    except PairkeepError as error:
        log.error("first boot stopped: %s", error)
        NOTICE.parent.mkdir(parents=True, exist_ok=True)
        NOTICE.write_text(f"{error}\n")
        return error.exit_code


def _main() -> int:
    # Imported only where needed: a machine without answers should not spend seconds of its boot on them.
    if CLUSTER_TOML.exists():
        from appliance.firstboot.install import clean_up

        clean_up()
        return 0
    from appliance.firstboot import devices

    devices.settle()
    if STATE.exists() and any(path.exists() for path in AGREED):
        return _go_on()
    from appliance.firstboot import sources

    found = sources.find()
    if found is None:
        log.info("no answers were given: this machine is not set up yet")
        return 0
    from appliance.firstboot.realserver import is_for_realserver
    from appliance.firstboot.setup_file import is_setup

    name, text = found
    if is_for_realserver(text):
        return _real_server(name, text)
    return _fill_in(name, text) if is_setup(text) else _all_at_once(name, text)


def _go_on() -> int:
    """The power went when the cluster was formed, or was just being so."""
    from appliance.firstboot import compose, devices, forming, state
    from appliance.firstboot.given import Given
    from appliance.firstboot.install import install
    from appliance.firstboot.this_machine import ThisMachine

    values = state.load().values
    if missing := devices.wait_for(devices.named(values), log.info):
        raise PairkeepError(f"found no {' and no '.join(missing)} on this machine, expected what was there before")
    machine = ThisMachine()
    given = Given(machine.facts(), values)
    machine.try_network(given.networks)
    made = forming.taken_up(log.info, within_s=IN_DOUBT_S)
    if made is not None:
        install(compose.answers(given, made), log.info)
        log.info("%s is set up", given.name)
    return 0


def _all_at_once(name: str, text: str) -> int:
    from appliance.firstboot import devices
    from appliance.firstboot.answers import parse_answers
    from appliance.firstboot.install import install

    answers = parse_answers(text, name)
    # Each step says for itself what it cannot do without.
    devices.wait_for(answers.devices, log.info)
    install(answers, log.info)
    log.info("%s is set up", answers.node)
    return 0


def _real_server(name: str, text: str) -> int:
    from appliance.firstboot import devices
    from appliance.firstboot.realserver import install, parse_answers

    answers = parse_answers(text, name)
    devices.wait_for([one.interface for one in answers.networks], log.info)
    install(answers, log.info)
    return 0


def _fill_in(name: str, text: str) -> int:
    """Answers for the wizard's pages: it stops where the others have to join, or where one was refused."""
    from appliance.firstboot import compose, devices, forming, state
    from appliance.firstboot.install import install
    from appliance.firstboot.setup_file import feed, parse_setup
    from appliance.firstboot.this_machine import ThisMachine
    from appliance.firstboot.wizard import Wizard

    before, file = state.load(), hashlib.sha256(text.encode()).hexdigest()
    if before.by_person:
        if before.file != file:
            log.info("%s is not taken: answers were changed on a console since", name)
        return 0
    # From the beginning, also after a power cut: the file may be a better one, and the machine another than it was.
    setup = parse_setup(text, name)
    devices.wait_for(devices.named(setup), log.info)
    wizard = Wizard(ThisMachine(), state.State(file=file), state.save, by_person=False)
    feed(wizard, setup, name)
    if wizard.page.kind == "summary":
        made = forming.form(wizard.given, None, log.info)
        install(compose.answers(wizard.given, made), log.info)
        log.info("%s is set up", wizard.given.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
