# SPDX-License-Identifier: GPL-2.0-or-later
"""Who shoots whom, when, and what it changes: the decision, and one node's part in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config.model import Cluster, FenceDevice
from appliance.decide import decide
from appliance.decide.fold import fold, with_members
from appliance.decide.messages import Fenced, Reported
from appliance.decide.steps import Fence, Start
from appliance.decide.view import ClusterView, DrbdReport, FenceTrouble, GroupReport, Record, Report, Stamp
from appliance.drivers import fence
from appliance.drivers.base import DriverError
from appliance.lab.pair import CLUSTER_TOML
from appliance.sim.cluster import lab_cluster
from appliance.supervisor.absences import Absences
from appliance.upkeep import check

DEVICE = FenceDevice("fence_ipmilan", {"ip": "10.9.3.111"})
RECORD = Record(Stamp(1, 0), current={"shopdata": ("alpha", "beta")}, formatted=("filesystem:/srv/mysql",))
STOPPED = GroupReport(("stopped",) * 4, (0,) * 4)
RUNNING = GroupReport(("started",) * 4, (0,) * 4)
ALONE = DrbdReport("Secondary", "UpToDate", "WFConnection")


def fenced(*, witness: bool = True) -> Cluster:
    cluster = lab_cluster()
    nodes = tuple(n if n.votes_only else replace(n, fence=(DEVICE,)) for n in cluster.nodes)
    return replace(cluster, nodes=nodes if witness else nodes[:2], fencing="devices")


def seen(cluster: Cluster, *reports: Report) -> ClusterView:
    """The view of a ring of those who report."""
    view = with_members(ClusterView(cluster), 8, [(r.node, 1) for r in reports])
    for report in reports:
        view = fold(view, report.node, Reported(replace(report, view_id=view.view_id)))
    return view


def worker(node: str, share: GroupReport = STOPPED, **more: object) -> Report:
    report = Report(node, "boot", "", True, {"shop": share}, {"shopdata": ALONE}, RECORD)
    return replace(report, **more)  # type: ignore[arg-type]


def witness(**more: object) -> Report:
    return replace(Report("witness", "boot", "", True, {}, {}, RECORD), **more)  # type: ignore[arg-type]


def test_a_silent_node_that_may_run_the_group_is_switched_off() -> None:
    view = seen(fenced(), worker("beta", suspects=("alpha",)), witness(suspects=("alpha",)))
    decision = decide(view)
    assert decision.steps["beta"] == (Fence("alpha"),)
    assert decision.steps["witness"] == ()
    assert decision.placements["shop"].reason == (
        "waiting for alpha: it has left the cluster and is being switched off"
    )


def test_nobody_is_shot_for_nothing() -> None:
    """The standby fell silent; all that it could hold, it does not hold."""
    view = seen(fenced(), worker("alpha", RUNNING, suspects=("beta",)), witness(suspects=("beta",)))
    assert not any(decide(view).steps.values())


def test_a_node_that_nobody_has_lost_is_given_time_to_boot() -> None:
    assert not any(decide(seen(fenced(), worker("beta"), witness())).steps.values())


def test_when_one_has_failed_the_next_one_tries() -> None:
    trouble = {"alpha": FenceTrouble(1, "fence_ipmilan: off failed: no route")}
    view = seen(fenced(), worker("beta", suspects=("alpha",), fence_troubles=trouble), witness())
    decision = decide(view)
    assert decision.steps["witness"] == (Fence("alpha"),)
    assert "could not be switched off: fence_ipmilan: off failed: no route" in decision.placements["shop"].reason


def test_once_it_is_off_the_group_starts_at_once() -> None:
    view = seen(fenced(), worker("beta", down=("alpha",)), witness(down=("alpha",)))
    assert decide(view).steps["beta"] == (Start("shop", 0, peer_down=True),)


def test_a_node_that_cannot_stop_its_service_is_switched_off() -> None:
    stuck = replace(RUNNING, stuck="service:mariadb.service could not be stopped")
    decision = decide(seen(fenced(), worker("alpha", stuck), worker("beta"), witness()))
    assert decision.steps["beta"] == (Fence("alpha"),)
    assert decision.steps["alpha"] == ()


def test_in_maintenance_nobody_is_shot() -> None:
    record = replace(RECORD, maintenance=True)
    view = seen(fenced(), worker("beta", suspects=("alpha",), record=record), witness(record=record))
    assert not any(decide(view).steps.values())


def test_one_of_two_nodes_shoots_before_it_goes_on() -> None:
    view = seen(fenced(witness=False), worker("alpha", RUNNING, suspects=("beta",)))
    assert not view.quorate
    decision = decide(view)
    assert decision.steps["alpha"] == (Fence("beta"),)
    assert decision.placements["shop"].hands_off


def test_one_of_two_nodes_in_maintenance_shoots_nobody_and_says_what_helps() -> None:
    record = replace(RECORD, maintenance=True)
    cluster = fenced(witness=False)
    view = replace(seen(cluster, worker("alpha", RUNNING, suspects=("beta",), record=record)), record=record)
    decision = decide(view)
    assert not any(decision.steps.values())
    assert "pairkeep confirm-fenced beta" in decision.placements["shop"].reason


def test_the_one_that_is_left_of_two_has_quorum() -> None:
    view = seen(fenced(witness=False), worker("alpha", down=("beta",)))
    assert view.quorate
    assert view.adopted
    assert decide(view).steps["alpha"] == (Start("shop", 0, peer_down=True),)


def test_after_a_cold_start_one_of_two_nodes_does_nothing() -> None:
    view = seen(fenced(witness=False), worker("alpha", quorate=False, down=("beta",)))
    decision = decide(view)
    assert not any(decision.steps.values())
    assert "both nodes have to meet first" in decision.placements["shop"].reason


class Time:
    now = 0.0


def absences(cluster: Cluster, me: str, *, peer_has_group: bool = False) -> tuple[Absences, type[Time]]:
    """Node ``me`` has just lost the other worker."""
    Time.now = 0.0
    found = Absences(cluster, me, lambda: Time.now)
    names = [n.name for n in cluster.nodes]
    peer = cluster.peer_of(me)
    found.membership_changed(ClusterView(cluster), names, names)
    before = seen(cluster, worker(peer, RUNNING if peer_has_group else STOPPED))
    rest = [n for n in names if n != peer]
    found.membership_changed(before, rest, rest)
    return found, Time


def test_a_lost_node_is_a_suspect_until_it_is_off() -> None:
    found, _time = absences(fenced(), "beta")
    assert found.suspects() == ("alpha",)
    found.set_gone("alpha")
    assert found.suspects() == ()
    assert found.down(()) == ("alpha",)


def test_a_node_whose_supervisor_alone_is_missing_is_no_suspect() -> None:
    cluster = fenced()
    found = Absences(cluster, "beta", lambda: 0.0)
    names = [n.name for n in cluster.nodes]
    found.membership_changed(ClusterView(cluster), names, names)
    found.membership_changed(ClusterView(cluster), names[1:], names)
    assert found.suspects() == ()


def test_silence_alone_never_means_down_without_a_third_vote() -> None:
    for cluster, down in ((fenced(), ("alpha",)), (fenced(witness=False), ())):
        found, time = absences(cluster, "beta")
        time.now += cluster.safety_wait_s
        assert found.down(()) == down


def test_being_switched_off_counts_until_it_is_back() -> None:
    cluster = fenced()
    found, _time = absences(cluster, "beta")
    found.set_gone("alpha")
    names = [n.name for n in cluster.nodes]
    found.membership_changed(ClusterView(cluster), names, names)
    found.membership_changed(ClusterView(cluster), names[1:], names[1:])
    assert found.down(()) == ()


@pytest.mark.parametrize(
    ("me", "active", "peer_has_group", "first"),
    [
        ("alpha", True, False, True),
        ("beta", False, True, False),
        ("alpha", True, True, True),
        ("beta", True, True, False),
    ],
)
def test_of_two_nodes_the_one_with_the_service_shoots_first(
    me: str, active: bool, peer_has_group: bool, first: bool
) -> None:
    cluster = fenced(witness=False)
    found, time = absences(cluster, me, peer_has_group=peer_has_group)
    peer = cluster.peer_of(me)
    assert found.may_shoot(peer, active=active) == first
    time.now += cluster.fence_delay_s
    assert found.may_shoot(peer, active=active)


def test_the_agent_is_told_everything_on_its_standard_input() -> None:
    device = FenceDevice("fence_ipmilan", {"ip": "10.9.3.111", "lanplus": "1"})
    told = fence.agent_input(device, "off", {"password": "secret", "action": "on"})
    assert told == "ip=10.9.3.111\nlanplus=1\npassword=secret\naction=off\n"


# SAYS is its exit code for `status`.
AGENT = """\
#!/bin/sh
case $(cat) in *action=status*) exit SAYS ;; esac
RESULT
"""


@pytest.mark.parametrize(
    ("agents", "complaint"),
    [
        ([(2, "exit 0")], None),
        ([(0, "exit 0")], "the power is on"),
        ([(1, "exit 0")], "its status could not be learnt"),
        ([(2, "echo no route >&2; exit 1")], "off failed: no route"),
        ([(2, "exec sleep 20")], "off took longer than 1 s"),
        ([(2, "exit 1"), (2, "exit 0")], None),
    ],
)
def test_off_is_believed_only_when_a_device_says_so_afterwards(
    agents: list[tuple[int, str]], complaint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "FOLDER", tmp_path)
    devices = []
    for level, (says, result) in enumerate(agents):
        path = tmp_path / f"fence_level{level}"
        path.write_text(AGENT.replace("SAYS", str(says)).replace("RESULT", result))
        path.chmod(0o755)
        devices.append(FenceDevice(path.name, timeout_s=1.0))
    node = replace(lab_cluster().nodes[0], fence=tuple(devices))
    if complaint is None:
        fence.Fence(node).off()
    else:
        with pytest.raises(DriverError, match=complaint):
            fence.Fence(node).off()


def test_a_password_that_others_may_read_is_told_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "FOLDER", tmp_path)
    agent, told, password = tmp_path / "fence_some", tmp_path / "told", tmp_path / "bmc.password"
    agent.write_text(f"#!/bin/sh\ncat > {told}\nexit 2\n")
    agent.chmod(0o755)
    password.write_text(" tell me \n")
    password.chmod(0o644)
    node = replace(lab_cluster().nodes[0], fence=(FenceDevice(agent.name, files={"password": str(password)}),))
    assert fence.Fence(node).check().problems == (
        f"fence_some: {password}: found mode 0644, expected 0600: a password is nobody else's business",
    )
    assert not told.exists()
    password.chmod(0o600)
    assert fence.Fence(node).check() == fence.FenceState((), off=True)
    assert "password= tell me \n" in told.read_text()
    password.write_text("tell-me\naction=off\n")
    assert fence.Fence(node).check().problems == (f"fence_some: {password}: found several lines, expected one",)


def test_a_node_says_beforehand_which_secrets_of_devices_it_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_rules", lambda _text: iter(()))  # nft is asked on machines
    monkeypatch.setattr(check, "_is_loaded", lambda _unit: True)  # systemd too
    community, password = tmp_path / "apc.community", tmp_path / "bmc.password"
    community.touch(mode=0o644)
    text = CLUSTER_TOML
    for name, address in (("beta", 1), ("witness", 2)):
        files = f'community_file = "{community}", password_file = "{password}"'
        device = f'fence = {{ agent = "fence_apc_snmp", ip = "10.9.3.{address}", {files} }}'
        text = text.replace(f"[node.{name}]", f"{device}\n\n[node.{name}]")
    assert [line for line in check.problems(text, "alpha") if str(tmp_path) in line] == [
        f"node.beta.fence: {community}: found mode 0644, expected 0600: a password is nobody else's business",
        f"node.beta.fence: {password}: No such file or directory",
    ]


def test_a_fenced_message_changes_no_record() -> None:
    view = seen(fenced(), worker("beta"), witness())
    assert fold(view, "beta", Fenced(view.view_id, "alpha")) is view


def test_an_agent_that_is_not_installed_is_named() -> None:
    node = replace(lab_cluster().nodes[0], fence=(FenceDevice("fence_nonsense"),))
    with pytest.raises(DriverError, match="fence_nonsense is not installed"):
        fence.Fence(node).off()
