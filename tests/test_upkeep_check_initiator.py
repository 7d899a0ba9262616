# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node says beforehand of a disk of an iSCSI target that it could not log in to."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.upkeep import check
from appliance.upkeep.check import problems

TEXT = (Path(__file__).parent / "config/good/shared-disk.toml").read_text()


def test_a_disk_that_is_there_only_while_the_group_runs_need_not_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(check, "_rules", lambda _text: iter(()))  # nft is asked on machines
    monkeypatch.setattr(check, "PATH", str(tmp_path))
    monkeypatch.setattr(check, "_is_loaded", lambda _unit: True)  # systemd too
    found = problems(TEXT.replace("/etc/pairkeep", str(tmp_path)), "alpha")
    assert "there is no iscsiadm for initiator.shopdata" in found
    assert f"initiator.shopdata: {tmp_path}/store.password: No such file or directory" in found
    assert not [line for line in found if "initiator:shopdata" in line]
    for name in ("store.password", "store-itself.password"):
        (tmp_path / name).write_text("tell-me\n")
        (tmp_path / name).chmod(0o600)
    for name in ("iscsiadm", "mkfs.ext4"):
        (tmp_path / name).touch(mode=0o755)
    found = problems(TEXT.replace("/etc/pairkeep", str(tmp_path)), "alpha")
    assert not [line for line in found if "initiator" in line]
