# SPDX-License-Identifier: GPL-2.0-or-later
"""A dry run foretells what then happens: whoever runs what in the end, and how long nobody answers."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from appliance.build import package
from appliance.build.folders import project_folder
from appliance.cli.main import main
from appliance.cli.parsers import WIDTH
from appliance.config import load
from appliance.config.model import Cluster
from appliance.decide.view import ClusterView, DrbdReport, GroupReport, Record, Report, Stamp
from appliance.errors import InputError, PairkeepError
from appliance.lab.pair import CLUSTER_TOML
from appliance.membership.codec import view_from_value, view_to_value
from appliance.rehearsal.acts import FORMS, grammar, read
from appliance.rehearsal.play import Outcome, rehearse
from appliance.rehearsal.stage import Stage
from appliance.rehearsal.state import LiveState, from_text, from_value
from appliance.sim.cluster import SimCluster
from appliance.sim.judge import ViolationError
from appliance.sim.shapes import SHAPES, cluster_of

CLUSTER = load.parse(CLUSTER_TOML)
# In one of these a cluster may be when it is asked what would happen …
BEFORE = (
    "",
    "power off beta",
    "standby beta",
    "unplug beta link 2",
    # A supervisor knows what it heard in its present membership, which no dump tells: so let there be a new one.
    "lose disk shopdata on beta, then kill supervisor on alpha",
    "power off alpha",
    "switchover shop",
    "maintenance on",
    "break mariadb.service",
    "shut down beta, then confirm-fenced beta",
)
# … and this is what it is asked.
THEN = (
    "power off alpha",
    "power off beta",
    "switchover shop",
    "kill mariadb.service",
    "unplug alpha",
    "reset beta",
    "switchover shop alpha",
)
# For detection, fencing and starts chance decides within such bounds, in seconds, and the dry run takes the middle.
ROUGHLY_S = 7.0


class Twin:
    """A simulated cluster that stands for the real one. ``away``: seconds for which nobody served each group."""

    def __init__(self, shape: str, seed: int) -> None:
        self.sim = SimCluster(cluster_of(shape), random.Random(seed))
        for machine in self.sim.machines.values():
            machine.boot_s = (40.0, 40.0)
            machine.power_on()
        self.sim.run_until(self.sim.healthy, 120.0, "formed")
        self.away: dict[str, float] = {}

    def go_through(self, sentence: str) -> None:
        self.away = {group.name: 0.0 for group in self.sim.cluster.groups}
        for act in read(sentence, self.sim.cluster) if sentence else ():
            self._watch(0.0 if act.after_s is not None else 30.0)
            act.do(self.sim)
        self._watch(120.0)
        for site in self.sim.sites.values():
            # What failed is taken to work again (and the dry run says so).
            site.resources.trouble.clear()

    def _watch(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.2)):
            for group in self.away:
                self.away[group] += 0.2 * (not self.sim.serving(group))
            self.sim.run_for(0.2)

    def dump(self, node: str) -> LiveState:
        process = self.sim.sites[node].process
        assert process is not None
        view = json.loads(json.dumps(view_to_value(process.core.view)))
        return LiveState(node, view_from_value(view, self.sim.cluster))

    def running(self) -> dict[str, str | None]:
        return {name: next(iter(self.sim.serving(name)), None) for name in self.away}

    def newest(self) -> dict[str, set[str]]:
        records = [m.record for m in self.sim.machines.values()]
        newest = max(records, key=lambda record: record.stamp)
        return {name: set(current) for name, current in newest.current.items()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("before", BEFORE)
def test_what_is_foretold_comes_true(shape: str, before: str) -> None:
    first = SHAPES.index(shape) + BEFORE.index(before)
    for number in (first, first + 3):
        then = THEN[number % len(THEN)]
        twin = Twin(shape, number)
        twin.go_through(before)
        asked = next(n for n in ("witness", "alpha", "beta") if twin.sim.machines.get(n) and _takes_part(twin, n))
        state = twin.dump(asked)
        outcome = rehearse(state, read(then, state.cluster))
        story = "\n".join(f"{line.at} {line.who} {line.text}" for line in outcome.lines)
        assert outcome.violation is None, story
        assert {g.name: g.before for g in outcome.groups} == _reachable(twin), f"{before}: {outcome.assumed}"
        twin.go_through(then)
        told = f"{before!r}, then {then!r}:\n{story}"
        assert {g.name: g.node for g in outcome.groups} == _reachable(twin), told
        assert {name: set(nodes) for name, nodes in outcome.newest.items()} == twin.newest(), told
        for group in outcome.groups:
            if group.node is not None:
                assert group.away_s(outcome.seconds) == pytest.approx(twin.away[group.name], abs=ROUGHLY_S), told


def _takes_part(twin: Twin, node: str) -> bool:
    process = twin.sim.sites[node].process
    return process is not None and process.core.view.complete


def _reachable(twin: Twin) -> dict[str, str | None]:
    """As a client sees it, who comes by way of the first network."""
    return {g: None if n is None or (1, n) in twin.sim.network.cut else n for g, n in twin.running().items()}


# One state, put together by hand ------------------------------------------------------------------

TOOK = {
    "start drbd:shopdata": 0.5,
    "start filesystem:/srv/mysql": 0.5,
    "start service:mariadb.service": 9.0,
    "start address:10.9.1.100/24": 0.5,
}
PAIRED = {
    "alpha": DrbdReport("Primary", "UpToDate", "Connected", "UpToDate", "Secondary"),
    "beta": DrbdReport("Secondary", "UpToDate", "Connected", "UpToDate", "Primary"),
}
RECORD = Record(Stamp(8, 3), {"shopdata": ("alpha", "beta")}, formatted=("filesystem:/srv/mysql",))


def live(cluster: Cluster = CLUSTER, *, drbd: dict[str, DrbdReport] = PAIRED, record: Record = RECORD) -> LiveState:
    """The lab's pair, with the group on alpha; only alpha has measured how long starts take."""
    names = [n.name for n in cluster.nodes]
    up, down = GroupReport(("started",) * 4, (0,) * 4), GroupReport(("stopped",) * 4, (0,) * 4)
    reports = {
        name: Report(
            name,
            "boot",
            "8/x",
            quorate=True,
            groups={"shop": up if name == "alpha" else down},
            drbd={"shopdata": drbd[name]} if name in drbd else {},
            record=record,
            took=TOOK if name == "alpha" else {},
        )
        for name in names
    }
    stamps = dict.fromkeys(names, record.stamp)
    return LiveState("alpha", ClusterView(cluster, "8/x", 8, tuple(names), reports, record, stamps, adopted=True))


def dump_of(state: LiveState) -> dict[str, Any]:
    return {"version": "0", "node": state.node, "cluster_toml": CLUSTER_TOML, "view": view_to_value(state.view)}


def told(sentence: str, state: LiveState | None = None) -> Outcome:
    state = state or live()
    return rehearse(state, read(sentence, state.cluster))


def test_times_are_those_that_this_cluster_has_measured() -> None:
    outcome = told("power off alpha")
    (shop,) = outcome.groups
    assert (shop.before, shop.node) == ("alpha", "beta")
    # The ring notices, the watchdog's time passes, and then come the starts, as long as they took on alpha.
    least = CLUSTER.safety_wait_s + sum(TOOK.values())
    assert least < shop.away_s(outcome.seconds) < least + 4.0
    assert outcome.unmeasured == {}
    assert any(line.text == "has started service:mariadb.service (9.0 s)" for line in outcome.lines)


def test_a_start_that_takes_long_is_waited_for() -> None:
    state = live()
    slow = {
        name: replace(r, took={**TOOK, "start service:mariadb.service": 90.0})
        for name, r in state.view.reports.items()
    }
    outcome = told("switchover shop", LiveState("alpha", replace(state.view, reports=slow)))
    assert outcome.groups[0].node == "beta"
    assert 90 < outcome.groups[0].away_s(outcome.seconds) < 95


def test_a_dry_run_is_the_same_every_time() -> None:
    assert told("freeze alpha 20 s") == told("freeze alpha 20s")


def test_a_resync_that_is_under_way_ends_when_drbd_says_so() -> None:
    sides = {
        "alpha": DrbdReport("Primary", "UpToDate", "SyncSource", "Inconsistent", "Secondary", 40.0, 100.0),
        "beta": DrbdReport("Secondary", "Inconsistent", "SyncTarget", "UpToDate", "Primary", 40.0, 100.0),
    }
    record = replace(RECORD, current={"shopdata": ("alpha",)})
    outcome = told("kill mariadb", live(drbd=sides, record=record))
    ended = next(line.at for line in outcome.lines if "resync done" in line.text)
    assert 90 < ended < 105
    assert outcome.newest == {"shopdata": ("alpha", "beta")}
    early = told("power off alpha", live(drbd=sides, record=record))
    assert not early.good
    assert early.groups[0].node is None
    assert "lacks newer writes" in early.groups[0].nodes["beta"]


def test_frozen_writes_are_asked_about_again() -> None:
    sides = {
        "alpha": DrbdReport("Primary", "UpToDate", "WFConnection", "DUnknown", suspended="fencing"),
        "beta": DrbdReport("Secondary", "UpToDate", "WFConnection", "DUnknown"),
    }
    outcome = told("kill supervisor on beta", live(drbd=sides))
    assert outcome.assumed == ("network 2 between alpha and beta is broken",)
    assert outcome.groups[0].node == "alpha"
    assert outcome.newest == {"shopdata": ("alpha",)}


def test_a_node_that_cannot_reach_what_the_other_can_loses_the_group() -> None:
    outcome = told("unplug alpha link 1")
    assert outcome.groups[0].node == "beta"
    neither = told("unplug alpha link 1 and unplug beta link 1")
    assert neither.groups[0].node is None
    assert "unplugged there" in neither.groups[0].reason
    gateway = live(replace(CLUSTER, ping=(ip_address("192.0.2.1"),)))
    assert "cannot reach 10.9.1.0/24 and 192.0.2.1" in str(told("unplug alpha link 1", gateway).lines)


def test_what_was_out_of_reach_before_still_is() -> None:
    state = live()
    lacks = {
        name: replace(r, unreached=("10.9.1.0/24",)) for name, r in state.view.reports.items() if name == "beta"
    }
    cut_off = LiveState("alpha", replace(state.view, reports={**state.view.reports, **lacks}))
    assert told("power off alpha", cut_off).groups[0].node is None
    assert told("plug beta link 1, then power off alpha", cut_off).groups[0].node == "beta"


def test_who_is_cut_off_takes_the_others_for_off_and_says_so() -> None:
    """After the safety wait a node without quorum calls them down, and may be wrong."""
    state = live()
    report = replace(state.view.reports["alpha"], quorate=False, down=("beta", "witness"))
    lonely = replace(state.view, members=("alpha",), reports={"alpha": report}, adopted=False)
    assert lonely.surely_down("beta")
    assert told("power off alpha", LiveState("alpha", lonely)).assumed == ("beta is off", "witness is off")


def test_what_has_failed_before_is_taken_to_work_and_that_is_said() -> None:
    state = live()
    share = replace(state.view.reports["beta"].groups["shop"], fails=(0, 0, 3, 0))
    reports = {**state.view.reports, "beta": replace(state.view.reports["beta"], groups={"shop": share})}
    outcome = told("power off alpha", LiveState("beta", replace(state.view, reports=reports)))
    assert outcome.assumed == ("service:mariadb.service, which has failed on beta, starts there if it is tried",)


def test_a_stop_that_fails_again_and_again_is_taken_to_work_and_that_is_said() -> None:
    state = live()
    share = replace(state.view.reports["alpha"].groups["shop"], blocked="mariadb could not be stopped")
    reports = {**state.view.reports, "alpha": replace(state.view.reports["alpha"], groups={"shop": share})}
    outcome = told("power off beta", LiveState("beta", replace(state.view, reports=reports)))
    assert outcome.assumed == ("the stop of shop that fails on alpha works at the next try",)


@pytest.mark.parametrize(
    ("record", "sentence", "why"),
    [
        ({"maintenance": True}, "switchover shop", "the cluster is in maintenance"),
        ({"standby": ("beta",)}, "switchover shop beta", "shop cannot go to beta: it is in standby"),
    ],
)
def test_what_the_supervisor_would_refuse_is_refused_with_the_reason(
    record: dict[str, Any], sentence: str, why: str
) -> None:
    outcome = told(f"{sentence}, then maintenance off", live(record=replace(RECORD, **record)))
    assert any(line.text.endswith(f": refused, {why}") for line in outcome.lines)
    assert outcome.groups[0].node == "alpha"


def test_a_node_without_its_supervisor_can_be_there_when_nobody_knows_its_disk() -> None:
    """alpha's supervisor was stopped and beta is off, and the witness is asked."""
    state = live(record=replace(RECORD, detached=("alpha",)))
    witness = replace(state.view.reports["witness"], down=("beta",))
    view = replace(state.view, members=("witness",), reports={"witness": witness}, adopted=False)
    outcome = told("power off alpha", LiveState("witness", view))
    assert "alpha runs, without its supervisor" in outcome.assumed


def test_acts_wait_for_rest_or_for_as_long_as_they_say() -> None:
    acts = read("power off alpha, then after 30 s power on alpha and standby beta, then online beta", CLUSTER)
    assert [(act.text, act.after_s) for act in acts] == [
        ("power off alpha", 0.0),
        ("power on alpha", 30.0),
        ("standby beta", 0.0),
        ("online beta", None),
    ]
    outcome = told("power off alpha, then after 30 s power on alpha")
    assert next(line.at for line in outcome.lines if line.text == "gets power") == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("", "found '', expected one of: power, reset, shut, witness, freeze"),
        ("explode alpha", "found 'explode alpha', expected one of: power"),
        ("power of alpha", "found 'power of alpha', expected 'power off NODE' or 'power on NODE'"),
        ("power off gamma", "there is no node 'gamma'; there is alpha, beta, witness"),
        ("standby witness", "there is no node that runs groups 'witness'; there is alpha, beta"),
        ("unplug beta link 3", "there is no link 3; there are 1 to 2"),
        ("unplug beta link two", "found 'two', expected the number of a link"),
        ("switchover wiki", "there is no group 'wiki'; there is shop"),
        ("lose disk wikidata on beta", "there is no DRBD resource 'wikidata'; there is shopdata"),
        ("kill nginx", "there is no service 'nginx'; there is mariadb.service"),
        ("freeze alpha long s", "found 'long', expected a number of seconds"),
        ("freeze alpha", "found 'freeze alpha', expected 'freeze NODE SECONDS s'"),
        ("power off alpha, then", "found 'then', expected one of: power"),
    ],
)
def test_what_is_no_sentence_is_refused_with_what_was_expected(sentence: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        read(sentence, CLUSTER)
    assert refused.value.message.startswith(message)


def test_help_has_every_form_and_each_form_can_be_rehearsed() -> None:
    values = {
        "NODE": "alpha",
        "OTHER": "beta",
        "WORKER": "beta",
        "GROUP": "shop",
        "RESOURCE": "shopdata",
        "SERVICE": "mariadb",
        "LINK": "1",
        "SECONDS": "20",
    }
    refused = {"break fence of NODE": "has no fence device", "confirm-fenced NODE": "is not off"}
    for form in FORMS:
        assert form.words in grammar()
        sentence = " ".join(values.get(word, word) for word in form.words.split())
        if form.words in refused:
            with pytest.raises(InputError, match=refused[form.words]):
                told(sentence)
        else:
            assert told(sentence).violation is None, sentence


def test_the_command_works_offline_and_its_exit_code_says_whether_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state.json"
    file.write_text(json.dumps(dump_of(live())))
    assert main(["simulate", "--state", str(file), "power", "off", "alpha"]) == 0
    text = capsys.readouterr().out
    assert "shop: runs on beta in the end; away for about 2" in text
    assert "data: nothing that was acknowledged is lost" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert main(["simulate", "--state", str(file), "--json", "witness off, then power off alpha"]) == 1
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["good"] is False
    assert outcome["groups"][0]["reason"].startswith("no quorum")
    assert main(["simulate", "--state", str(file), "power off gamma"]) == 2
    assert main(["simulate", "--state", str(file)]) == 2


def test_what_must_never_be_is_said_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    def violated(*_anything: object) -> None:
        raise ViolationError("lost writes", "Primary beta lacks 2 acknowledged writes")

    monkeypatch.setattr("appliance.sim.judge.Judge.promoted", violated)
    outcome = told("power off alpha")
    assert not outcome.good
    assert outcome.violation == "Primary beta lacks 2 acknowledged writes"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cluster_toml": ""}', "\x00"])
def test_what_is_no_dump_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        from_text(text, "state.json")


def test_a_cluster_that_is_just_forming_is_not_rehearsed() -> None:
    state = live()
    reports = {name: report for name, report in state.view.reports.items() if name != "beta"}
    half = LiveState("alpha", replace(state.view, reports=reports))
    with pytest.raises(PairkeepError, match="beta has not reported yet"):
        from_value(dump_of(half))
    with pytest.raises(PairkeepError, match="takes no part"):
        from_value(dump_of(LiveState("alpha", ClusterView(CLUSTER))))


def test_the_stage_stands_as_the_cluster_does() -> None:
    state = live()
    stage = Stage(state)
    process = stage.sim.sites["witness"].process
    assert process is not None
    for name, report in state.view.reports.items():
        staged = process.core.view.reports[name]
        assert staged.groups == report.groups
        assert staged.drbd == report.drbd
    assert process.core.view.record.current == RECORD.current
    assert stage.sim.served()


def test_the_image_has_all_that_a_dry_run_needs(tmp_path: Path) -> None:
    for name, content in package.sources(project_folder()).items():
        target = tmp_path / "appliance" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (tmp_path / "state.json").write_text(json.dumps(dump_of(live())))
    script = "import sys; from appliance.cli.main import main; code = main(sys.argv[1:]); " + (
        "assert not {'pytest', 'hypothesis'} & set(sys.modules); sys.exit(code)"
    )
    words = ["simulate", "--state", "state.json", "switchover", "shop"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "shop: runs on beta" in done.stdout
