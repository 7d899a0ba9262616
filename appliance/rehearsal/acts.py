# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be asked of a dry run: sentences of a few words, and what each of them does to the simulated cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from appliance.config.model import Cluster, Service
from appliance.decide.messages import Change, Fenced, SetMaintenance, SetStandby, Switchover
from appliance.decide.orders import destination, holder
from appliance.errors import InputError
from appliance.sim.cluster import SimCluster
from appliance.supervisor.core import Core

Value = str | float
Do = Callable[..., None]


@dataclass(frozen=True)
class Act:
    """``text``: as a person wrote it. ``after_s`` seconds after the one before; None: once all is calm again."""

    text: str
    do: Callable[[SimCluster], None]
    after_s: float | None


@dataclass(frozen=True)
class Form:
    """``words``: lower case as they are, upper case stands for a value."""

    words: str
    summary: str
    do: Do


FORMS: list[Form] = []


def _form(words: str, summary: str) -> Callable[[Do], Do]:
    def register(do: Do) -> Do:
        FORMS.append(Form(words, summary, do))
        return do

    return register


def grammar() -> str:
    """For ``--help``."""
    width = max(len(form.words) for form in FORMS)
    return "\n".join(f"  {form.words:<{width}}  {form.summary}" for form in FORMS)


# Reading ------------------------------------------------------------------------------------------


def read(sentence: str, cluster: Cluster) -> list[Act]:
    """``power off alpha, then after 30 s power on alpha and standby beta``. Raises InputError."""
    acts: list[Act] = []
    # A number and its unit are two words.
    words = re.sub(r"(\d)s\b", r"\1 s", sentence.strip())
    for number, part in enumerate(re.split(r",\s*then\s+|,\s*|\s+then\s+", words)):
        found = re.fullmatch(r"after\s+([\d.]+)\s+s\s+(.*)", part)
        after = 0.0 if number == 0 else None
        if found is not None:
            after = _number(found[1], "a number of seconds")
        for each in re.split(r"\s+and\s+", part if found is None else found[2]):
            acts.append(Act(each, _act(each, cluster), after))
            after = 0.0
    return acts


def _act(text: str, cluster: Cluster) -> Callable[[SimCluster], None]:
    words = text.split()
    alike = [form for form in FORMS if words and form.words.split()[0] == words[0].lower()]
    problem: InputError | None = None
    for form in alike:
        pattern = form.words.split()
        if len(pattern) != len(words):
            continue
        pairs = list(zip(pattern, words, strict=True))
        if all(part == word.lower() for part, word in pairs if part.islower()):
            try:
                return partial(_call, form.do, [_value(p, w, cluster) for p, w in pairs if not p.islower()])
            except InputError as error:
                problem = error
    if problem is not None:
        raise problem
    if alike:
        raise InputError(f"found '{text}', expected {' or '.join(repr(form.words) for form in alike)}")
    firsts = dict.fromkeys(form.words.split()[0] for form in FORMS)
    raise InputError(f"found '{text}', expected one of: {', '.join(firsts)}", hint="pairkeep simulate --help")


def _call(do: Do, values: list[Value], sim: SimCluster) -> None:
    do(sim, *values)


def _value(kind: str, word: str, cluster: Cluster) -> Value:
    names: dict[str, tuple[str, list[str]]] = {
        "NODE": ("node", [n.name for n in cluster.nodes]),
        "OTHER": ("node", [n.name for n in cluster.nodes]),
        "WORKER": ("node that runs groups", [n.name for n in cluster.workers]),
        "GROUP": ("group", [g.name for g in cluster.groups]),
        "RESOURCE": ("DRBD resource", [d.name for d in cluster.drbd]),
        "SERVICE": ("service", _services(cluster)),
    }
    if kind == "SECONDS":
        return _number(word, "a number of seconds")
    if kind == "LINK":
        number = _number(word, "the number of a link")
        if number not in range(1, len(cluster.networks) + 1):
            raise InputError(f"there is no link {word}; there are 1 to {len(cluster.networks)}")
        return number
    what, known = names[kind]
    if kind == "SERVICE" and f"{word}.service" in known:
        return f"{word}.service"
    if word not in known:
        raise InputError(f"there is no {what} {word!r}; there is {', '.join(known) or 'none'}")
    return word


def _services(cluster: Cluster) -> list[str]:
    return [r.unit for g in cluster.groups for r in g.resources if isinstance(r, Service)]


def _number(word: str, what: str) -> float:
    try:
        return float(word.removesuffix("s"))
    except ValueError as error:
        raise InputError(f"found {word!r}, expected {what}") from error


# Power ----------------------------------------------------------------------------------------------


@_form("power off NODE", "its power is cut")
def power_off(sim: SimCluster, node: str) -> None:
    _tell(sim, node, "loses power" if sim.machines[node].powered else "has no power already")
    sim.machines[node].power_off("")


@_form("power on NODE", "it gets power and boots")
def power_on(sim: SimCluster, node: str) -> None:
    _tell(sim, node, "has power already" if sim.machines[node].powered else "gets power")
    sim.machines[node].power_on()


@_form("reset NODE", "as by its reset button")
def reset(sim: SimCluster, node: str) -> None:
    _tell(sim, node, "is reset")
    sim.machines[node].reset("")


@_form("shut down NODE", "in order, as by systemctl poweroff")
def shut_down(sim: SimCluster, node: str) -> None:
    _tell(sim, node, "shuts down")
    process = sim.sites[node].process
    if process is not None:
        process.core.stop(shutting_down=True)


@_form("witness off", "the nodes that only vote lose power")
def witness_off(sim: SimCluster) -> None:
    voters = [n.name for n in sim.cluster.nodes if n.votes_only]
    if not voters:
        raise InputError("this cluster has no node that only votes")
    for node in voters:
        power_off(sim, node)


@_form("freeze NODE SECONDS s", "the whole machine stands still for so long")
def freeze(sim: SimCluster, node: str, seconds: float) -> None:
    _tell(sim, node, "stands still")
    sim.machines[node].pause()
    sim.clock.after(seconds, sim.machines[node].resume)


# Networks -------------------------------------------------------------------------------------------


@_form("unplug NODE link LINK", "one of its cables is pulled")
def unplug(sim: SimCluster, node: str, link: float) -> None:
    sim.plug(int(link), node, plugged=False)


@_form("unplug NODE", "all its cables are pulled")
def unplug_all(sim: SimCluster, node: str) -> None:
    for link in range(1, sim.network.networks + 1):
        unplug(sim, node, link)


@_form("plug NODE link LINK", "that link works again")
def plug(sim: SimCluster, node: str, link: float) -> None:
    sim.network.deaf -= {(each, a, b) for each, a, b in sim.network.deaf if each == link and node in (a, b)}
    sim.plug(int(link), node, plugged=True)


@_form("plug NODE", "all its links work again")
def plug_all(sim: SimCluster, node: str) -> None:
    for link in range(1, sim.network.networks + 1):
        plug(sim, node, link)


@_form("partition NODE OTHER", "these two reach each other no more, on no link")
def partition(sim: SimCluster, node: str, other: str) -> None:
    _tell(sim, node, f"and {other} reach each other no more")
    for link in range(1, sim.network.networks + 1):
        sim.network.deaf |= {(link, node, other), (link, other, node)}
    sim.reachability_changed()


# Disks, services, devices -----------------------------------------------------------------------------


@_form("lose disk RESOURCE on WORKER", "the disk gives errors from now on")
def lose_disk(sim: SimCluster, pair: str, node: str) -> None:
    _tell(sim, node, f"loses its disk of {pair}")
    sim.pairs[pair].disk_fails(node)


@_form("kill supervisor on NODE", "the process of pairkeep.service ends")
def kill_supervisor(sim: SimCluster, node: str) -> None:
    sim.sites[node].kill_supervisor()


@_form("kill corosync on NODE", "its process ends")
def kill_corosync(sim: SimCluster, node: str) -> None:
    sim.sites[node].crash_corosync()


@_form("kill SERVICE", "a service dies where it runs")
def kill(sim: SimCluster, service: str) -> None:
    _fail(sim, service, for_good=False)


@_form("break SERVICE", "it dies, and cannot be started on that node any more")
def break_service(sim: SimCluster, service: str) -> None:
    _fail(sim, service, for_good=True)


@_form("break fence of NODE", "its fence devices fail from now on")
def break_fence(sim: SimCluster, node: str) -> None:
    if node not in sim.devices:
        raise InputError(f"{node} has no fence device")
    _tell(sim, node, "can no longer be switched off by its fence devices")
    sim.devices[node].mood = "fails"


def _fail(sim: SimCluster, unit: str, *, for_good: bool) -> None:
    resource = next(r for g in sim.cluster.groups for r in g.resources if isinstance(r, Service) and r.unit == unit)
    for node, site in sim.sites.items():
        if resource.id in site.resources.on:
            _tell(sim, node, f"{unit} dies{', and cannot be started here any more' if for_good else ''}")
            if for_good:
                site.resources.trouble["start", resource.id] = "fails"
            site.resources.fail(resource)
            return
    _tell(sim, "person", f"finds {unit} running nowhere")


# What operators order -----------------------------------------------------------------------------------


@_form("switchover GROUP", "to the other node")
def switchover(sim: SimCluster, group: str) -> None:
    _order(sim, partial(_switchover, group, ""), f"orders {group} to the other node")


@_form("switchover GROUP WORKER", "to that node")
def switchover_to(sim: SimCluster, group: str, node: str) -> None:
    _order(sim, partial(_switchover, group, node), f"orders {group} to {node}")


def _switchover(group: str, node: str, core: Core) -> None:
    there = destination(core.view, core.cluster.group(group), node)
    if there != holder(core.view, group):
        core.wish(Switchover("", group, there))


@_form("standby WORKER", "let it run nothing")
def standby(sim: SimCluster, node: str) -> None:
    _wish(sim, SetStandby("", node, True), f"puts {node} in standby")


@_form("online WORKER", "let it run groups again")
def online(sim: SimCluster, node: str) -> None:
    _wish(sim, SetStandby("", node, False), f"takes {node} out of standby")


@_form("maintenance on", "hands off everything")
def maintenance_on(sim: SimCluster) -> None:
    _wish(sim, SetMaintenance("", True), "begins maintenance")


@_form("maintenance off", "end that")
def maintenance_off(sim: SimCluster) -> None:
    _wish(sim, SetMaintenance("", False), "ends maintenance")


@_form("confirm-fenced NODE", "a person says that it is off")
def confirm_fenced(sim: SimCluster, node: str) -> None:
    if sim.machines[node].powered:
        raise InputError(f"{node} is not off at that moment, and to say so could cost data")
    _wish(sim, Fenced("", node, by_hand=True), f"says that {node} is off")


def _wish(sim: SimCluster, change: Change, words: str) -> None:
    _order(sim, lambda core: core.wish(change), words)


def _order(sim: SimCluster, order: Callable[[Core], None], words: str) -> None:
    """On the first node whose supervisor accepts it, as a person would."""
    refused = "no supervisor runs"
    for site in sim.sites.values():
        if site.process is not None and site.machine.running:
            try:
                order(site.process.core)
            except InputError as error:
                refused = error.message
            else:
                _tell(sim, "person", words)
                return
    _tell(sim, "person", f"{words}: refused, {refused}")


def _tell(sim: SimCluster, who: str, text: str) -> None:
    sim.story.tell(who, "{}", text)
