# SPDX-License-Identifier: GPL-2.0-or-later
"""A few cases of the table of faults (appliance/lab/faults.py); all of them: pairkeep lab faults."""

from __future__ import annotations

import pytest

from appliance.lab import suite
from appliance.lab.faults import cases
from appliance.lab.trial import Trial

# One of each kind that no scenario of test_pair.py has: what is half broken, and not just gone.
REPRESENTATIVE = (
    pytest.param("deaf-active@writes", marks=pytest.mark.long),
    pytest.param("workers-apart@writes", marks=pytest.mark.long),
    pytest.param("disk-hangs-active@writes", marks=pytest.mark.long),
    "no-service-network@writes",
    "disk-errors-standby@writes",
    pytest.param("clock-ahead@writes", marks=pytest.mark.long),
    "database-stopped@writes",
    pytest.param("no-replication@resync", marks=pytest.mark.long),
)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_fault_of_the_table(pair: Trial, name: str) -> None:
    (case,) = cases([name])
    result = suite.play(pair, case)
    assert result.wrong == "", result
