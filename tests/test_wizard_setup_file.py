# SPDX-License-Identifier: GPL-2.0-or-later
"""A file that answers the wizard's pages: checked far from the machine, and taken on it, in the same words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.config.load import ConfigError
from appliance.errors import InputError
from appliance.firstboot.facts import Disk, Facts
from appliance.firstboot.setup_file import feed, is_setup, parse_setup
from appliance.firstboot.state import State
from appliance.firstboot.wizard import Wizard
from tests.wizard_machine import BLANK, FACTS, KEY, ToyMachine

GOOD = f"""
[setup.keyboard]
layout = "de"
[setup.name]
name = "alpha"
[setup.link.enp0s2]
address4 = "10.9.1.11/24"
gateway = "10.9.1.1"
[setup.link.enp0s3]
address4 = "10.9.2.11/24"
[setup.disk]
disk = "{BLANK}"
[setup.time]
servers = ["10.9.1.1"]
[setup.admin]
keys = ["{KEY}", "{KEY} again"]
[setup.cluster]
action = "create"
name = "shop"
[setup.fencing]
how = "manual"
[setup.service]
address = "10.9.1.100/24"
database = "shop"
user = "shop"
password = "pairkeep-test"
"""


def test_it_answers_all_pages_up_to_the_one_that_waits_for_others() -> None:
    setup = parse_setup(GOOD)
    wizard = Wizard(ToyMachine(), State(), lambda _: None)
    feed(wizard, setup)
    assert wizard.page.key == "gather"
    assert [str(address) for address in wizard.given.heartbeats] == ["10.9.1.11/24", "10.9.2.11/24"]
    assert wizard.given.get("admin", "keys").count("ssh-ed25519") == 2


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name = "alpha"', 'name = "Alpha"', 'setup.name.name: found "Alpha", expected small letters'),
        ("[setup.keyboard]", "[setup.keybord]", "setup.keybord: there is no such page with these answers; did you"),
        ('layout = "de"', 'lay_out = "de"', "setup.keyboard.lay_out: unknown key; did you mean 'layout'?"),
        ('name = "alpha"', "name = 5", "setup.name.name: found 5, expected text, or an array of texts"),
        (
            "10.9.2.11/24",
            "10.9.1.12/24",
            "link.enp0s3.address4: found the network 10.9.1.0/24, expected one apart from 10.9.1.0/24 of enp0s2",
        ),
        (
            "10.9.1.100/24",
            "10.9.3.100/24",
            'found "10.9.3.100/24", expected an address in 10.9.1.0/24 or',
        ),
        ('how = "manual"', 'how = "hope"', 'setup.fencing.how: found "hope", expected witness or devices'),
        (KEY, "ssh-dss AAAA", "setup.admin.keys: found a DSA key, which sshd takes no more"),
        ("[setup.name]", "[other]\n[setup.name]", "other: unknown key, expected only [setup.…] tables"),
        ('[setup.name]\nname = "alpha"', '[setup]\nname = "alpha"', 'setup.name: found "alpha", expected a table'),
    ],
)
def test_a_mistake_is_found_far_from_the_machine(before: str, after: str, message: str) -> None:
    assert before in GOOD
    with pytest.raises(InputError) as refused:
        parse_setup(GOOD.replace(before, after, 1))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "pairkeep-test",
            "hunter\\2",
            "line 26, column 21: not valid TOML: Unescaped '\\' in a string; the",
        ),
        ('"pairkeep-test"', "41234", "service.password: found a value that is not shown, expected text"),
        (
            '"pairkeep-test"',
            '["41234", 5]',
            "service.password: found a value that is not shown, expected text",
        ),
        (
            "[setup.keyboard]",
            '[setup]\npassword = "41234"\n[setup.keyboard]',
            "setup.password: found a value that",
        ),
        ("[setup.admin]", "[setup.admin]\nagain = 41234", "setup.admin.again: found a value that is not shown"),
        (
            'how = "manual"',
            'how = "devices"\naddress = "10.9.3.111"\nuser = "admin"\npassword = "41234é"',
            "setup.fencing.password: expected the user's password, in at most 128 printable ASCII char",
        ),
    ],
)
def test_no_secret_is_told_whatever_is_wrong_with_it(before: str, after: str, message: str) -> None:
    """The message is shown on every console, and stays in the journal."""
    assert before in GOOD
    with pytest.raises(InputError) as refused:
        parse_setup(GOOD.replace(before, after, 1))
    told = str(refused.value)
    assert message in told
    assert "hunter" not in told
    assert "41234" not in told


def test_what_only_the_machine_knows_stops_it_there() -> None:
    wizard = Wizard(ToyMachine(owners={"10.9.2.11": "52:54:00:aa:bb:cc"}), State(), lambda _: None)
    with pytest.raises(InputError) as refused:
        feed(wizard, parse_setup(GOOD))
    taken = 'found "10.9.2.11/24", which the machine with the card 52:54:00:aa:bb:cc has already'
    assert str(refused.value) == f"pairkeep.toml: setup.link.enp0s3.address4: {taken}"
    assert wizard.page.key == "link.enp0s3"
    assert wizard.values["address4"] == "10.9.2.11/24"


def test_a_card_that_the_machine_does_not_have_is_not_done_without() -> None:
    wizard = Wizard(ToyMachine(), State(), lambda _: None)
    with pytest.raises(InputError) as refused:
        feed(wizard, parse_setup(GOOD.replace("enp0s3", "enp9s3")))
    assert str(refused.value) == (
        "pairkeep.toml: setup.link.enp9s3: this machine has no such card, "
        "expected setup.link.enp0s2 or setup.link.enp0s3 or setup.link.enp0s4"
    )


def test_a_disk_in_use_is_refused_on_the_machine() -> None:
    wizard = Wizard(ToyMachine(), State(), lambda _: None)
    with pytest.raises(InputError, match=r"setup.disk.disk: found a disk that is in use \(mounted on /\)"):
        feed(wizard, parse_setup(GOOD.replace(BLANK, "/dev/disk/by-id/virtio-root")))


def test_the_command_says_what_kind_it_is_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairkeep.toml"
    path.write_text(GOOD)
    assert main(["answers", "check", str(path)]) == 0
    assert "no mistakes. It answers the wizard's pages: admin, cluster" in capsys.readouterr().out
    path.write_text(GOOD.replace("10.9.1.11/24", "10.9.1.11").replace('name = "alpha"', 'name = ""'))
    assert main(["answers", "check", str(path)]) == 2
    told = capsys.readouterr().err
    assert "setup.name.name: " in told
    assert "setup.link.enp0s2.address4: " in told
    assert main(["answers", "check", str(tmp_path / "none.toml")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_the_two_kinds_of_files_are_told_apart() -> None:
    assert is_setup(GOOD)
    assert not is_setup('node = "alpha"')
    assert not is_setup("node =")


USED = "/dev/disk/by-id/ata-USED"
OF_DRBD = replace(FACTS, disks=(FACTS.disks[0], Disk(USED, "", "", 8 << 30, "1 partition (drbd)")))


def test_a_name_in_a_file_erases_nothing_that_drbd_has_replicated() -> None:
    """The file may have stayed attached when a node got a new system disk."""
    setup = parse_setup(GOOD.replace(f'disk = "{BLANK}"', f'disk = "{USED}"\nwipe = "ata-USED"'))
    wizard = Wizard(ToyMachine(OF_DRBD), State(), lambda _: None)
    with pytest.raises(ConfigError) as refused:
        feed(wizard, setup)
    assert "setup.disk.wipe: DRBD has replicated ata-USED, so it may hold the newest" in refused.value.message
    assert (wizard.page.key, wizard.given.wipes) == ("disk", False)


@pytest.mark.parametrize("facts", [OF_DRBD, replace(FACTS, disks=(Disk(USED, "", "", 8 << 30, "ntfs"),))])
def test_a_file_can_ask_for_just_that(facts: Facts) -> None:
    setup = parse_setup(GOOD.replace(f'disk = "{BLANK}"', f'disk = "{USED}"\nwipe = "drbd"'))
    wizard = Wizard(ToyMachine(facts), State(), lambda _: None)
    feed(wizard, setup)
    assert (wizard.page.key, wizard.given.wipes) == ("gather", True)


def test_a_person_who_sees_what_is_on_a_disk_types_its_name() -> None:
    setup = parse_setup(GOOD)
    wizard = Wizard(ToyMachine(OF_DRBD), State(), lambda _: None)
    while wizard.page.key != "disk":
        assert wizard.answer(setup.get(wizard.page.key, {})) == {}
    assert "it holds 1 partition (drbd)" in wizard.answer({"disk": USED, "wipe": ""})["wipe"]
    assert wizard.answer({"disk": USED, "wipe": "ata-USED"}) == {}
