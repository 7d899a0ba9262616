# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's updates on one node of a running pair: it hands over first, and takes part again when all is well.

Node after node, the one without services first. Whatever is off stops it before the next step; the node then stays
in standby, where it does no harm, and the command given again goes on from there. Of two that are given at once,
the cluster's own order of messages lets one go out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.errors import InputError, PairkeepError
from appliance.files import replace_file

BEGUN = Path("/var/lib/pairkeep/upgrade.json")
KEEP = ("--force-confold", "--force-confdef")
APT = ("apt-get", "-q", "-y", *(word for option in KEEP for word in ("-o", f"Dpkg::Options::={option}")))
# What dpkg left half done when it was cut short, which no later simulation shows; then what that still lacks.
MEND = (("dpkg", *KEEP, "--configure", "-a"), (*APT, "-f", "install"))
# A newer kernel is a package of another name, which the one that is installed for it depends on: plain `upgrade`
# keeps both back, and with them every fix of the kernel. Nothing is ever removed by this.
UPGRADE = ("--with-new-pkgs", "upgrade")
# The supervisor's parent and all that it has loaded are those of before (supervisor/parent.py).
RESTART = ("systemctl", "restart", "pairkeep.service")
# apt-get(8), --simulate: "Inst NAME [OLD] (NEW ORIGIN [ARCHITECTURE]) …".
INSTALLS = re.compile(r"^Inst (\S+) (?:\[(\S+)\] )?\((\S+)", re.MULTILINE)
KERNEL = "linux-image-"
# The same of what nothing needs any more. apt itself keeps the kernel that runs and the newest ones
# (apt-pkg/algorithms.cc, GetProtectedKernelsFilter).
REMOVES = re.compile(rf"^(?:Remv|Purg) ({KERNEL}\S+)", re.MULTILINE)

Status = dict[str, Any]


@dataclass(frozen=True)
class Update:
    package: str
    old: str
    new: str


@dataclass(frozen=True)
class Begun:
    """``boot_id``: the boot in which packages were last installed, or in which it began.

    ``kernel``: a newer kernel than that boot's is among them. ``installing``: apt was called, and has not ended
    well.
    """

    boot_id: str
    kernel: bool = False
    installing: bool = False


@dataclass(frozen=True)
class Tools:
    """``status``, ``stand_aside`` and ``take_part`` ask the supervisor; ``run`` returns what a program printed.

    ``install`` runs one that takes its time, which people see at work.
    ``stand_aside`` comes to nothing when another node does so first. ``wait`` passes time until something is
    reached, and says whether it was.
    """

    me: str
    boot_id: str
    status: Callable[[], Status]
    stand_aside: Callable[[], None]
    take_part: Callable[[], None]
    run: Callable[[Sequence[str]], str]
    install: Callable[[Sequence[str]], object]
    say: Callable[[str], None]
    wait: Callable[[Callable[[], bool]], bool]
    begun: Path = BEGUN


def obstacles(status: Status, *, standby: str | None = None) -> list[str]:
    """What speaks against taking a node out, or going on; ``standby``: the node that is out already."""
    found = (
        _about_all(status),
        _about_nodes(status, standby),
        _about_groups(status, standby),
        _about_disks(status),
    )
    return [each for part in found for each in part]


def _about_all(status: Status) -> Iterator[str]:
    if not status["quorate"]:
        yield "there is no quorum"
    if status["maintenance"]:
        yield "the cluster is in maintenance"
    if not status["settled"]:
        yield "what has changed is not on a majority of the disks yet"


def _about_nodes(status: Status, standby: str | None) -> Iterator[str]:
    for node in status["nodes"]:
        expected = "standby" if node["name"] == standby else "online"
        if node["state"] != expected:
            yield f"{node['name']} is {node['state']}"
        elif not node["up_to_date"]:
            yield f"{node['name']} does not run by the cluster.toml in force"


def _about_groups(status: Status, standby: str | None) -> Iterator[str]:
    for group in status["groups"]:
        if group["state"] != "running":
            yield f"{group['name']} is {group['state']}: {group['reason']}"
        elif group["node"] == standby:
            yield f"{group['name']} still runs on {standby}"
        for resource in group["resources"]:
            for node, count in resource["fails"].items():
                if count:
                    yield f"{resource['id']} has failed on {node} (pairkeep cleanup {group['name']})"


def _about_disks(status: Status) -> Iterator[str]:
    for drbd in status["drbd"]:
        for node, side in drbd["nodes"].items():
            if (side["disk"], side["connection"]) != ("UpToDate", "Connected"):
                yield f"the copy of {drbd['name']} on {node} is {side['disk']}, {side['connection']}"
            elif node not in drbd["current"]:
                yield f"the copy of {drbd['name']} on {node} does not count as newest yet"


def pending(simulation: str) -> list[Update]:
    """What ``apt-get --simulate`` says that it would install."""
    return [Update(name, old, new) for name, old, new in INSTALLS.findall(simulation)]


def look(tools: Tools) -> list[Update]:
    """Fetch the package lists, and see what is new."""
    tools.run([*APT, "update"])
    return pending(tools.run([*APT, "--simulate", *UPGRADE]))


def check(tools: Tools, *, hand_over: bool) -> None:
    """Raises InputError when this node must not be taken out now."""
    status = tools.status()
    # Begun, but not as far as the standby: that is as good as not begun.
    out = tools.me if tools.begun.exists() and _is_out(status, tools.me) else None
    wrong = obstacles(status, standby=out)
    if wrong:
        raise InputError("\n  ".join(("not now, for nothing may be wrong while a node is out", *wrong)))
    here = [group["name"] for group in status["groups"] if group["node"] == tools.me]
    if here and not hand_over:
        other = next(n["name"] for n in status["nodes"] if n["name"] != tools.me and not n["votes_only"])
        raise InputError(
            f"{' and '.join(here)} runs here: begin with {other}",
            hint=f"when {other} is done: pairkeep upgrade --hand-over",
        )


def upgrade(tools: Tools, updates: Sequence[Update], *, hand_over: bool) -> bool:
    """Carry it out, or go on with it; False when the machine has to be restarted before it can end.

    ``updates``: as `look` found them; one that goes on mends what the last one left, and looks by itself.
    Raises PairkeepError when something is off: then the node stays in standby, unless it could not hand over.
    """
    check(tools, hand_over=hand_over)  # again: a person had the time to think about it
    begun = Begun(**json.loads(tools.begun.read_text())) if tools.begun.exists() else None
    goes_on = begun is not None
    if begun is None:
        begun = Begun(tools.boot_id)
        _keep(tools, begun)
    if not _is_out(tools.status(), tools.me):
        _hand_over(tools, goes_on=goes_on)
    if goes_on:
        for argv in MEND:
            tools.install(argv)
        updates = look(tools)
    begun = _install(tools, begun, updates)
    if begun.boot_id == tools.boot_id:
        if begun.kernel:
            return False
        tools.run(RESTART)
    _wait(tools, "all is well again", tools.me)
    tools.take_part()
    tools.begun.unlink()
    _wait(tools, f"{tools.me} takes part again", None)
    _make_room(tools)
    return True


def _is_out(status: Status, node: str) -> bool:
    return any(each["name"] == node and each["state"] == "standby" for each in status["nodes"])


def _hand_over(tools: Tools, *, goes_on: bool) -> None:
    """Go to standby, or raise PairkeepError and take part as before: nobody else may be able to serve."""
    tools.say(f"{tools.me} hands over")
    try:
        tools.stand_aside()
        tools.wait(lambda: _is_decided(tools.status(), tools.me))
        wrong = obstacles(tools.status(), standby=tools.me)
    except PairkeepError as error:
        wrong = [error.message]
    if not wrong:
        return
    try:
        tools.take_part()
    except PairkeepError as error:
        raise PairkeepError("\n  ".join((f"{tools.me} could not hand over", *wrong, error.message))) from error
    if not goes_on:
        tools.begun.unlink()
    raise PairkeepError(
        "\n  ".join((f"{tools.me} could not hand over and takes part again; nothing was installed", *wrong)),
        hint="put that right, then: pairkeep upgrade",
    )


def _is_decided(status: Status, me: str) -> bool:
    """``me`` has handed over; or it cannot, and every second is one without service.

    A group that is stopped while none is on its way has no place to go to.
    """
    others = (node["state"] for node in status["nodes"] if node["name"] != me)
    states = {group["state"] for group in status["groups"]}
    left_alone = any(state in ("standby", "offline", "leaving") for state in others)
    stranded = _is_out(status, me) and "stopped" in states and not states & {"starting", "stopping"}
    return left_alone or stranded or not obstacles(status, standby=me)


def _install(tools: Tools, begun: Begun, updates: Sequence[Update]) -> Begun:
    """That a kernel is among the updates is written down first: when power goes on the way, nobody knows it."""
    if not updates and not begun.installing:
        return begun
    waits = begun.kernel and (begun.installing or begun.boot_id == tools.boot_id)
    kernel = waits or any(update.package.startswith(KERNEL) for update in updates)
    _keep(tools, Begun(tools.boot_id, kernel, installing=True))
    if updates:
        tools.say(f"{len(updates)} packages are upgraded")
        tools.install([*APT, *UPGRADE])
    done = Begun(tools.boot_id, kernel)
    _keep(tools, done)
    return done


def _make_room(tools: Tools) -> None:
    """Each upgrade leaves its packages and a kernel behind. It has ended well with or without room on /."""
    try:
        tools.run([*APT, "clean"])
        kernels = REMOVES.findall(tools.run([*APT, "--simulate", "autoremove"]))
        if kernels:
            tools.say(f"removed, as nothing needs it any more: {' '.join(kernels)}")
            tools.run([*APT, "purge", *kernels])
    except PairkeepError as error:
        tools.say(f"no room could be made on /: {error.message}")


def _wait(tools: Tools, what: str, standby: str | None) -> None:
    told: list[str] = []

    def reached() -> bool:
        wrong = obstacles(tools.status(), standby=standby)
        if wrong and wrong != told:
            told[:] = wrong
            tools.say("\n  ".join((f"waiting until {what}", *wrong)))
        return not wrong

    if not tools.wait(reached):
        wrong = obstacles(tools.status(), standby=standby)
        raise PairkeepError(
            "\n  ".join((f"stopped here, waiting until {what}", *wrong)),
            hint="put that right, then: pairkeep upgrade",
        )


def _keep(tools: Tools, begun: Begun) -> None:
    replace_file(tools.begun, json.dumps(asdict(begun)).encode())
