# SPDX-License-Identifier: GPL-2.0-or-later
"""The layouts of corosync's structures, and what happens without corosync."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.errors import InputError
from appliance.membership import cpg, library, quorum


def test_structures_are_laid_out_as_in_cpg_h() -> None:
    assert ctypes.sizeof(cpg._Name) == 132
    assert ctypes.sizeof(cpg._Address) == 12
    assert ctypes.sizeof(library.RingId) == 16
    assert library.RingId.seq.offset == 8
    model = cpg._ModelV1
    assert [getattr(model, f).offset for f in ("model", "deliver", "confchg", "totem_confchg", "flags")] == [
        *(0, 8, 16, 24, 32)
    ]
    assert quorum._ModelV1.nodelist_notify.offset == 16


def test_without_corosync_the_membership_is_lost() -> None:
    with pytest.raises(library.MembershipLost):
        cpg.Cpg("pairkeep-test", lambda *_: None, lambda *_: None)
    with pytest.raises(library.MembershipLost):
        quorum.Quorum(lambda *_: None)


def test_a_group_name_has_to_fit() -> None:
    try:
        library.library("libcpg.so.4")
    except library.MembershipLost:
        pytest.skip("libcpg is not installed on this host")
    with pytest.raises(InputError, match="longer than 127 bytes"):
        cpg.Cpg("x" * 128, lambda *_: None, lambda *_: None)


def test_a_library_that_is_not_installed_is_named() -> None:
    with pytest.raises(library.MembershipLost, match=r"libnothing\.so\.9 is not installed"):
        library.library("libnothing.so.9")


def test_a_connection_that_comes_to_nothing_is_not_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[object] = []

    def initialize(_handle: object, _model: object, _functions: object, kind: Any, _context: object) -> int:
        kind._obj.value = quorum.QUORUM_SET
        return library.OK

    daemon = SimpleNamespace(
        quorum_model_initialize=initialize,
        quorum_trackstart=lambda _handle, _flags: library.TRY_AGAIN,
        quorum_finalize=ended.append,
    )
    words = SimpleNamespace(cs_strerror=lambda _code: b"CS_ERR_TRY_AGAIN")
    monkeypatch.setattr(library, "library", lambda name: daemon if name == "libquorum.so.5" else words)
    with pytest.raises(library.Busy):
        quorum.Quorum(lambda *_: None)
    assert len(ended) == 1
