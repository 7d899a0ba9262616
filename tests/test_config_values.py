# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that have the right type and would still mean something else to the programs that read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config.load import ConfigError, parse
from appliance.render import render_all

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
def test_a_word_of_drbd_is_a_name_like_any_other(word: str) -> None:
    cluster = parse(text("shop", ("shopdata", word), ("node.beta", f"node.{word}")))
    found = render_all(cluster, "alpha")[Path(f"/etc/drbd.d/{word}.res")]
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
