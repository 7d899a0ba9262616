# SPDX-License-Identifier: GPL-2.0-or-later
"""Load balancing for real: two directors, and real servers as namespaces of a third machine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from appliance.build import folders
from appliance.build.progress import Progress
from appliance.lab import director
from appliance.lab.cluster import formed
from appliance.lab.collect import collect
from appliance.lab.director import MAIL, NUMBERS, WEB, Downloads, fetch, holders, mood, spread
from appliance.lab.lab import Lab

LAB = "vm-tests-lvs"
ALL = {str(number) for number in NUMBERS}
ADVERT_S = 1.0
# What a machine without KVM, on a busy host, may take longer than the protocol says.
SLACK_S = 2.0
# A check's interval and time-out (director.virtual), and what keepalived and the client add.
NOTICED_S = 1.0 + 4.0 + SLACK_S
APPLY = ["pairkeep", "apply", "--yes", "--why", "a scenario"]


@pytest.fixture
def lab(request: pytest.FixtureRequest, progress: Progress) -> Iterator[Lab]:
    """Two formed directors and their real servers, as they were right after their first boot."""
    Lab.open(LAB).down()
    with formed(LAB, director.directors(progress), director.waiting_for, progress) as found:
        found.wait_for("connections work", lambda: director.waiting_for(found) is None, timeout_s=60)
        yield found
        report = getattr(request.node, "report_call", None)
        if report is None or report.failed:
            collect(found, folders.build_folder() / "failed" / request.node.name)


@pytest.mark.long
def test_each_way_of_forwarding_reaches_every_server_in_turn(lab: Lab) -> None:
    for port in (80, 81, 82, 83, 84):
        assert spread(lab, WEB, port, 8) == dict.fromkeys(ALL, 2), f"port {port}"
    # Both directors work: this address is the other one's.
    assert spread(lab, MAIL, 80, 8) == dict.fromkeys(ALL, 2)


@pytest.mark.long
def test_an_active_director_without_power_is_replaced_and_no_connection_ends(lab: Lab) -> None:
    downloads = Downloads(lab, [f"http://{WEB}:{port}/slow/20" for port in (80, 81) for _ in range(10)])
    time.sleep(5)
    lab["alpha"].power_off()
    lost = time.monotonic()
    lab.wait_for(
        "new connections work", lambda: fetch(lab, f"http://{WEB}:81/", timeout_s=0.3), timeout_s=60, poll_s=0
    )
    assert time.monotonic() - lost < 4 * ADVERT_S + SLACK_S
    assert downloads.finish() == 0


@pytest.mark.long
def test_a_server_that_answers_500_gets_nothing_and_is_taken_back(lab: Lab) -> None:
    mood(lab, 21, "500")
    lab.wait_for("21 is out", lambda: "21" not in spread(lab, WEB, 81, 4), timeout_s=NOTICED_S + 10)
    assert spread(lab, WEB, 81, 6) == {"22": 2, "23": 2, "24": 2}
    mood(lab, 21, "ok")
    lab.wait_for("21 is back", lambda: "21" in spread(lab, WEB, 81, 4), timeout_s=NOTICED_S + 10)


@pytest.mark.long
def test_several_ports_are_one_service_and_a_sorry_server_answers_when_none_is_left(lab: Lab) -> None:
    _apply(lab, director.CLUSTER_TOML + director.SERVICES + director.MORE)
    lab.wait_for("it is in force", lambda: spread(lab, WEB, 443, 2).keys() == {"21", "22"}, timeout_s=60)
    # By mark and persistence a client comes to one server by both ports.
    assert len(spread(lab, MAIL, 81, 4) + spread(lab, MAIL, 443, 4)) == 1
    mood(lab, 21, "hang")
    mood(lab, 22, "500")
    lab.wait_for("the sorry server answers", lambda: spread(lab, WEB, 443, 2).keys() == {"24"}, timeout_s=30)


@pytest.mark.long
def test_a_change_breaks_no_connection_and_one_that_keepalived_refuses_changes_nothing(lab: Lab) -> None:
    downloads = Downloads(lab, [f"http://{WEB}:{port}/slow/30" for port in (80, 81, 82) for _ in range(5)])
    wanted = director.CLUSTER_TOML + director.SERVICES.replace('scheduler = "rr"', 'scheduler = "wlc"')
    _apply(lab, wanted)
    table = lab["alpha"].exec(["ipvsadm", "-Sn"]).stdout
    assert "-s wlc" in table
    assert "-s rr" not in table
    bad = wanted.replace('kind = "http"', 'kind = "script", command = "/no/such/check"', 1)
    refused = _apply(lab, bad.replace(", port = 8080", "", 1), check=False)
    assert "/no/such/check" in refused
    assert lab["alpha"].exec(["ipvsadm", "-Sn"]).stdout == table
    assert downloads.finish() == 0


@pytest.mark.long
def test_directors_that_see_each_other_again_have_one_master(lab: Lab) -> None:
    for network in (1, 2):
        lab["beta"].drop(network, "in")
    lab.wait_for("both have the address", lambda: holders(lab, WEB) == ["alpha", "beta"], timeout_s=30)
    for network in (1, 2):
        lab["beta"].deliver(network, "in")
    lab.wait_for("one has it", lambda: holders(lab, WEB) == ["alpha"], timeout_s=30)
    assert spread(lab, WEB, 81, 8).keys() == ALL


@pytest.mark.long
def test_a_group_of_the_cluster_moves_a_service_as_well(lab: Lab) -> None:
    address = "10.9.1.102"
    text = director.CLUSTER_TOML.replace('name = "balance"', 'name = "balance"\nfencing = "manual"')
    text += director.SERVICES + director.virtual("moved", 83, "tun", address=address, more='failover = "cluster"')
    resources = f'{{ address = "{address}/24" }}, {{ virtual = "moved" }}'
    text += f'[[group]]\nname = "moved"\nprefer = "alpha"\nresources = [{resources}]\n'
    lab[director.SERVERS].exec(
        ["sh", "-c", f"for n in /run/netns/*; do nsenter --net=$n ip a add {address} dev lo; done"]
    )
    _apply(lab, text)
    lab.wait_for("it runs on alpha", lambda: spread(lab, address, 83, 4).keys() == ALL, timeout_s=90)
    assert holders(lab, address) == ["alpha"]
    lab["beta"].exec(["pairkeep", "switchover", "moved", "beta"], timeout_s=120)
    assert holders(lab, address) == ["beta"]
    assert spread(lab, address, 83, 8) == dict.fromkeys(ALL, 2)
    assert f"{address}:83" not in lab["alpha"].exec(["ipvsadm", "-Sn"]).stdout


def _apply(lab: Lab, text: str, *, check: bool = True) -> str:
    """What `pairkeep apply` printed on alpha."""
    lab["alpha"].exec(["tee", "/etc/pairkeep/cluster.toml"], stdin=text)
    done = lab["alpha"].exec(APPLY, timeout_s=180, check=check)
    return done.stdout + done.stderr
