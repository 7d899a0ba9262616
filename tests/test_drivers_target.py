# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets as the kernel's tree has them, and the files of LUNs. What changes the tree needs a kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cli.target import entry, render
from appliance.config.load import load
from appliance.config.target import Lun
from appliance.drivers import target_tree
from appliance.drivers.base import DriverError
from appliance.drivers.target import _make_file, _make_readable

CLUSTER = load(Path(__file__).parent / "config/good/san.toml")
STORE = CLUSTER.targets[0]
# As a 6.12 kernel says it of an initiator that is logged in.
INFO = """\
InitiatorName: iqn.2026-01.org.example:web1
InitiatorAlias: web1
LIO Session ID: 3   ISID: 0x00 02 3d 00 00 00  TSIH: 3  SessionType: Normal
Session State: TARG_SESS_STATE_LOGGED_IN
---------------------[iSCSI Session Values]-----------------------
  CmdSN/WR  :  CmdSN/WC  :  ExpCmdSN  :  MaxCmdSN  :     ITT    :     TTT
 0x00000010   0x00000010   0x00000010   0x0000001f   0x00000000   0x00000001
----------------------[iSCSI Connections]-------------------------
CID: 0  Connection State: TARG_CONN_STATE_LOGGED_IN
   Address 10.9.1.21 TCP  StatSN: 0x5e33b5b7
"""


def _tree(root: Path) -> Path:
    """What the kernel has when STORE serves, with the folders and files that it puts beside what was made."""
    group = target_tree.folder(STORE.iqn, root)
    for lun in STORE.luns:
        plugin = "iblock_0" if lun.device else "fileio_1"
        backstore = root / "core" / plugin / lun.name
        (backstore / "attrib").mkdir(parents=True)
        (root / "core" / plugin / "hba_info").touch()
        place = group / "lun" / f"lun_{lun.number}"
        (place / "statistics").mkdir(parents=True)
        (place / "alua_tg_pt_gp").touch()
        (place / lun.name).symlink_to(backstore)
    numbers = {lun.name: lun.number for lun in STORE.luns}
    for acl in STORE.acls:
        for folder in ("attrib", "auth", "param", "fabric_statistics"):
            (group / "acls" / acl.initiator / folder).mkdir(parents=True)
        (group / "acls" / acl.initiator / "info").write_text("No active iSCSI Session for Initiator Endpoint")
        for name in acl.luns:
            mapped = group / "acls" / acl.initiator / f"lun_{numbers[name]}"
            (mapped / "statistics/scsi_auth_intr").mkdir(parents=True)
            (mapped / name).symlink_to(group / "lun" / f"lun_{numbers[name]}")
    for portal in STORE.portals:
        (group / "np" / str(portal)).mkdir(parents=True)
    (group / "enable").write_text("1\n")
    return group


def test_a_target_that_serves_is_what_is_wanted(tmp_path: Path) -> None:
    _tree(tmp_path)
    assert target_tree.found(STORE.iqn, tmp_path) == target_tree.wanted(STORE)
    assert set(target_tree.backstores(tmp_path)) == {"big", "small"}


def test_no_target_is_none_and_none_of_another_name(tmp_path: Path) -> None:
    assert target_tree.found(STORE.iqn, tmp_path) is None
    assert target_tree.backstores(tmp_path) == {}
    _tree(tmp_path)
    assert target_tree.found(STORE.iqn + "2", tmp_path) is None


@pytest.mark.parametrize(
    "what",
    [
        "enable",
        "lun/lun_1/small",
        "acls/iqn.2026-01.org.example:web1/lun_1",
        "acls/iqn.1998-01.com.vmware:esx-4711",
        "np/10.9.1.100:3261",
        "np",
    ],
)
def test_half_a_target_is_not_what_is_wanted(tmp_path: Path, what: str) -> None:
    path = _tree(tmp_path) / what
    path.unlink() if path.is_symlink() or path.is_file() else path.rename(tmp_path / "gone")
    found = target_tree.found(STORE.iqn, tmp_path)
    assert found is not None
    assert found != target_tree.wanted(STORE)


def test_what_nobody_asked_for_is_not_what_is_wanted(tmp_path: Path) -> None:
    (_tree(tmp_path) / "acls/iqn.2026-01.org.example:stranger").mkdir()
    assert target_tree.found(STORE.iqn, tmp_path) != target_tree.wanted(STORE)


def test_sessions_and_what_they_have_moved(tmp_path: Path) -> None:
    acl = _tree(tmp_path) / "acls/iqn.2026-01.org.example:web1"
    (acl / "info").write_text(INFO)
    for number, values in ((0, ("7", "2", "3")), (1, ("5", "1", "1"))):
        for name, value in zip(("num_cmds", "read_mbytes", "write_mbytes"), values, strict=True):
            (acl / f"lun_{number}/statistics/scsi_auth_intr" / name).write_text(value + "\n")
    (session,) = target_tree.sessions(STORE.iqn, tmp_path)
    assert session == target_tree.Session("iqn.2026-01.org.example:web1", "web1", ("10.9.1.21",), 12, 3, 4)


def test_what_a_person_sees_of_a_target(tmp_path: Path) -> None:
    before = "\n".join(render(entry(CLUSTER, STORE, tmp_path)))
    assert "It does not serve on this node" in before
    acl = _tree(tmp_path) / "acls/iqn.2026-01.org.example:web1"
    (acl / "info").write_text(INFO)
    text = "\n".join(render(entry(CLUSTER, STORE, tmp_path)))
    assert text.splitlines()[:2] == [
        "target store   iqn.2026-01.org.example:store",
        "  group store, 10.9.1.100:3260, 10.9.1.100:3261, [fd00:9::100]:3260",
    ]
    assert "  1    small            /srv/store/small.img (64 MiB)" in text
    assert "  iqn.1998-01.com.vmware:esx-4711   mutual CHAP; big\n       not logged in" in text
    assert "logged in from 10.9.1.21; 0 commands, 0 MiB read, 0 MiB written" in text
    # Neither who nor by which file.
    assert "chap" not in text
    assert '"esx"' not in json.dumps(entry(CLUSTER, STORE, tmp_path))


# Files of LUNs --------------------------------------------------------------------------------------


def _lun(size_mib: int, *, thin: bool = False) -> Lun:
    return Lun("one", "store", 0, "0123456789", "one", file="one", size_mib=size_mib, thin=thin)


@pytest.mark.parametrize("thin", [True, False])
def test_a_file_is_made_once_and_grows(tmp_path: Path, thin: bool) -> None:
    path, made = tmp_path / "disks/one.img", tmp_path / "made/one"
    _make_file(_lun(1, thin=thin), path, made)
    assert path.stat().st_size == 1 << 20
    assert path.stat().st_blocks * 512 == (0 if thin else 1 << 20)
    path.write_bytes(b"data".ljust(1 << 20))
    _make_file(_lun(2, thin=thin), path, made)
    assert path.stat().st_size == 2 << 20
    assert path.read_bytes().startswith(b"data")


def test_reservations_are_left_so_that_the_kernel_can_read_them(tmp_path: Path) -> None:
    kept = tmp_path / "aptpl_serial"
    _make_readable(kept)
    assert not kept.exists()
    kept.write_bytes(b"")
    _make_readable(kept)
    assert not kept.exists()
    kept.write_bytes(b"res_holder=1\nres_type=08\nres_scope=00\n")
    _make_readable(kept)
    assert kept.read_bytes() == b"res_holder=1\nres_type=8\nres_scope=00\n"
    kept.write_bytes(b"res_type=05\n")
    _make_readable(kept)
    assert kept.read_bytes() == b"res_type=05\n"


def test_a_backstore_may_be_called_like_a_folder_of_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "core/iblock_0/statistics").mkdir(parents=True)
    assert list(target_tree.backstores(tmp_path)) == ["statistics"]


def test_a_file_never_shrinks(tmp_path: Path) -> None:
    _make_file(_lun(2), tmp_path / "one", tmp_path / "made")
    with pytest.raises(DriverError, match="has 2 MiB, expected no more than 1"):
        _make_file(_lun(1), tmp_path / "one", tmp_path / "made")
    assert (tmp_path / "one").stat().st_size == 2 << 20


def test_an_empty_disk_never_takes_the_place_of_one_that_was_there(tmp_path: Path) -> None:
    _make_file(_lun(1), tmp_path / "one", tmp_path / "made")
    (tmp_path / "one").unlink()
    with pytest.raises(DriverError, match="is gone, and an empty disk must not take its place"):
        _make_file(_lun(1), tmp_path / "one", tmp_path / "made")
    assert not (tmp_path / "one").exists()
