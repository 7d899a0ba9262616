# SPDX-License-Identifier: GPL-2.0-or-later
"""The status screen fits 80 columns and says what matters, whatever state the cluster is in."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.cli.main import main, parser
from appliance.cli.parsers import WIDTH
from appliance.cli.status import render


def _side(**changes: Any) -> dict[str, Any]:
    side = {"role": "Secondary", "disk": "UpToDate", "connection": "Connected", "suspended": "no"}
    return {**side, "sync_percent": None, "sync_left_s": None, "split_brain": False, **changes}


def _status(**changes: Any) -> dict[str, Any]:
    status = {
        "cluster": "shop",
        "node": "alpha",
        "quorate": True,
        "acts": True,
        "votes": {"present": 3, "total": 3},
        "maintenance": False,
        "nodes": [
            {"name": "alpha", "state": "online", "detail": "", "votes_only": False, "warnings": []},
            {
                "name": "beta",
                "state": "offline",
                "detail": "it has left the cluster and may still be running; its watchdog resets it soon",
                "votes_only": False,
                "warnings": [
                    "/srv/mysql is 97 % full",
                    "the fence devices of alpha do not work: " + "no route " * 20,
                ],
            },
        ],
        "groups": [
            {
                "name": "shop",
                "state": "stopped",
                "node": None,
                "target": None,
                "reason": "waiting for beta: it has left the cluster and may still be running",
                "nodes": {"beta": "it has left the cluster and may still be running; its watchdog resets it soon"},
                "resources": [
                    {"id": "service:mariadb.service", "state": "stopped", "fails": {"alpha": 2, "beta": 0}}
                ],
            }
        ],
        "drbd": [
            {
                "name": "shopdata",
                "current": ["alpha"],
                "established": True,
                "verify": {"text": "no difference found (41 s)"},
                "nodes": {
                    "alpha": _side(role="Primary", connection="SyncSource", sync_percent=43.2, sync_left_s=12),
                    "beta": _side(disk="Inconsistent", connection="SyncTarget", suspended="fencing"),
                },
            }
        ],
        "events": [{"at": 0, "text": "x" * 200}],
    }
    return {**status, **changes}


@pytest.mark.parametrize("maintenance", [False, True])
def test_no_line_is_longer_than_the_screen(maintenance: bool) -> None:
    status = _status(maintenance=maintenance, acts=False)
    status["groups"][0]["resources"][0]["fails"] = {"alpha": 12, "beta": 11}
    (disk,) = status["drbd"]
    disk["nodes"]["alpha"] = _side(connection="SyncSource", suspended="fencing", sync_percent=0.2, sync_left_s=5400)
    disk["current"] = []
    lines = list(render(status, colour=False))
    assert any("90 min left" in line for line in lines)
    assert max(len(line) for line in lines) <= WIDTH


def test_it_says_why_a_group_does_not_run_and_how_far_a_resync_is() -> None:
    text = "\n".join(render(_status(), colour=False))
    assert "why: waiting for beta" in text
    assert "failed 2x on alpha" in text
    assert "[####......] 43 %, 12 s left" in text
    assert "I/O frozen (fencing)" in text
    assert "newest data on alpha" in text


def test_colours_are_only_for_terminals() -> None:
    assert "\x1b" not in "\n".join(render(_status(), colour=False))
    assert "\x1b[31moffline" in "\n".join(render(_status(), colour=True))


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["status", "--help"])
    assert ended.value.code == 0
    assert "draw it again every second" in capsys.readouterr().out


def test_a_command_of_the_appliance_says_where_it_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        import dbus  # noqa: F401
    except ImportError:
        assert main(["why", "shop"]) == 2
        assert "runs inside an appliance" in capsys.readouterr().err


def test_what_a_node_without_quorum_has_on_record_may_be_old() -> None:
    assert "newest data on alpha (as this node last knew)" in "\n".join(
        render(_status(quorate=False), colour=False)
    )


def test_a_disk_that_nobody_has_any_more_is_not_one_that_nobody_has_yet() -> None:
    status = _status()
    status["drbd"][0]["current"] = []
    text = "\n".join(render(status, colour=False))
    assert "newest data on no node any more" in text
    assert "pairkeep recover force shopdata NODE" in text
    status["drbd"][0]["established"] = False
    assert "newest data on no node yet" in "\n".join(render(status, colour=False))


def test_what_speaks_against_where_a_group_is_to_run_is_no_reason_why_it_is_not_there() -> None:
    status = _status()
    status["groups"][0] |= {"state": "running", "node": "alpha", "target": "alpha"}
    status["groups"][0]["nodes"]["alpha"] = "mariadb has failed there too often"
    text = "\n".join(render(status, colour=False))
    assert "not on beta" in text
    assert "not on alpha" not in text


def test_quorum_that_nobody_can_act_by_yet_is_called_so() -> None:
    assert "it cannot act yet" in "\n".join(render(_status(acts=False), colour=False))
    assert "cannot act" not in "\n".join(render(_status(), colour=False))
