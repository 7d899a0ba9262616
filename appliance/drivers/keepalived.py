# SPDX-License-Identifier: GPL-2.0-or-later
"""keepalived on a director: what it would say of its files, and letting it run by them."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.errors import PairkeepError
from appliance.render import lvs
from appliance.run import run

NAME_NETWORKS = Path("/usr/lib/pairkeep/name-networks")
PATH = "/usr/sbin:/usr/bin"
# So begin the names that it gives where there is no interface.
NONE = "none"
# How much of what keepalived says of a bad file is passed on.
LINES = 4


def check(files: Mapping[Path, str]) -> None:
    """Raises PairkeepError when keepalived refuses one of ``files``, which are about to be put in place."""
    for problem in complaints(files):
        raise PairkeepError(problem)


def complaints(files: Mapping[Path, str]) -> Iterator[str]:
    """What keepalived says of those of ``files`` that are its own. Changes nothing."""
    own = {path: text for path, text in files.items() if path.is_relative_to(lvs.KEEPALIVED)}
    texts = {path: text for path, text in own.items() if path.suffix == ".conf"}
    if not texts:
        return
    program = shutil.which("keepalived", path=PATH)
    if program is None:
        yield "keepalived is not installed: this machine is no director"
        return
    with tempfile.TemporaryDirectory() as folder:
        networks, named = Path(folder) / "networks", Path(folder) / "networks.conf"
        networks.write_text(own[lvs.NETWORKS])
        run([NAME_NETWORKS, networks, named, "0"], timeout_s=20)
        yield from _without_interface(named)
        for path, text in texts.items():
            candidate = Path(folder) / path.name
            candidate.write_text(text.replace(f"include {lvs.NAMED}\n", f"include {named}\n"))
            done = run([program, "--config-test", f"--use-file={candidate}"], check=False, timeout_s=60)
            if done.returncode:
                said = (done.stderr or done.stdout).replace(folder, str(path.parent)).strip().splitlines()
                yield f"keepalived refuses {path}: {'; '.join(said[:LINES]) or f'it ended with {done.returncode}'}"


def take_up() -> None:
    """Let keepalived run by its files as they are now: those that run read them anew and lose no connection."""
    if not NAME_NETWORKS.exists():
        return
    if lvs.NETWORKS.exists():
        run([NAME_NETWORKS, lvs.NETWORKS, lvs.NAMED, "0"], timeout_s=20)
    word = "reload-or-restart" if lvs.MAIN.exists() else "stop"
    run(["systemctl", word, "keepalived.service"], timeout_s=90)
    run(["systemctl", "try-reload-or-restart", "pairkeep-virtual@*.service"], timeout_s=90)
    # Without its interface it fails, and says so; that is no reason to let keepalived read its files once more.
    run(["systemctl", "start", "pairkeep-sync.service"], check=False, timeout_s=60)


def find_networks() -> None:
    """Look again for the networks that no interface was in, and tell keepalived when there is one."""
    if NONE not in _text(lvs.NAMED):
        return
    before = _text(lvs.NAMED)
    run([NAME_NETWORKS, lvs.NETWORKS, lvs.NAMED, "0"], timeout_s=20)
    if _text(lvs.NAMED) != before:
        take_up()


def _without_interface(named: Path) -> Iterator[str]:
    """keepalived takes a network without an interface for one whose card is gone, as one in use may be just now."""
    in_use = _text(lvs.NETWORKS).split()
    for network in re.findall(rf"^# (\S+) is in {NONE}", _text(named), re.MULTILINE):
        if network not in in_use:
            yield f"no interface of this machine has an address in {network}, where directors need one"


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
