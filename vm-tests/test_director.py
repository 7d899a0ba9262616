# SPDX-License-Identifier: GPL-2.0-or-later
"""Load balancing for real: two directors, and real servers as namespaces of a third machine."""

from __future__ import annotations

import time

import pytest

from appliance.lab import director
from appliance.lab.director import MAIL, NUMBERS, WEB, Downloads, fetch, holders, mood, spread
from appliance.lab.lab import Lab
from appliance.lab.machine import Machine

ALL = {str(number) for number in NUMBERS}
# VRRP misses three adverts, one a second: 3.6 s. Whatever else could take over, such as a cluster that waits for a
# watchdog, takes longer than this.
TAKEN_OVER_S = 12.0
# What a machine without KVM, on a busy host, may take longer than the protocol says.
SLACK_S = 2.0
# A check's interval (director.virtual), a slow answer, and what keepalived and the client add.
NOTICED_S = 1.0 + 4.0 + SLACK_S
# A boot without KVM, until VRRP and the delay after it, and a while after that.
RETURN_S = 360


@pytest.mark.long
def test_each_way_of_forwarding_reaches_every_server_in_turn(directors: Lab) -> None:
    for port in (80, 81, 82, 83, 84):
        assert spread(directors, WEB, port, 8) == dict.fromkeys(ALL, 2), f"port {port}"
    # Both directors work: this address is the other one's.
    assert spread(directors, MAIL, 80, 8) == dict.fromkeys(ALL, 2)


@pytest.mark.long
def test_an_active_director_without_power_is_replaced_and_no_connection_ends(directors: Lab) -> None:
    downloads = Downloads(directors, [f"http://{WEB}:{port}/slow/20" for port in (80, 81) for _ in range(10)])
    directors.wait_for("the other one knows of them", lambda: known(directors["beta"]) >= 20, timeout_s=15)
    directors["alpha"].power_off()
    lost = time.monotonic()
    directors.wait_for(
        "new connections work", lambda: fetch(directors, f"http://{WEB}:81/", timeout_s=0.3), timeout_s=60, poll_s=0
    )
    assert time.monotonic() - lost < TAKEN_OVER_S
    assert downloads.finish() == 0


@pytest.mark.long
def test_the_lost_director_returns_and_no_connection_ends(directors: Lab) -> None:
    downloads = Downloads(
        directors,
        [f"http://{WEB}:{port}/slow/{RETURN_S}" for port in (80, 81) for _ in range(10)],
        most_s=2 * RETURN_S,
    )
    directors.wait_for("the other one knows of them", lambda: known(directors["beta"]) >= 20, timeout_s=15)
    directors["alpha"].power_off()
    directors.wait_for("the other one has it", lambda: holders(directors, WEB) == ["beta"], timeout_s=60)
    directors["alpha"].power_on()
    # It boots, hears of the connections, and takes its addresses back.
    directors.wait_for(
        "it has its address again", lambda: holders(directors, WEB) == ["alpha"], timeout_s=RETURN_S - 30
    )
    # Otherwise none of them was there to be cut.
    assert downloads.running() == 20
    assert downloads.finish() == 0


@pytest.mark.long
def test_a_server_that_answers_500_gets_nothing_and_is_taken_back(directors: Lab) -> None:
    mood(directors, 21, "500")
    directors.wait_for("21 is out", lambda: "21" not in spread(directors, WEB, 81, 4), timeout_s=NOTICED_S + 10)
    assert spread(directors, WEB, 81, 6) == {"22": 2, "23": 2, "24": 2}
    mood(directors, 21, "ok")
    directors.wait_for("21 is back", lambda: "21" in spread(directors, WEB, 81, 4), timeout_s=NOTICED_S + 10)


@pytest.mark.long
def test_several_ports_are_one_service_and_a_sorry_server_answers_when_none_is_left(directors: Lab) -> None:
    applied(directors, director.CLUSTER_TOML + director.SERVICES + director.MORE)
    directors.wait_for(
        "it is in force", lambda: spread(directors, WEB, 443, 2).keys() == {"21", "22"}, timeout_s=60
    )
    # By mark and persistence a client comes to one server by both ports.
    assert len(spread(directors, MAIL, 81, 4) + spread(directors, MAIL, 443, 4)) == 1
    mood(directors, 21, "hang")
    mood(directors, 22, "500")
    directors.wait_for(
        "the sorry server answers", lambda: spread(directors, WEB, 443, 2).keys() == {"24"}, timeout_s=90
    )


@pytest.mark.long
def test_a_change_breaks_no_connection_and_one_that_keepalived_refuses_changes_nothing(directors: Lab) -> None:
    downloads = Downloads(directors, [f"http://{WEB}:{port}/slow/30" for port in (80, 81, 82) for _ in range(5)])
    wanted = director.CLUSTER_TOML + director.SERVICES.replace('scheduler = "rr"', 'scheduler = "wlc"')
    applied(directors, wanted)
    directors.wait_for("both run by it", lambda: "-s rr" not in state(directors), timeout_s=60)
    before = state(directors)
    assert "-s wlc" in before
    # keepalived alone looks for it.
    tracked = 'id = 51\ntrack_scripts = [{ command = "/no/such/script" }]\n'
    bad = wanted.replace("id = 51\n", tracked, 1)
    refused = director.apply(directors, bad)
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "refused, and nothing was changed" in said
    for name in director.DIRECTORS:
        assert f"{name}: keepalived refuses /etc/keepalived/keepalived.conf" in said
    assert "/no/such/script" in said
    assert state(directors) == before
    assert downloads.finish() == 0


@pytest.mark.long
def test_directors_that_see_each_other_again_have_one_master(directors: Lab) -> None:
    for network in (1, 2):
        directors["beta"].drop(network, "in")
    directors.wait_for("both have the address", lambda: holders(directors, WEB) == ["alpha", "beta"], timeout_s=30)
    for network in (1, 2):
        directors["beta"].deliver(network, "in")
    directors.wait_for("one has it", lambda: holders(directors, WEB) == ["alpha"], timeout_s=30)
    assert spread(directors, WEB, 81, 8).keys() == ALL


@pytest.mark.long
def test_a_group_of_the_cluster_moves_a_service_as_well(directors: Lab) -> None:
    address = "10.9.1.102"
    text = director.CLUSTER_TOML.replace('name = "balance"', 'name = "balance"\nfencing = "manual"')
    text += director.SERVICES + director.virtual("moved", 83, "tun", address=address, more='failover = "cluster"')
    resources = f'{{ address = "{address}/24" }}, {{ virtual = "moved" }}'
    text += f'[[group]]\nname = "moved"\nprefer = "alpha"\nresources = [{resources}]\n'
    directors[director.SERVERS].exec(
        ["sh", "-c", f"for n in /run/netns/*; do nsenter --net=$n ip a add {address} dev lo; done"]
    )
    applied(directors, text)
    directors.wait_for("it runs on alpha", lambda: spread(directors, address, 83, 4).keys() == ALL, timeout_s=90)
    assert holders(directors, address) == ["alpha"]
    directors["beta"].exec(["pairkeep", "switchover", "moved", "beta"], timeout_s=120)
    assert holders(directors, address) == ["beta"]
    # Its checks have just begun there.
    directors.wait_for("all servers answer", lambda: spread(directors, address, 83, 8).keys() == ALL, timeout_s=60)
    assert spread(directors, address, 83, 8) == dict.fromkeys(ALL, 2)
    assert f"{address}:83" not in directors["alpha"].exec(["ipvsadm", "-Sn"]).stdout


def applied(lab: Lab, text: str) -> None:
    done = director.apply(lab, text)
    assert done.returncode == 0, done.stdout + done.stderr


def known(director: Machine) -> int:
    """How many established connections its kernel has, its own or told by the other one (ipvsadm(8))."""
    return director.exec(["ipvsadm", "--list", "--connection", "--numeric"]).stdout.count(" ESTABLISHED ")


def state(lab: Lab) -> str:
    """What both directors run by, and what their kernels have."""
    files = ["sh", "-c", "cat /etc/keepalived/keepalived.conf /run/pairkeep/config.json; ipvsadm -Sn"]
    return "".join(lab[name].exec(files).stdout for name in director.DIRECTORS)
