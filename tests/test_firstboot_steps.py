# SPDX-License-Identifier: GPL-2.0-or-later
"""What the steps of first boot write."""

from __future__ import annotations

from pathlib import Path

from appliance.firstboot.answers import Database
from appliance.firstboot.password import for_mariadb
from appliance.firstboot.steps import database_sql

PREPARE = Path(__file__).parents[1] / "overlays/database/usr/lib/pairkeep/mariadb-prepare"


def test_a_database_may_be_called_like_a_word_of_sql() -> None:
    told = database_sql(Database("order", "shop", "*AB"))
    assert "CREATE USER 'shop'@'%' IDENTIFIED BY PASSWORD '*AB';" in told
    assert "CREATE DATABASE `order`;" in told
    assert "GRANT ALL ON `order`.* TO 'shop'@'%';" in told


def test_a_database_s_password_is_kept_as_mariadb_does() -> None:
    # SELECT PASSWORD('password')
    assert for_mariadb("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


def test_what_mariadb_refuses_is_told() -> None:
    (line,) = [line for line in PREPARE.read_text().splitlines() if "--bootstrap" in line]
    assert "/dev/null" not in line
