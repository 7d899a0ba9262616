# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets and LUNs of cluster.toml: what is derived, what a change does to initiators, which passwords will do."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.iscsi import Portal, portal
from appliance.config.load import load, parse
from appliance.config.target import Acl, wwn_of
from appliance.drivers import chap
from appliance.drivers.base import DriverError
from appliance.render import render_all
from appliance.upkeep import check
from appliance.upkeep.check import problems
from appliance.upkeep.difference import Difference, difference

FILE = Path(__file__).parent / "config/good/san.toml"
TEXT = FILE.read_text()
WEB, ESX = "iqn.2026-01.org.example:web1", "iqn.1998-01.com.vmware:esx-4711"


def changed(*pairs: tuple[str, str]) -> Difference:
    text = TEXT
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return difference(parse(TEXT), parse(text))


def test_every_key_arrives() -> None:
    store, more = load(FILE).targets
    assert (store.iqn, store.state, store.queue_depth) == ("iqn.2026-01.org.example:store", "/srv/store/state", 128)
    assert store.portals == (
        Portal(ip_address("10.9.1.100")),
        Portal(ip_address("10.9.1.100"), 3261),
        Portal(ip_address("fd00:9::100")),
    )
    assert store.acls == (
        Acl(WEB, ("big", "small")),
        Acl(ESX, ("big",), "esx", "/etc/pairkeep/esx.chap", "store", "/etc/pairkeep/store.chap"),
    )
    big, small = store.luns
    assert (big.number, big.drbd, big.serial, big.thin) == (0, "disk", "beaf11-0123456789abcdef", True)
    assert (big.vendor, big.product, big.revision) == ("IET", "VIRTUAL-DISK", "0001")
    assert (small.file, small.size_mib, small.thin) == ("/srv/store/small.img", 64, False)
    assert [group.targets for group in load(FILE).groups] == [("store",), ("more",)]
    assert more.portals == (Portal(ip_address("10.9.1.101")),)


def test_what_nobody_chose_is_made_from_names_and_stays_the_same() -> None:
    """The expected values are written out: were they to change, initiators would see other disks."""
    store, more = load(FILE).targets
    assert more.iqn == "iqn.2026-11.org.pairkeep:store.more"
    assert store.luns[1].serial == "6b0c1926-522b-52fd-b69c-04c8c3b27fc9"
    assert store.luns[1].wwn == "60014056b0c1926522b52fdb69c04c8c"
    assert (store.luns[1].vendor, store.luns[1].product, store.luns[1].revision) == ("LIO-ORG", "small", "4.0")
    assert (store.port_id, more.port_id) == (63121, 47619)


@given(st.text("0123456789abcdefABCDEF-gxyz", min_size=10, max_size=60))
def test_a_wwn_has_32_digits_whatever_the_serial(serial: str) -> None:
    wwn = wwn_of(serial)
    assert len(wwn) == 32
    assert int(wwn, 16)
    assert wwn_of(serial.upper()) == wwn


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_portal_is_read_as_it_is_written(address: object, port: int) -> None:
    written = Portal(ip_address(str(address)), port)
    assert portal(str(written)) == written


@pytest.mark.parametrize(
    "text", ["10.9.1.1:0", "fd00::1:3260]", "[10.9.1.1]:3260", "fd00::1]:3260", "store:3260", ""]
)
def test_what_is_no_portal(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        portal(text)


def test_portals_are_all_that_is_open_for_initiators() -> None:
    cluster = load(FILE)
    rules = render_all(cluster, "beta")[Path("/etc/nftables.conf")]
    for line in (
        "ip daddr 10.9.1.100 tcp dport 3260 accept",
        "ip daddr 10.9.1.100 tcp dport 3261 accept",
        "ip6 daddr fd00:9::100 tcp dport 3260 accept",
        "ip daddr 10.9.1.101 tcp dport 3260 accept",
    ):
        assert line in rules
    assert rules.count("dport 326") == 4
    assert "dport 326" not in render_all(cluster, "witness")[Path("/etc/nftables.conf")]


# Changes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("size_mib = 64", "size_mib = 96", "lun.small.size_mib: 64 -> 96"),
        ("thin = true", "thin = false", "lun.big.thin: true -> false"),
        (f'{{ initiator = "{WEB}" }},\n', "", f"target.store: initiator {WEB} is shut out"),
        (
            f'{{ initiator = "{WEB}" }},\n',
            f'{{ initiator = "{WEB}", luns = ["small"] }},\n',
            f"target.store: initiator {WEB}, LUNs: big, small -> small",
        ),
        ('user = "esx"', 'user = "other"', f"target.store: initiator {ESX}: its CHAP changes"),
        (
            ', "10.9.1.100:3261"',
            "",
            "target.store.portals: 10.9.1.100:3260, 10.9.1.100:3261, [fd00:9::100]:3260 -> "
            "10.9.1.100:3260, [fd00:9::100]:3260",
        ),
        (
            "[lun.small]",
            '[lun.new]\ntarget = "store"\nnumber = 9\nfile = "/srv/store/new"\nsize_mib = 1\n\n[lun.small]',
            "lun.new is new",
        ),
    ],
)
def test_what_sessions_live_through(old: str, new: str, line: str) -> None:
    found = changed((old, new))
    assert line in found.lines
    assert found.stops == found.refused == ()


def test_a_lun_that_goes_disturbs_no_other() -> None:
    lun = TEXT[TEXT.index("[lun.small]") : TEXT.index("[[group]]")]
    found = changed((lun, ""))
    assert "lun.small goes" in found.lines
    assert found.stops == found.refused == ()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("queue_depth = 128", "queue_depth = 64", "target.store.queue_depth: 128 -> 64"),
        ("/srv/store/state", "/srv/store/other", "target.store.state: /srv/store/state -> /srv/store/other"),
    ],
)
def test_what_stops_the_group(old: str, new: str, line: str) -> None:
    found = changed((old, new))
    assert line in found.lines
    assert (found.stops, found.refused) == (("store",), ())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "beaf11-0123456789abcdef",
            "beaf11-0123456789abcdee",
            "lun.big.serial cannot change from beaf11-0123456789abcdef to beaf11-0123456789abcdee under initiators "
            "that may be using the LUN: by that they know it for the same disk; apply without the LUN first, once "
            "no initiator uses it, and then with it",
        ),
        (
            "size_mib = 64",
            "size_mib = 63",
            "lun.small.size_mib cannot change from 64 to 63: a LUN can only grow, or what initiators have stored "
            "at its end is lost",
        ),
        (
            "org.example:store",
            "org.example:shop",
            "target.store.iqn cannot change while the cluster runs: initiators are logged in to it by that name; "
            "to have another, apply a target of another name",
        ),
    ],
)
def test_what_is_refused_with_this_text(old: str, new: str, why: str) -> None:
    assert changed((old, new)).refused == (why,)


def test_names_of_chap_users_and_files_are_told_nobody() -> None:
    found = changed(("/etc/pairkeep/esx.chap", "/etc/pairkeep/new.chap"), ('user = "esx"', 'user = "someone"'))
    assert not any("chap" in line or "someone" in line for line in found.lines)


# Passwords ------------------------------------------------------------------------------------------


def _file(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "one.chap"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_password_may_end_in_a_line(tmp_path: Path) -> None:
    assert chap.read(_file(tmp_path, b"twelve-chars\n")) == "twelve-chars"
    assert chap.read(_file(tmp_path, b"sixteen-charactr")) == "sixteen-charactr"
    # A target of somebody else's may want any other.
    assert chap.read(_file(tmp_path, b"short"), 1, 255) == "short"


@pytest.mark.parametrize(
    ("data", "mode", "why"),
    [
        (b"eleven-char\n", 0o600, "found a CHAP password of 11 characters, expected 12 to 16"),
        (b"seventeen-charact", 0o600, "found a CHAP password of 17 characters, expected 12 to 16"),
        (b"", 0o600, "found a CHAP password of 0 characters, expected 12 to 16"),
        (b"with a blank in", 0o600, "found a CHAP password with blanks or other than ASCII, expected neither"),
        (
            "ümlaut-in-here".encode(),
            0o600,
            "found a CHAP password with blanks or other than ASCII, expected neither",
        ),
        (b"twelve-chars", 0o640, "found mode 0640, expected 0600: a password is nobody else's business"),
    ],
)
def test_a_password_that_will_not_do(tmp_path: Path, data: bytes, mode: int, why: str) -> None:
    path = _file(tmp_path, data, mode)
    with pytest.raises(DriverError) as refusal:
        chap.read(path)
    assert refusal.value.message == f"{path}: {why}"
    assert data.strip().decode() not in str(refusal.value) or not data


def test_every_node_is_asked_for_its_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_rules", lambda _text: iter(()))  # nft is asked on machines
    short = _file(tmp_path, b"short")
    text = TEXT.replace("/etc/pairkeep/esx.chap", str(short)).replace("/etc/pairkeep/store.chap", "/nowhere")
    found = [problem for problem in problems(text, "alpha") if problem.startswith("target.")]
    assert found == [
        "target.store: /nowhere: No such file or directory",
        f"target.store: {short}: found a CHAP password of 5 characters, expected 12 to 16",
    ]
    assert not [problem for problem in problems(text, "witness") if problem.startswith("target.")]
