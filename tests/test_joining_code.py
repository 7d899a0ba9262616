# SPDX-License-Identifier: GPL-2.0-or-later
"""The code by which machines join: how it may be typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InputError
from appliance.joining import normalised
from appliance.joining.code import ALPHABET, new_code


@given(st.text(ALPHABET, min_size=8, max_size=8))
def test_a_code_may_be_typed_in_any_way(letters: str) -> None:
    code = f"{letters[:4]}-{letters[4:]}"
    assert set(new_code()) <= set(ALPHABET) | {"-"}
    assert normalised(f" {code.replace('-', '').lower()} ") == code
    assert normalised("-".join(code.replace("-", ""))) == code


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("K7QX-3M9", "the code: found 7 letters and digits, expected 8, like K7QX-3M9T"),
        ("", "the code: found 0 letters and digits, expected 8, like K7QX-3M9T"),
        ("K7QX-3MO1", "the code: found 1 O, which is in no code; expected one like K7QX-3M9T"),
    ],
)
def test_what_cannot_be_a_code_costs_no_try(typed: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        normalised(typed)
    assert refused.value.message == message
