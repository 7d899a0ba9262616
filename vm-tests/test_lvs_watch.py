# SPDX-License-Identifier: GPL-2.0-or-later
"""What a director's supervisor does with its virtual services: tells of them, and keeps others' hands off."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.lab import director
from appliance.lab.director import WEB, mood, spread
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine

# Looks are 10 s apart, and what is found is looked at again; machines without KVM take their time as well.
PUT_RIGHT_S = 60.0
# All but number 21.
OTHERS = {"22", "23", "24"}
SERVICE, SERVER = ("-t", f"{WEB}:81"), ("-r", "10.9.1.21:81")


def status(machine: Machine) -> dict[str, dict[str, Any]]:
    """Its virtual services by name."""
    # It ends with 1 when something is amiss, which may be just what is looked for.
    shown = machine.exec(["pairkeep", "lvs", "status", "--json"], check=False, timeout_s=60)
    assert shown.stdout, shown.stderr
    return {service["name"]: service for service in json.loads(shown.stdout)["services"]}


def texts(machine: Machine) -> list[str]:
    shown = machine.exec(["pairkeep", "events", "--json", "-n", "200"], timeout_s=60).stdout
    return [json.loads(line)["text"] for line in shown.splitlines()]


def saved(machine: Machine) -> set[str]:
    return set(machine.exec(["ipvsadm", "-S", "-n"]).stdout.splitlines())


@pytest.mark.long
def test_what_somebody_does_to_the_table_is_told_and_put_right(directors: Lab) -> None:
    alpha = directors["alpha"]
    before = saved(alpha)
    alpha.exec(["ipvsadm", "-d", *SERVICE, *SERVER])
    alpha.exec(["ipvsadm", "-E", *SERVICE, "-s", "sh"])
    alpha.exec(["ipvsadm", "-e", *SERVICE, "-r", "10.9.1.22:81", "-g", "-w", "7"])
    alpha.exec(["ipvsadm", "-a", *SERVICE, "-r", "10.9.1.99:81", "-g"])
    assert saved(alpha) != before
    directors.wait_for("all is as it was", lambda: saved(alpha) == before, timeout_s=PUT_RIGHT_S)
    said = texts(alpha)
    for text in (
        "dr: 10.9.1.21:81 is missing; put right",
        "dr: the service was changed: scheduler sh instead of rr; put right",
        "dr: 10.9.1.22:81 was changed: weight 7 instead of 1; put right",
        "dr: 10.9.1.99:81 is a server that nobody configured; put right",
    ):
        assert text in said
    # What keepalived takes out itself stays out, with the reason.
    mood(directors, 21, "500")
    directors.wait_for("21 is out", lambda: spread(directors, WEB, 81, 6).keys() == OTHERS, timeout_s=30)
    found = status(alpha)["dr"]
    assert [server["state"] for server in found["servers"]] == ["down", "up", "up", "up"]
    assert found["servers"][0]["why"]
    assert found["drift"] == []
    assert any(text.startswith("dr: server ") and " is down" in text for text in texts(alpha))


@pytest.mark.long
def test_a_drained_server_keeps_its_connections_and_gets_no_new_ones_on_either_director(directors: Lab) -> None:
    names = [server["name"] for server in status(directors["alpha"])["dr"]["servers"]]
    downloads = director.Downloads(directors, [f"http://{WEB}:81/slow/60" for _ in range(8)])
    directors["alpha"].exec(["pairkeep", "real", "drain", names[0], "--virtual", "dr"], timeout_s=60)
    for name in director.DIRECTORS:
        directors.wait_for(
            f"it is drained on {name}",
            lambda machine=directors[name]: status(machine)["dr"]["servers"][0]["weight"] == 0,
            timeout_s=PUT_RIGHT_S,
        )
    assert status(directors["alpha"])["dr"]["servers"][0]["state"] == "drained"
    assert spread(directors, WEB, 81, 9).keys() == OTHERS
    assert downloads.finish() == 0
    directors["beta"].exec(["pairkeep", "real", "enable", "10.9.1.21"], timeout_s=60)
    directors.wait_for("it is back", lambda: "21" in spread(directors, WEB, 81, 4), timeout_s=PUT_RIGHT_S)


@pytest.mark.long
def test_drained_servers_keep_their_connections_when_the_sorry_server_answers(directors: Lab) -> None:
    done = director.apply(directors, director.CLUSTER_TOML + director.SERVICES + director.MORE)
    assert done.returncode == 0, done.stdout + done.stderr
    directors.wait_for("both serve", lambda: spread(directors, WEB, 443, 4).keys() == {"21", "22"}, timeout_s=60)
    downloads = director.Downloads(directors, [f"http://{WEB}:443/slow/90" for _ in range(8)])
    for server in ("10.9.1.21", "10.9.1.22"):
        directors["alpha"].exec(["pairkeep", "real", "drain", server, "--virtual", "few"], timeout_s=60)
    directors.wait_for(
        "the sorry server answers", lambda: spread(directors, WEB, 443, 2).keys() == {"24"}, timeout_s=60
    )
    assert downloads.running() == 8
    assert downloads.finish() == 0
    for server in ("10.9.1.21", "10.9.1.22"):
        directors["alpha"].exec(["pairkeep", "real", "enable", server, "--virtual", "few"], timeout_s=60)
    directors.wait_for("both serve", lambda: spread(directors, WEB, 443, 4).keys() == {"21", "22"}, timeout_s=30)
