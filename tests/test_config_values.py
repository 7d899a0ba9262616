# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that have the right type and would still mean something else to the programs that read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config.load import ConfigError, parse
from appliance.config.realserver_file import is_realserver
from appliance.errors import InputError
from appliance.firstboot.answers import parse_answers
from appliance.firstboot.realserver import is_for_realserver
from appliance.firstboot.setup_file import is_setup
from appliance.render import replication

GOOD = Path(__file__).parent / "config/good"


def text(name: str, *changes: tuple[str, str]) -> str:
    """The good file ``name``, changed."""
    found = (GOOD / f"{name}.toml").read_text()
    for before, after in changes:
        assert before in found
        found = found.replace(before, after)
    return found


def refusal(name: str, *changes: tuple[str, str]) -> str:
    """What is wrong with the good file ``name`` once it is so changed."""
    with pytest.raises(ConfigError) as refused:
        parse(text(name, *changes))
    return refused.value.message


@pytest.mark.parametrize("word", ["disk", "net", "proxy", "on", "options", "yes", "address", "protocol"])
def test_a_word_of_drbd_is_a_name_like_any_other(word: str, tmp_path: Path) -> None:
    cluster = parse(text("shop", ("shopdata", word), ("node.beta", f"node.{word}")))
    key = tmp_path / "etc/corosync/authkey"
    key.parent.mkdir(parents=True)
    key.write_bytes(bytes(range(128)))
    found = replication(cluster, "alpha", tmp_path)[Path(f"/etc/drbd.d/{word}.res")]
    assert f'\nresource "{word}" {{\n' in found
    assert f'\n    on "{word}" {{\n' in found


def test_a_disk_is_not_called_what_means_every_disk() -> None:
    assert refusal("shop", ("shopdata", "all")) == (
        'cluster.toml: drbd.all: found the name "all", expected letters, digits, - and _, a letter first '
        "(at most 32), and not all, which is every resource to drbdadm(8)"
    )


@pytest.mark.parametrize("name", ["localhost", "ip6-localhost", "1", "123"])
def test_a_node_is_not_called_like_every_machine_nor_like_an_address(name: str) -> None:
    assert f'node.{name}: found the name "{name}", expected a host name' in refusal(
        "shop", ("node.beta", f"node.{name}")
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("pairkeep/probe.password", "pairkeep/the probe", "password_file: found "),
        ("pairkeep/probe", 'pairkeep/p\\"\\n}\\nMISC_CHECK {', "password_file: found "),
        ("pairkeep/probe.password", "pairkeep/$PROBE", "password_file: found "),
        ("pairkeep/probe.password", "pairkeep/p\\u0000", "password_file: found "),
        ('"probe"', '"-probe"', 'user: found "-probe", expected a user\'s name without blanks, no - first'),
        ('"shop" }', '"-shop" }', 'database: found "-shop", expected a database\'s name'),
        ('"shop" }', '"$shop" }', 'database: found "$shop", expected a database\'s name'),
        ('"shop" }', '"ṣhop" }', "database: found "),
    ],
)
def test_what_a_check_logs_in_with_are_plain_words_of_its_command(before: str, after: str, message: str) -> None:
    """keepalived.conf(5) has the command between quotes, and the program parses its arguments."""
    assert message in refusal("directors", (before, after))


def test_a_fence_devices_password_file_is_a_path_that_can_be_opened() -> None:
    assert "fence.1.password_file: found " in refusal("fenced", ("/etc/pairkeep/bmc", "/etc/pairkeep/\\u0000bmc"))


MACHINES_OWN = """
    // //etc //srv/mysql /var/lib /var/log /var/lib/pairkeep/disks /etc/pairkeep /usr/lib /run/pairkeep /proc/1
    /sys/fs /dev/shm /boot/grub /var/run/mysqld /lib/modules
"""


@pytest.mark.parametrize("folder", MACHINES_OWN.split())
def test_a_file_system_is_not_mounted_over_the_machines_own_files(folder: str) -> None:
    assert f'filesystem: found "{folder}", expected the absolute path of a mount point of its own' in refusal(
        "shop", ('"/srv/mysql"', f'"{folder}"')
    )


@pytest.mark.parametrize(
    "folder", ["/var/lib/mysql", "/var/lib/pairkeeper", "/srv", "/home/shop", "/usr2", "/data"]
)
def test_a_file_system_has_a_mount_point_of_its_own(folder: str) -> None:
    assert parse(text("shop", ('"/srv/mysql"', f'"{folder}"')))


@pytest.mark.parametrize(
    ("name", "before", "after", "key"),
    [
        ("directors", '"fd00:9::11"', '"fd00:9::11%x\\n}"', "node.alpha.links.3"),
        ("directors", '"fd00:9::/64"', '"fd00:9::%x/64"', "cluster.networks.3"),
        ("directors", '"fd00:9::21"', '"fd00:9::21%x {"', "virtual.web6.real.1.address"),
        ("everything", '"fd00:9::1"', '"fd00:9::1%x"', "cluster.ping.2"),
        ("everything", '"fd00:9::100/64"', '"fd00:9::100%x/64"', "group.db.resources.4.address"),
        ("san", '"[fd00:9::100]:3260"', '"[fd00:9::100%x]:3260"', "target.store.portals.3"),
        ("shared-disk", '"[fd00:9::50]:3261"', '"fd00:9::50%x"', "initiator.archive.portals.1"),
    ],
)
def test_an_address_has_no_scope(name: str, before: str, after: str, key: str) -> None:
    """What stands behind % may be anything to the module ipaddress, and would be written into files as it is."""
    found = refusal(name, (before, after))
    assert f"{key}: found " in found
    assert "%x" in found


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        ("fenced", "[node.beta]", "[[node.beta]]", "node.beta: found [a table], expected a table"),
        ("directors", "[virtual.web6]", "[[virtual.web6]]", "virtual.web6: found [a table], expected a table"),
        (
            "directors",
            'check = "ping"',
            'check = { kind = ["http"] }',
            'virtual.all.check.kind: found ["http"], expected one of connect',
        ),
        ("shop", "link = 2", f"link = {'9' * 5000}", "not valid TOML: a number has too many digits"),
        ("shop", "link = 2", f"link = 0x{'f' * 5000}", "drbd.shopdata.link: found 0xffffff"),
        ("shop", "link = 2", f"link = {'[' * 5000}", "not valid TOML: arrays or tables are nested too deeply"),
        ("shop", "link = 2", f"{'a.' * 5000}b = 2", "drbd.shopdata.a: unknown key"),
    ],
    ids=["node", "virtual", "kind", "long", "long-hexadecimal", "deep", "deep-table"],
)
def test_whatever_stands_there_is_told_as_one_mistake(name: str, before: str, after: str, message: str) -> None:
    assert refusal(name, (before, after)).startswith(f"cluster.toml: {message}")


def test_nothing_is_said_to_be_missing_from_what_cannot_be_read() -> None:
    assert refusal("directors", ("port = 0", 'port = "none"')) == (
        'cluster.toml: virtual.all.port: found "none", expected a whole number from 0 to 65535'
    )


def test_what_cannot_be_read_is_still_told_to_be_unused() -> None:
    found = refusal("shared-disk", ("lun = 1\n", ""), ('{ initiator = "shopdata" },', ""))
    assert "initiator.shopdata: found none of lun, wwn, serial, expected one" in found
    assert "initiator.shopdata: found in no group's resources, expected it in exactly one" in found


@pytest.mark.parametrize("broken", [f"a = {'9' * 5000}", f"a = {'[' * 5000}"], ids=["long", "deep"])
def test_no_file_is_too_strange_to_be_asked_what_it_is(broken: str) -> None:
    assert not any(ask(broken) for ask in (is_setup, is_for_realserver, is_realserver))
    with pytest.raises(InputError, match="not valid TOML: "):
        parse_answers(broken)


def test_the_line_that_is_quoted_is_the_one_that_is_meant() -> None:
    """Python ends lines at more characters than TOML does, and the line before may hold a secret."""
    with pytest.raises(ConfigError, match=r"line 2, column 5: found 'a = x'"):
        parse("# \u2028 password of alpha: hunter2\na = x\n")


OUTER = '  { filesystem = "/srv/db", device = "drbd:db", type = "ext4"'
INNER = '  { filesystem = "/srv/db/logs", device = "/dev/vg0/logs" },'


def test_a_file_system_on_another_one_is_mounted_after_it() -> None:
    assert parse(text("everything", ('  { service = "mariadb', f'{INNER}\n  {{ service = "mariadb')))
    assert refusal("everything", (OUTER, f"{INNER}\n{OUTER}")) == (
        'cluster.toml: group.db.resources.3.filesystem: found "/srv/db", expected it to stand before '
        '"/srv/db/logs", which it would hide'
    )


@pytest.mark.parametrize(("place", "where"), [("/srv/db/files", "below"), ("/srv", "above")])
def test_groups_do_not_mount_on_each_others_file_systems(place: str, where: str) -> None:
    assert refusal("everything", ("/srv/files", place)) == (
        f'cluster.toml: group.files.resources.2.filesystem: found "{place}", expected a mount point that is not '
        f'{where} "/srv/db" of another group: one would hide or hold the other'
    )


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("127.0.0.0/8", "one that every machine has for itself"),
        ("fe80::/64", "a link-local one, which says nothing without its link"),
        ("224.0.0.0/24", "one of a multicast group"),
        ("240.0.0.0/8", "one that is reserved"),
        ("0.0.0.0/8", "one that means no machine"),
        ("::ffff:a09:200/120", "one that stands for an IPv4 address"),
    ],
)
def test_a_network_is_one_in_which_machines_reach_each_other(network: str, why: str) -> None:
    assert refusal("manual", ('"10.9.1.0/24"', f'"{network}"')) == (
        f'cluster.toml: cluster.networks.1: found "{network}", expected a network of machines, not {why}'
    )


MACHINE = "expected a machine's address, not "


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("everything", "192.0.2.1/32", "224.0.0.5/24", f"{MACHINE}one of a multicast group"),
        ("everything", "fd00:9::1", "::1", f"{MACHINE}one that every machine has for itself"),
        ("directors", "10.9.1.100/24", "10.9.1.0/24", "expected a host's address, not one that means all of"),
        ("directors", "10.9.2.254/24", "10.9.2.255/24", "expected a host's address, not one that means all of"),
        ("directors", "fd00:9::21", "::", f"{MACHINE}one that means no machine"),
        ("directors", "fd00:9::21", "ff02::1", f"{MACHINE}one of a multicast group"),
        ("directors", "fd00:9::21", "fd00:9::12", "expected a machine behind the directors, not node beta"),
        ("shared-disk", "[fd00:9::50]:3261", "[::]:3261", f"{MACHINE}one that means no machine"),
    ],
)
def test_an_address_is_one_that_other_machines_reach(name: str, before: str, after: str, expected: str) -> None:
    assert f'found "{after}", {expected}' in refusal(name, (f'"{before}"', f'"{after}"'))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("mysql.service", 'expected "mariadb.service", whose other name this is'),
        ("mysqld.service", 'expected "mariadb.service", whose other name this is'),
        ("nfs@.service", "expected a systemd unit ending in .service, .socket or .target"),
        ("-q.service", "expected a systemd unit ending in .service, .socket or .target"),
        ("pairkeep.service", "expected a service of the group: without this one the machine is no node"),
        ("corosync.service", "expected a service of the group: without this one the machine is no node"),
        ("ssh.socket", "expected a service of the group: without this one the machine is no node"),
        ("poweroff.target", "expected a service of the group: without this one the machine is no node"),
    ],
)
def test_a_groups_service_is_its_own_and_goes_by_its_first_name(unit: str, expected: str) -> None:
    assert f'service: found "{unit}", {expected}' in refusal("shop", ("mariadb.service", unit))


def test_iscsi_names_that_differ_in_capitals_are_one() -> None:
    same = "iqn.2026-01.ORG.example:Store.Shop"
    assert f'found "{same}", expected a target that initiator.shopdata does not use' in refusal(
        "shared-disk", ("eui.0123456789abcdef", same)
    )


def test_digits_of_an_iscsi_name_are_those_of_ascii() -> None:
    assert "target.store.iqn: found " in refusal(
        "san", ("iqn.2026-01.org.example:store", "iqn.٢٠٢٦-01.org.example")
    )


def test_what_a_terminal_would_obey_is_shown_as_an_escape() -> None:
    found = refusal("shop", ('"/srv/mysql"', '"/srv/\\u001b[2J"'), ("link = 2", '"a\\u001bb\\nc" = 2'))
    assert '"/srv/\\u001b[2J"' in found
    assert r"drbd.shopdata.a\u001bb\u000ac: unknown key" in found
    assert "\033" not in found
