# SPDX-License-Identifier: GPL-2.0-or-later
"""What a changed cluster.toml changes, which version a node runs by, and how all nodes come to run by one."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config.load import parse
from appliance.config.model import Cluster, Drbd
from appliance.decide.messages import Configure
from appliance.decide.view import BLANK, FIRST, Configuration, Record, Stamp
from appliance.drivers import keepalived
from appliance.errors import InputError, PairkeepError
from appliance.files import replace_file
from appliance.lab.pair import CLUSTER_TOML
from appliance.render import SECRET, lvs, replication, write
from appliance.render.peers import shared_secret
from appliance.run import RunError
from appliance.sim import faults
from appliance.sim.cluster import SimCluster
from appliance.sim.repair import attend
from appliance.sim.shapes import cluster_of
from appliance.upkeep import versions as module
from appliance.upkeep.difference import difference
from appliance.upkeep.versions import Versions
from tests.test_config_virtual import PAIR, web

OLD = parse(CLUSTER_TOML)
KEY = bytes(range(256))


def changed(old: str, new: str) -> str:
    assert CLUSTER_TOML.count(old) == 1
    return CLUSTER_TOML.replace(old, new)


# Difference -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('prefer = "alpha"', 'prefer = "beta"', "group.shop.prefer: alpha -> beta"),
        ('prefer = "alpha"', 'prefer = "alpha"\nfailback = true', "group.shop.failback: false -> true"),
        ("link = 2\n", "link = 2\nverify_every_h = 168\n", "drbd.shopdata.verify_every_h: none -> 168"),
        (
            'probe = "mysql"',
            'probe = "mysql", stop_timeout_s = 90',
            "group.shop: service:mariadb.service.stop_timeout_s: 60.0 -> 90",
        ),
        ("\n]\n", '\n  { address = "10.9.1.101/24" },\n]\n', "group.shop: address:10.9.1.101/24 is new"),
        (
            'name = "shop"\nnetworks',
            'name = "shop"\nping = ["10.9.1.1"]\nnetworks',
            "cluster.ping: none -> 10.9.1.1",
        ),
    ],
)
def test_what_needs_no_stop(old: str, new: str, line: str) -> None:
    found = difference(OLD, parse(changed(old, new)))
    assert found.lines == (line,)
    assert found.stops == found.refused == ()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('type = "ext4"', 'options = "nodev"', "group.shop: filesystem:/srv/mysql.options: noatime -> nodev"),
        ('  { service = "mariadb.service", probe = "mysql" },\n', "", "group.shop: service:mariadb.service goes"),
        (
            '  { service = "mariadb.service", probe = "mysql" },\n  { address = "10.9.1.100/24" },\n',
            '  { address = "10.9.1.100/24" },\n  { service = "mariadb.service", probe = "mysql" },\n',
            "group.shop: another order: drbd:shopdata, filesystem:/srv/mysql, address:10.9.1.100/24, "
            "service:mariadb.service",
        ),
        ("10.9.1.100/24", "10.9.1.99/24", "group.shop: address:10.9.1.100/24 goes"),
    ],
)
def test_what_stops_a_group(old: str, new: str, line: str) -> None:
    found = difference(OLD, parse(changed(old, new)))
    assert line in found.lines
    assert found.stops == ("shop",)
    assert found.gone == found.refused == ()


def test_a_group_that_is_renamed_goes_and_a_new_one_comes() -> None:
    found = difference(OLD, parse(changed('[[group]]\nname = "shop"', '[[group]]\nname = "store"')))
    assert found.stops == found.gone == ("shop",)
    assert [line.split(":")[0] for line in found.lines] == ["group.shop goes", "group.store is new"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            '[cluster]\nname = "shop"',
            '[cluster]\nname = "store"',
            "cluster.name cannot change while the cluster runs",
        ),
        ('name = "shop"\nnetworks', 'name = "shop"\nwatchdog_s = 20\nnetworks', "watchdog was armed for"),
        ('name = "shop"\nnetworks', 'name = "shop"\ntoken_ms = 400\nnetworks', "on all nodes at once"),
        ('"10.9.2.13"', '"10.9.2.14"', "nodes, their order, links and votes"),
        ("virtio-data", "virtio-other", "DRBD was set up with them"),
        ("link = 2\n", "link = 1\n", "DRBD was set up with them"),
    ],
)
def test_what_cannot_change_is_refused_with_the_reason(old: str, new: str, why: str) -> None:
    (reason,) = difference(OLD, parse(changed(old, new))).refused
    assert why in reason
    assert "set both machines up anew" in reason


def test_a_group_stops_when_what_makes_it_a_real_server_changes() -> None:
    made = CLUSTER_TOML.replace("resources = [", 'resources = [\n  { realserver = "web" },', 1)
    made += '[realserver.web]\nforwarding = "dr"\naddresses = ["10.9.1.200"]\n'
    found = difference(parse(made), parse(made.replace('"10.9.1.200"', '"10.9.1.201"')))
    assert found.lines == ("realserver.web.addresses: 10.9.1.200 -> 10.9.1.201",)
    assert found.stops == ("shop",)
    told = difference(parse(made), parse(made + '[notify]\nmail = ["root@example.org"]\n'))
    assert (told.lines, told.stops) == (("notify.mail: none -> root@example.org",), ())


def test_nothing_changed_is_no_difference() -> None:
    assert difference(OLD, parse(CLUSTER_TOML + "# a remark\n")).lines == ()


# One node ---------------------------------------------------------------------------------------------

NEW_TEXT = changed('prefer = "alpha"', 'prefer = "beta"')
SECOND = Configuration(1, NEW_TEXT, (), "root@alpha", "a test", 1.0)


def _below(root: Path) -> Versions:
    places = root / "etc/cluster.toml", root / "versions", root / "run/config.json"
    return Versions(*places, root, reload=(root / "reloaded").touch)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    places = _below(tmp_path)
    places.edited.parent.mkdir()
    places.edited.write_text(CLUSTER_TOML)
    replace_file(tmp_path / "etc/corosync/authkey", KEY, 0o400)
    return places


def test_the_first_start_runs_by_what_first_boot_wrote_and_keeps_it(versions: Versions) -> None:
    assert versions.start(BLANK, "alpha") == (FIRST, CLUSTER_TOML)
    versions.edited.write_text("a draft that nobody has applied")
    assert versions.start(BLANK, "alpha") == (FIRST, CLUSTER_TOML)
    versions.running.unlink()  # as after a boot
    assert versions.start(BLANK, "alpha") == (FIRST, CLUSTER_TOML)


def test_a_node_that_boots_runs_by_the_version_on_record(versions: Versions) -> None:
    versions.start(BLANK, "alpha")
    versions.running.unlink()
    assert versions.start(Record(Stamp(4), config=SECOND), "alpha") == (SECOND, NEW_TEXT)
    assert versions.edited.read_text() == NEW_TEXT
    assert [(v["version"], v["who"], v["why"]) for v in versions.list()] == [
        (0, "first boot", ""),
        (1, "root@alpha", "a test"),
    ]
    assert versions.text_of(0) == CLUSTER_TOML
    with pytest.raises(InputError, match="there is no version 7 on this node; there is 0, 1"):
        versions.text_of(7)


def test_a_supervisor_that_is_restarted_goes_on_by_what_it_ran_by(versions: Versions) -> None:
    """What has to stop for the change is stopped by the supervisor that started it."""
    versions.start(BLANK, "alpha")
    assert versions.start(Record(Stamp(4), config=SECOND), "alpha") == (FIRST, CLUSTER_TOML)


def test_a_draft_on_a_node_where_something_else_was_applied_is_kept(versions: Versions) -> None:
    versions.start(BLANK, "alpha")
    versions.edited.write_text("a draft")
    versions.put_in_force(SECOND, "alpha")
    assert versions.edited.read_text() == NEW_TEXT
    assert versions.edited.with_name("cluster.toml.unapplied").read_text() == "a draft"


def test_what_was_made_for_a_service_that_is_gone_goes_with_it(versions: Versions, tmp_path: Path) -> None:
    versions.start(BLANK, "alpha")
    versions.put_in_force(replace(SECOND, text=CLUSTER_TOML, version=1), "alpha")
    file = tmp_path / "etc/systemd/system/mariadb.service.d/50-pairkeep.conf"
    assert file.exists()
    assert (tmp_path / "reloaded").exists()
    other = changed("mariadb.service", "postgresql.service").replace(', probe = "mysql"', "")
    versions.put_in_force(replace(SECOND, text=other, version=2), "alpha")
    assert not file.exists()
    assert (tmp_path / "etc/systemd/system/postgresql.service.d/50-pairkeep.conf").exists()


class _Kernel:
    """DRBD's, in which a resource is up; it keeps which ones have been told anew whom they know."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, config: Drbd) -> _Kernel:
        self._name = config.name
        return self

    def know_peer_by(self, algorithm: str, secret: str) -> None:
        assert algorithm == "sha256"
        assert len(secret) == 62
        self.told.append(self._name)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> _Kernel:
    made = _Kernel()
    monkeypatch.setattr(module, "Drbd", made)
    return made


def test_a_peer_is_known_by_a_secret_of_the_cluster_s_key_that_only_root_may_read(
    versions: Versions, tmp_path: Path, kernel: _Kernel
) -> None:
    versions.start(BLANK, "alpha")
    versions.put_in_force(SECOND, "alpha")
    file = tmp_path / "etc/drbd.d/shopdata.res"
    assert f'shared-secret "{shared_secret(KEY, "shopdata")}";' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert kernel.told == ["shopdata"]
    # As one that others may read by now.
    file.chmod(0o644)
    versions.put_in_force(replace(SECOND, version=2), "alpha")
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("was", ["another key", "no secret"])
def test_files_of_another_key_are_made_anew(versions: Versions, tmp_path: Path, kernel: _Kernel, was: str) -> None:
    key, file = tmp_path / "etc/corosync/authkey", tmp_path / "etc/drbd.d/shopdata.res"
    if was == "another key":
        write(replication(OLD, "alpha", tmp_path), tmp_path, SECRET)
        replace_file(key, b"another" * 40, 0o400)
    else:
        replace_file(file, b"resource shopdata {}\n")
    assert versions.start(BLANK, "alpha") == (FIRST, CLUSTER_TOML)
    assert kernel.told == ["shopdata"]
    assert shared_secret(key.read_bytes(), "shopdata") in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_gone_keeps_a_running_node_from_nothing_and_no_version_comes_half(
    versions: Versions, tmp_path: Path, kernel: _Kernel
) -> None:
    versions.start(BLANK, "alpha")
    versions.put_in_force(SECOND, "alpha")
    kernel.told.clear()
    key = tmp_path / "etc/corosync/authkey"
    key.unlink()
    assert versions.start(BLANK, "alpha") == (SECOND, NEW_TEXT)
    with pytest.raises(InputError, match="/etc/corosync/authkey: No such file or directory"):
        versions.put_in_force(Configuration(2, CLUSTER_TOML), "alpha")
    assert versions.edited.read_text() == NEW_TEXT
    assert [v["version"] for v in versions.list()] == [0, 1]
    assert kernel.told == []


class PowerCut(Exception):
    """In the middle of it."""


class _Cutting:
    """`render.write`, until power goes before the file of this number."""

    def __init__(self, cut: int) -> None:
        self.left = cut

    def __call__(self, files: dict[Path, str], root: Path, mode: int = 0o644) -> tuple[Path, ...]:
        changed: tuple[Path, ...] = ()
        for path, text in files.items():
            self.left -= 1
            if self.left == 0:
                raise PowerCut
            changed += write({path: text}, root, mode)
        return changed


def test_power_may_go_between_any_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was written by then, the next boot runs by the record's version and has all files of it."""
    done = 0
    record = Record(Stamp(4), config=SECOND)
    for cut in range(1, 40):
        home = tmp_path / str(cut)
        places = _below(home)
        places.edited.parent.mkdir(parents=True)
        places.edited.write_text(CLUSTER_TOML)
        places.start(BLANK, "witness")
        monkeypatch.setattr(module, "write", _Cutting(cut))
        try:
            places.put_in_force(SECOND, "witness")
            done = cut
        except PowerCut:
            pass
        monkeypatch.setattr(module, "write", write)
        places.running.unlink(missing_ok=True)
        assert places.start(record, "witness") == (SECOND, NEW_TEXT)
        assert places.edited.read_text() == NEW_TEXT
        assert places.text_of(1) == NEW_TEXT
        assert (home / "etc/corosync/corosync.conf").exists()
        if done:
            break
    assert done > 4


# The whole cluster --------------------------------------------------------------------------------------


def _new_cluster(old: Cluster) -> Cluster:
    """Without the first group's address, so that the group has to stop for it."""
    first, *others = old.groups
    return replace(old, groups=(replace(first, resources=first.resources[:-1], prefer="beta"), *others))


@pytest.mark.parametrize("shape", ["lab", "two-groups", "devices", "two-nodes", "by-hand"])
@pytest.mark.parametrize("seeds", [range(0, 8), range(8, 16)])
def test_all_nodes_change_over_whatever_happens_meanwhile(shape: str, seeds: range) -> None:
    """Power cuts and killed supervisors at any moment: all run by one version in the end, and nothing is lost."""
    for seed in seeds:
        chance = random.Random(seed)
        sim = SimCluster(cluster_of(shape), chance, told=True)
        new = _new_cluster(sim.cluster)
        group = sim.cluster.groups[0].name
        for name, machine in sim.machines.items():
            sim.sites[name].known["new"] = new
            machine.power_on()
        sim.run_until(sim.healthy, 60.0, "formed")
        config = Configuration(1, "new", (group,))
        address = sim.cluster.groups[0].resources[-1].id
        assert faults.wish(sim, chance.choice(list(sim.sites)), Configure("", config), "applies it")
        sim.run_for(chance.uniform(0.0, 6.0))
        victim = chance.choice(list(sim.sites))
        match seed % 4:
            case 0:
                sim.machines[victim].power_off("power cut")
            case 1:
                sim.sites[victim].kill_supervisor()
            case 2:
                sim.sites[victim].crash_corosync()
            case _:
                for machine in sim.machines.values():
                    machine.power_off("power cut of all")
        sim.run_for(chance.uniform(0.0, 25.0))
        attend(sim)

        def over(sim: SimCluster = sim, config: Configuration = config) -> bool:
            attend(sim)
            cores = [s.process.core for s in sim.sites.values() if s.process is not None]
            told = any(c.view.record.config == config for c in cores)
            # A power cut may come before the wish was heard of: then nothing has changed anywhere.
            wanted = config if told else FIRST
            return sim.healthy() and all(c.config == wanted for c in cores)

        try:
            sim.run_until(over, 180.0, "all run by one version, and all is well")
        except Exception as error:
            raise AssertionError(f"{shape}, seed {seed}:\n{sim.story.text(60)}") from error
        if all(s.process is not None and s.process.core.config == config for s in sim.sites.values()):
            assert not any(address in site.resources.on for site in sim.sites.values())


def test_a_change_that_stops_nothing_touches_nothing() -> None:
    for seed in range(6):
        sim = SimCluster(cluster_of("lab"), random.Random(seed), told=True)
        for machine in sim.machines.values():
            machine.power_on()
        sim.run_until(sim.healthy, 60.0, "formed")
        sim.judge.untouchable = True
        for site in sim.sites.values():
            site.known["new"] = replace(sim.cluster, fence_delay_s=7.0)
        assert faults.wish(sim, "witness", Configure("", Configuration(1, "new")), "applies it")
        sim.run_for(20.0)
        sim.run_until(sim.healthy, 20.0, "all run by it")
        assert {s.process.core.config.version for s in sim.sites.values() if s.process is not None} == {1}


def test_of_two_that_apply_at_once_one_wins_and_all_run_by_that() -> None:
    sim = SimCluster(cluster_of("lab"), random.Random(1))
    for machine in sim.machines.values():
        machine.power_on()
    sim.run_until(sim.healthy, 60.0, "formed")
    for node, text in (("alpha", "one"), ("beta", "another")):
        assert faults.wish(sim, node, Configure("", Configuration(1, text)), "applies it")
    sim.run_for(25.0)
    sim.run_until(sim.healthy, 20.0, "all run by one")
    assert len({s.process.core.config.text for s in sim.sites.values() if s.process is not None}) == 1


def test_a_node_that_was_away_takes_the_version_up_when_it_is_back() -> None:
    sim = SimCluster(cluster_of("lab"), random.Random(2), told=True)
    for machine in sim.machines.values():
        machine.power_on()
    sim.run_until(sim.healthy, 60.0, "formed")
    sim.machines["beta"].power_off("power cut")
    sim.run_for(20.0)
    assert faults.wish(sim, "alpha", Configure("", Configuration(1, "one")), "applies it")
    sim.run_for(10.0)
    sim.machines["beta"].power_on()
    sim.run_for(10.0)
    sim.run_until(sim.healthy, 60.0, "all is well")
    beta = sim.sites["beta"].process
    assert beta is not None
    assert beta.core.config.version == 1
    assert "beta     takes up version 1" in sim.story.text()


def _refuse() -> None:
    raise RunError(["nft", "-f", "/etc/nftables.conf"], 1, "syntax error")


def test_a_rule_that_nft_refuses_keeps_no_node_from_starting(versions: Versions, tmp_path: Path) -> None:
    versions.start(BLANK, "alpha")
    versions.running.unlink()
    stubborn = replace(versions, reload=_refuse)
    assert stubborn.start(Record(Stamp(4), config=SECOND), "alpha") == (SECOND, NEW_TEXT)
    assert stubborn.start(BLANK, "alpha") == (SECOND, NEW_TEXT)
    assert (tmp_path / "etc/corosync/corosync.conf").exists()


def test_what_does_not_read_its_files_holds_nobody_up_and_is_told_until_it_does(versions: Versions) -> None:
    versions.start(BLANK, "alpha")
    stubborn = replace(versions, reload=_refuse)
    stubborn.put_in_force(SECOND, "alpha")
    assert versions.start(BLANK, "alpha") == (SECOND, NEW_TEXT)
    assert stubborn.catch_up() == "nft ended with 1: syntax error"
    assert versions.catch_up() == ""
    # Nothing is behind, so nothing is reloaded.
    assert stubborn.catch_up() == ""


def test_keepalived_reads_its_files_though_nft_refuses_others(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def run(argv: list[str], timeout_s: float) -> None:
        assert timeout_s >= 30
        done.append(argv[0])
        if argv[0] == "nft":
            _refuse()

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(keepalived, "take_up", lambda: done.append("keepalived"))
    with pytest.raises(PairkeepError, match="nft ended with 1: syntax error"):
        Versions().reload()
    assert done == ["systemctl", "nft", "keepalived"]


# Directors ----------------------------------------------------------------------------------------------

TWO = PAIR + web("quorum = 2", more='[[virtual.web.real]]\naddress = "10.9.2.22"\n')
DRAINED = "web/10.9.2.22"
BALANCE = Configuration(1, TWO)


def _strict(files: dict[Path, str]) -> None:
    """What keepalived -t says of a quorum that its servers cannot reach."""
    text = files[lvs.MAIN]
    if "quorum 2" in text and "weight 0" in text:
        raise PairkeepError("quorum 2 exceeds total weight of real servers 1")


def test_servers_that_are_drained_keep_no_version_from_being_put_in_force(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepalived, "check", _strict)
    versions.edited.write_text(PAIR)
    versions.start(BLANK, "alpha")
    versions.put_in_force(BALANCE, "alpha", (DRAINED,))
    assert "weight 0" in (tmp_path / lvs.MAIN.relative_to("/")).read_text()
    assert versions.start(BLANK, "alpha") == (BALANCE, TWO)


def test_what_keepalived_refuses_changes_no_file_but_keeps_no_node_from_starting(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_files: object) -> None:
        raise PairkeepError("keepalived refuses it")

    monkeypatch.setattr(keepalived, "check", refuse)
    versions.edited.write_text(PAIR)
    versions.start(BLANK, "alpha")
    with pytest.raises(PairkeepError, match="keepalived refuses it"):
        versions.put_in_force(BALANCE, "alpha")
    assert versions.edited.read_text() == PAIR
    assert not (tmp_path / "etc").joinpath("keepalived").exists()
    versions.running.unlink()  # as after a boot
    stubborn = replace(versions, reload=lambda: refuse(None))
    assert stubborn.start(Record(Stamp(4), config=BALANCE), "alpha") == (BALANCE, TWO)
    assert (tmp_path / lvs.MAIN.relative_to("/")).exists()
