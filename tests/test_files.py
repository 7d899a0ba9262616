# SPDX-License-Identifier: GPL-2.0-or-later
"""A file is replaced wholly or not at all, and what could not be finished does not lie about."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from appliance.cli.parsers import save
from appliance.errors import InputError, PairkeepError
from appliance.files import replace_file


def _full(_handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alpha.backup"
    file.write_bytes(b"old")
    monkeypatch.setattr("appliance.files.os.fsync", _full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"the cluster's key")
    assert [path.name for path in tmp_path.iterdir()] == ["alpha.backup"]
    assert file.read_bytes() == b"old"


def test_a_folder_is_no_place_for_secrets_to_be_left_beside(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(folder, b"the cluster's key")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_command_says_which_file_it_could_not_write_and_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} is a folder"):
        save(tmp_path, b"")
    (tmp_path / "file").touch()
    with pytest.raises(PairkeepError, match="file/x could not be written: "):
        save(tmp_path / "file" / "x", b"")
    save(tmp_path / "new", b"secret")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
