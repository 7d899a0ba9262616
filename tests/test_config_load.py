# SPDX-License-Identifier: GPL-2.0-or-later
"""Good files become values; bad ones are refused with exactly the text that stands beside them."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.config.load import ConfigError, load, parse
from appliance.config.model import PREFERRED, Address, Drbd, DrbdRole, Filesystem, Service
from appliance.errors import InputError

FOLDER = Path(__file__).parent / "config"
GOOD = sorted((FOLDER / "good").glob("*.toml"))
BAD = sorted((FOLDER / "bad").glob("*.toml"))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_file_is_accepted(path: Path) -> None:
    assert load(path).name


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_this_text(path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(path.read_text(), path.name)
    assert refusal.value.message + "\n" == path.with_suffix(".txt").read_text()
    assert refusal.value.exit_code == 2


def test_a_line_that_names_a_secret_is_not_quoted() -> None:
    """The cluster's text stands in answers files, too, and their faults are told on every console."""
    with pytest.raises(ConfigError) as refused:
        parse('[node.alpha]\nfence = { agent = "fence_ipmilan", password = hunter2 }\n')
    assert refused.value.message == (
        "cluster.toml: line 2, column 47: not valid TOML: Invalid value; "
        "the line is not shown, for it may hold a secret"
    )
    with pytest.raises(ConfigError, match="found 'password_file = /etc/x', which is not valid TOML: Invalid value"):
        parse("[node.alpha.fence]\npassword_file = /etc/x\n")


def test_any_option_of_a_fence_device_may_stand_in_a_file_of_its_own() -> None:
    device = (
        'fence = { agent = "fence_apc_snmp", ip = "10.9.3.111", community_file = "/etc/pairkeep/apc.community", '
        'identity_file = "/root/.ssh/id", password_script = "/usr/local/bin/ask", "tls1.0" = true, timeout_s = 9 }'
    )
    text = (FOLDER / "good/shop.toml").read_text()
    text = text.replace("[node.beta]", f"{device}\n[node.beta]")
    text = text.replace("[node.witness]", f"{device.replace('3.111', '3.112')}\n[node.witness]")
    (found,) = parse(text).node("alpha").fence
    assert found.files == {"community": "/etc/pairkeep/apc.community"}
    # Files that the agent reads itself are its own business.
    assert found.options == {
        "ip": "10.9.3.111",
        "identity_file": "/root/.ssh/id",
        "password_script": "/usr/local/bin/ask",
        "tls1.0": "1",
    }
    assert found.timeout_s == 9


def test_every_text_has_its_file() -> None:
    assert [path.stem for path in BAD] == sorted(path.stem for path in (FOLDER / "bad").glob("*.txt"))


def test_the_pair_of_the_design() -> None:
    cluster = load(FOLDER / "good/shop.toml")
    assert [(node.name, node.id) for node in cluster.nodes] == [("alpha", 1), ("beta", 2), ("witness", 3)]
    assert [node.name for node in cluster.workers] == ["alpha", "beta"]
    assert cluster.node("beta").links == (ip_address("10.9.1.12"), ip_address("10.9.2.12"))
    assert cluster.networks == (ip_network("10.9.1.0/24"), ip_network("10.9.2.0/24"))
    assert (cluster.token_ms, cluster.watchdog_s) == (1000, 10)
    assert cluster.drbd == (Drbd("shopdata", "/dev/disk/by-id/virtio-data", link=2, minor=0, port=7788),)
    group = cluster.group("shop")
    assert (group.prefer, group.failback) == ("alpha", False)
    assert group.resources == (
        DrbdRole("shopdata"),
        Filesystem("/srv/mysql", "drbd:shopdata", "ext4"),
        Service("mariadb.service", "mysql"),
        Address(ip_interface("10.9.1.100/24"), link=1),
    )


def test_every_key_arrives() -> None:
    cluster = load(FOLDER / "good/everything.toml")
    assert (cluster.token_ms, cluster.watchdog_s) == (700, 15)
    assert [(d.minor, d.port, d.link) for d in cluster.drbd] == [(0, 7788, 1), (1, 7789, 2)]
    db, files, web = cluster.groups
    assert (db.scores, db.stickiness) == ({"alpha": -5, "beta": 50}, 20)
    assert (db.failback, db.failback_delay_s, db.migration_threshold, db.failure_timeout_s) == (True, 300, 1, 60)
    assert db.resources[1:] == (
        Filesystem("/srv/db", "drbd:db", "ext4", "noatime,nodev", 60, 7.5, "block"),
        Service("mariadb.service", "mysql", 9, 300, 90, "block"),
        Address(ip_interface("fd00:9::100/64"), link=2),
    )
    assert (files.score("alpha"), files.never, files.apart_from) == (PREFERRED, ("beta",), ("db",))
    assert (web.leader, web.after) == ("files", ("db", "files"))
    assert [group.name for group in cluster.groups_in_order] == ["db", "files", "web"]
    assert cluster.followers("files") == (web,)
    assert files.resources[-1] == Address(ip_interface("192.0.2.1/32"), interface="lo")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load(tmp_path / "cluster.toml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_bytes(b"[cluster]\nname = '\xff'\n")
    with pytest.raises(InputError, match="not UTF-8 at offset 18"):
        load(tmp_path / "cluster.toml")


def test_the_command_answers_with_exit_codes_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(FOLDER / "good/shop.toml")]) == 0
    assert "no mistakes" in capsys.readouterr().out
    assert main(["config", "check", str(FOLDER / "bad/unknown-key.toml")]) == 2
    assert "did you mean 'links'?" in capsys.readouterr().err
    assert main(["config", "check", "--json", str(FOLDER / "bad/same-disk-twice.toml")]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["valid"] is False
    assert len(answer["problems"]) == 1
