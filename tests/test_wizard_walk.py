# SPDX-License-Identifier: GPL-2.0-or-later
"""Going through the wizard: on and back, on another console, after a restart."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from appliance.firstboot import state as states
from appliance.firstboot.facts import ALIAS, Disk, lasting_names, read_disks, size_in_words
from appliance.firstboot.given import Given
from appliance.firstboot.network import LinkSettings, merge, network_file
from appliance.firstboot.session import Settings
from appliance.firstboot.state import State
from appliance.firstboot.wizard import UNDONE, Wizard
from tests.wizard_machine import FACTS, GOOD, ToyMachine

CREATING = [
    *("keyboard", "role", "name", "link.enp0s2", "link.enp0s3", "link.enp0s4", "trial"),
    *("disk", "time", "admin", "cluster", "fencing", "service", "gather", "summary"),
]


def walked(machine: ToyMachine, until: str) -> Wizard:
    wizard = Wizard(machine, State(), lambda _: None)
    while wizard.page.key != until:
        assert wizard.answer(GOOD[wizard.page.key]) == {}
    return wizard


def test_the_pages_of_the_machine_that_creates() -> None:
    assert [page.key for page in walked(ToyMachine(), "gather").pages] == CREATING


def test_who_joins_is_asked_neither_for_the_service_nor_for_others() -> None:
    join = {"action": "join", "host": "10.9.1.12", "code": "K7QX-3M9T"}
    keys = [page.key for page in Wizard(ToyMachine(), State({**GOOD, "cluster": join}), lambda _: None).pages]
    assert keys[-3:] == ["cluster", "fencing", "summary"]


def test_a_witness_is_asked_for_no_disk_and_can_only_join() -> None:
    wizard = Wizard(ToyMachine(), State({**GOOD, "role": {"role": "witness"}}), lambda _: None)
    keys = [page.key for page in wizard.pages]
    assert "disk" not in keys
    assert keys[-2:] == ["cluster", "summary"]
    wizard.go_to("cluster", "")
    assert wizard.answer({"action": "create", "name": "x"}) == {"action": 'found "create", expected join'}


@settings(max_examples=40)
@for_all(st.lists(st.booleans(), max_size=40))
def test_back_and_forth_loses_nothing(moves: list[bool]) -> None:
    """Whatever way somebody takes, in the end all answers are what they were typed as."""
    machine = ToyMachine()
    wizard = Wizard(machine, State(), lambda _: None)
    for forward in moves:
        before = {key: dict(page) for key, page in wizard.state.values.items()}
        if forward and wizard.page.key in GOOD:
            assert wizard.answer({**GOOD[wizard.page.key], **before.get(wizard.page.key, {})}) == {}
        else:
            wizard.back()
        assert all(wizard.state.values[key] == page for key, page in before.items())
    while wizard.page.key != "gather":
        wizard.answer({**GOOD[wizard.page.key], **wizard.state.values.get(wizard.page.key, {})})
    for key, page in GOOD.items():
        assert page.items() <= wizard.state.values[key].items()


def test_what_is_wrong_is_kept_too_when_going_back() -> None:
    wizard = walked(ToyMachine(), "link.enp0s2")
    wizard.back({"address4": "10.9.1"})
    wizard.answer(GOOD["name"])
    assert wizard.values["address4"] == "10.9.1"


def test_every_page_is_saved_before_the_next_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "setup.json"
    wizard = Wizard(ToyMachine(), states.load(path), lambda state: states.save(state, path))
    while wizard.page.key != "gather":
        wizard.answer(GOOD[wizard.page.key])
        assert states.load(path) == wizard.state
        assert path.stat().st_mode & 0o777 == 0o600
    elsewhere = Wizard(ToyMachine(), states.load(path), lambda _: None)
    assert elsewhere.page.key == "gather"
    assert elsewhere.given.heartbeats == (ip_interface("10.9.1.11/24"), ip_interface("fd00:9:2::11/64"))


def test_a_file_that_is_torn_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    for text in ("", "{", "[]", '{"values": {"a": 1}, "page": "", "notice": ""}'):
        path.write_text(text)
        assert states.load(path) == State()


def test_new_settings_of_the_cards_are_tried_and_undone() -> None:
    machine = ToyMachine()
    wizard = walked(machine, "trial")
    done = machine.done[-1]
    assert isinstance(done, tuple)
    kind, settings = done
    assert kind == "network"
    assert [one.interface for one in settings] == [link.mac for link in FACTS.links]
    wizard.undo_trial()
    assert machine.done[-1] == "network restored"
    assert (wizard.page.key, wizard.state.notice) == ("link.enp0s2", UNDONE)
    assert wizard.values["address4"] == "10.9.1.11/24"


def test_who_says_undo_comes_back_to_the_cards() -> None:
    machine = ToyMachine()
    wizard = walked(machine, "trial")
    assert wizard.answer({"keep": "undo"}) == {}
    assert (wizard.page.key, machine.done[-1]) == ("link.enp0s2", "network restored")


def test_going_back_from_the_question_undoes_the_settings_and_skips_it_later() -> None:
    machine = ToyMachine()
    wizard = walked(machine, "trial")
    wizard.back()
    assert (wizard.page.key, machine.done[-1]) == ("link.enp0s4", "network restored")
    later = walked(ToyMachine(), "disk")
    later.back()
    assert later.page.key == "link.enp0s4"


def test_a_restart_undoes_what_was_not_kept_and_sets_up_again_what_was() -> None:
    machine = ToyMachine()
    wizard = Wizard(machine, walked(ToyMachine(), "trial").state, lambda _: None)
    assert (wizard.page.key, wizard.state.notice, machine.done) == ("link.enp0s2", UNDONE, ["network restored"])
    later = ToyMachine()
    Wizard(later, walked(ToyMachine(), "disk").state, lambda _: None)
    assert [entry[0] for entry in later.done if isinstance(entry, tuple)] == ["network"]


def test_a_disk_that_was_plugged_in_meanwhile_is_offered() -> None:
    machine = ToyMachine(known=replace(FACTS, disks=FACTS.disks[:1]))
    wizard = walked(machine, "trial")
    machine.known = FACTS
    assert wizard.answer({}) == {}
    assert wizard.values["disk"] == FACTS.disks[1].path


def test_a_card_is_set_up_as_it_was_answered() -> None:
    first, second, third = Given(FACTS, GOOD).networks
    assert network_file(first) == (
        "[Match]\nMACAddress=52:54:00:09:01:0b\n\n[Network]\nAddress=10.9.1.11/24\nGateway=10.9.1.1\nDNS=10.9.1.1\n"
        "LinkLocalAddressing=ipv6\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n"
        "KeepConfiguration=static\n"
    )
    assert second.addresses == (ip_interface("fd00:9:2::11/64"),)
    assert "DHCP=ipv4\n" in network_file(third)


def test_what_two_places_say_of_a_card_goes_into_one_file() -> None:
    one = LinkSettings("a", (ip_interface("10.9.1.11/24"),))
    more = LinkSettings("a", (ip_interface("fd00::1/64"),), ra=True, gateways=(ip_address("10.9.1.1"),))
    other = LinkSettings("b", dhcp=True)
    both = LinkSettings("a", one.addresses + more.addresses, ra=True, gateways=more.gateways)
    assert merge((one, other, more)) == (both, other)


LSBLK = """{"blockdevices": [
 {"name":"vda","type":"disk","size":2147483648,"model":null,"serial":"root","fstype":"ext4","label":null,
  "pttype":null,"mountpoints":["/"],"ro":false},
 {"name":"vdb","type":"disk","size":536870912,"model":null,"serial":"data","fstype":null,"label":null,
  "pttype":null,"mountpoints":[null],"ro":false},
 {"name":"sda","type":"disk","size":4000787030016,"model":"WDC WD40EFRX ","serial":"WX12","fstype":null,
  "label":null,"pttype":"gpt","mountpoints":[null],"ro":false,"children":[
   {"name":"sda1","type":"part","size":1,"fstype":"ntfs","mountpoints":[null],"ro":false},
   {"name":"sda2","type":"part","size":1,"fstype":"swap","mountpoints":["[SWAP]"],"ro":false}]},
 {"name":"sdb","type":"disk","size":1000204886016,"model":"ST1000","serial":"Z9","fstype":"LVM2_member",
  "label":null,"pttype":null,"mountpoints":[null],"ro":false,"children":[
   {"name":"vg-data","type":"lvm","size":1,"fstype":"xfs","mountpoints":[null],"ro":false}]},
 {"name":"sdc","type":"disk","size":0,"model":"Card reader","serial":null,"fstype":null,"label":null,
  "pttype":null,"mountpoints":[null],"ro":false},
 {"name":"sr0","type":"rom","size":1,"fstype":"iso9660","mountpoints":[null],"ro":false},
 {"name":"loop0","type":"disk","size":4096,"fstype":null,"mountpoints":[null],"ro":false}]}"""


def test_disks_are_read_with_what_is_on_them_and_what_uses_them() -> None:
    names = lasting_names(
        {
            "/dev/disk/by-id/virtio-data": "vdb",
            "/dev/disk/by-path/pci-0000:00:09.0": "vdb",
            "/dev/disk/by-id/wwn-0x50014ee2": "sda",
            "/dev/disk/by-id/ata-WDC_WD40_WX12": "sda",
        }
    )
    assert read_disks(LSBLK, names) == (
        Disk("/dev/vda", "", "root", 2 << 30, "ext4", "mounted on /"),
        Disk("/dev/disk/by-id/virtio-data", "", "data", 512 << 20),
        Disk(
            "/dev/disk/by-id/ata-WDC_WD40_WX12",
            "WDC WD40EFRX",
            "WX12",
            4000787030016,
            "2 partitions (ntfs, swap)",
            "swap",
        ),
        Disk("/dev/sdb", "ST1000", "Z9", 1000204886016, "LVM2_member", "part of vg-data"),
    )


def test_the_name_that_first_boot_gives_the_data_disk_is_none_to_choose_it_by() -> None:
    """After a power cut the disk is still known by the name that was chosen."""
    long = "/dev/disk/by-id/ata-WDC_WD40EFRX-68N32N0_WD-WCC7K0000000"
    assert lasting_names({ALIAS: "sda", long: "sda"}) == {"sda": long}
    assert lasting_names({ALIAS: "vdb", "/dev/disk/by-path/pci-0000:00:09.0": "vdb"}) == {
        "vdb": "/dev/disk/by-path/pci-0000:00:09.0"
    }
    assert lasting_names({ALIAS: "vdb"}) == {}


def test_a_disk_is_not_chosen_by_a_name_that_goes_when_it_is_erased() -> None:
    volume = "/dev/disk/by-id/lvm-pv-uuid-aBcDeF-0123-4567-89ab-cdef-0123-ghIjKl"
    assert lasting_names({volume: "sda", "/dev/disk/by-id/wwn-0x50014ee2": "sda"}) == {
        "sda": "/dev/disk/by-id/wwn-0x50014ee2"
    }


def test_sizes_are_told_in_words() -> None:
    sizes = (512, 1536, 512 << 20, 4000787030016, 5 << 40)
    assert [size_in_words(size) for size in sizes] == ["512 B", "1.5 KiB", "512 MiB", "3.6 TiB", "5 TiB"]


def test_a_machine_that_is_set_up_is_asked_for_what_is_its_own() -> None:
    session = Settings(ToyMachine())
    assert [page.key for page in session.wizard.pages] == ["keyboard", "time", "admin", "summary"]
    assert session.wizard.answer({"layout": "uk"}) == {}
    assert session.wizard.answer({}) == {}
    assert session.wizard.answer({"password": "a", "again": "a"})["password"].startswith("found 1 characters")
    assert session.wizard.answer({"password": "", "again": "", "keys": ""}) == {}
    assert session.wizard.page.kind == "summary"
    assert ("Keyboard", "uk") in session.summary()
