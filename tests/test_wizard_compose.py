# SPDX-License-Identifier: GPL-2.0-or-later
"""From the answers given on several machines to one cluster."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config.load import parse
from appliance.firstboot import compose
from appliance.firstboot.facts import ALIAS, Disk
from appliance.firstboot.given import Given
from appliance.firstboot.password import for_mariadb, matches
from appliance.firstboot.summary import summary
from appliance.joining import Candidate, Host, JoinError, join
from tests.wizard_machine import BLANK, FACTS, GIB, GOOD

DEVICE = {"how": "devices", "address": "10.9.3.111", "user": "admin", "password": "secret-of-bmc"}
ALPHA = Given(FACTS, GOOD)
FENCED = Given(FACTS, {**GOOD, "fencing": DEVICE})
BOTH = Given(FACTS, {**GOOD, "fencing": {**DEVICE, "how": "both"}})
MANUAL = Given(FACTS, {**GOOD, "fencing": {"how": "manual"}})
OWN = compose.candidate(ALPHA)
BETA = replace(OWN, name="beta", links=("10.9.1.12/24", "fd00:9:2::12/64"))
WITNESS = Candidate("witness", "witness", OWN.version, 0.0, ("10.9.1.13/24", "fd00:9:2::13/64"), None, None, {})
BMC = {"agent": "fence_ipmilan", "ip": "10.9.3.112", "username": "admin", "password": "secret-of-beta"}


def test_what_a_machine_says_of_itself() -> None:
    assert (OWN.name, OWN.role, OWN.disk, OWN.disk_bytes) == ("alpha", "worker", BLANK, 8 * GIB)
    assert OWN.links == ("10.9.1.11/24", "fd00:9:2::11/64")
    assert OWN.fence == {}
    assert compose.candidate(FENCED).fence["lanplus"] is True
    small = compose.candidate(Given(FACTS, {**GOOD, "role": {"role": "witness"}}))
    assert (small.role, small.disk, small.fence) == ("witness", None, {})


def test_good_ones_are_admitted() -> None:
    assert compose.missing(ALPHA, ()) == ("the second database machine", "the witness")
    assert compose.admit(ALPHA, OWN, (), BETA) is None
    assert compose.admit(ALPHA, OWN, (BETA,), WITNESS) is None
    assert compose.missing(ALPHA, (BETA, WITNESS)) == ()
    assert compose.missing(MANUAL, (BETA,)) == ()
    assert compose.admit(FENCED, compose.candidate(FENCED), (), replace(BETA, fence=BMC)) is None


@pytest.mark.parametrize(
    ("given", "other", "message"),
    [
        (
            ALPHA,
            replace(BETA, name="alpha"),
            'found the host name "alpha", which another machine of this cluster has; choose another one',
        ),
        (
            ALPHA,
            replace(BETA, name="witness"),
            'found the host name "witness", which another machine of this cluster has; choose another one',
        ),
        (
            ALPHA,
            replace(WITNESS, name="third"),
            "the cluster has its witness already: witness",
        ),
        (
            MANUAL,
            replace(WITNESS, name="third"),
            "alpha was told to do without a witness; choose one there on the page Fencing",
        ),
        (
            ALPHA,
            replace(BETA, links=BETA.links[:1]),
            "found 1 card for the cluster on beta, expected 2 as on alpha: 10.9.1.0/24, fd00:9:2::/64",
        ),
        (
            ALPHA,
            replace(BETA, links=("10.9.7.12/24", BETA.links[1])),
            "found 10.9.7.12/24 as address 1 of beta, expected one in 10.9.1.0/24",
        ),
        (
            ALPHA,
            replace(BETA, links=("10.9.1.12/25", BETA.links[1])),
            "found 10.9.1.12/25 as address 1 of beta, expected one in 10.9.1.0/24",
        ),
        (
            ALPHA,
            replace(BETA, links=BETA.links[::-1]),
            "found fd00:9:2::12/64 as address 1 of beta, expected one in 10.9.1.0/24",
        ),
        (
            ALPHA,
            replace(BETA, links=("10.9.1.11/24", BETA.links[1])),
            "found the address 10.9.1.11 on beta, which alpha has already",
        ),
        (
            ALPHA,
            replace(BETA, links=("10.9.1.100/24", BETA.links[1])),
            "found the address 10.9.1.100 on beta, which is to be the service address",
        ),
        (ALPHA, replace(BETA, disk=None), "beta names no data disk, and a database machine needs one"),
        (
            ALPHA,
            replace(BETA, disk_bytes=64 << 20),
            "found a disk of 64 MiB on beta, expected one of at least 256 MiB",
        ),
        (
            FENCED,
            BETA,
            "beta names no fence device, and alpha was told to use them; choose one there",
        ),
        (
            FENCED,
            replace(BETA, fence={**BMC, "ip": "10.9.3.111"}),
            "found the fence device of alpha on beta, expected one of its own",
        ),
        (
            FENCED,
            replace(BETA, fence={**BMC, "ip": "10.9.1.11"}),
            "found 10.9.1.11 as fence device of beta, which is an address of alpha itself",
        ),
    ],
)
def test_a_machine_that_does_not_fit_is_told_why(given: Given, other: Candidate, message: str) -> None:
    joined = (WITNESS,) if given is ALPHA else ()
    assert compose.admit(given, compose.candidate(given), joined, other) == message


def test_a_third_database_machine_is_one_too_many() -> None:
    third = replace(BETA, name="gamma", links=("10.9.1.14/24", "fd00:9:2::14/64"))
    reason = "the cluster has both of its database machines already: alpha and beta"
    assert compose.admit(ALPHA, OWN, (BETA,), third) == reason


@pytest.mark.parametrize(
    ("given", "fencing", "votes"),
    [(ALPHA, "watchdog", 3), (FENCED, "devices", 2), (BOTH, "devices", 3), (MANUAL, "manual", 2)],
)
def test_the_cluster_is_one_that_config_check_accepts(given: Given, fencing: str, votes: int) -> None:
    beta = replace(BETA, fence=BMC)
    joined = (WITNESS, beta) if given.wants_witness else (beta,)
    made = compose.bundle(given, compose.candidate(given), joined)
    cluster = parse(made.cluster_toml)
    assert (cluster.fencing, len(cluster.nodes)) == (fencing, votes)
    assert [node.name for node in cluster.workers] == ["alpha", "beta"]
    assert cluster.groups[0].prefer == "alpha"
    assert cluster.drbd[0].disk == ALIAS
    assert len(made.cluster_key) == 256
    if given.has_device:
        assert made.secrets == {
            "fence-alpha.password": "secret-of-bmc",
            "fence-beta.password": "secret-of-beta",
        }
        assert "secret-of" not in made.cluster_toml
        assert "/etc/pairkeep/fence-beta.password" in str(cluster.node("beta").fence[0])
    else:
        assert made.secrets == {}


def test_the_answers_of_this_machine() -> None:
    made = compose.bundle(ALPHA, OWN, (BETA, WITNESS))
    found = compose.answers(ALPHA, made)
    assert found.node == "alpha"
    assert found.interfaces == ("52:54:00:09:01:0b", "52:54:00:09:02:0b")
    assert found.database is not None
    assert (found.database.name, found.database.password_hash) == ("shop", for_mariadb("pairkeep-test"))
    assert "pairkeep-test" not in str(made)
    assert matches("a horse, a boat", found.settings.password_hash)
    assert not matches("a horse, a goat", found.settings.password_hash)
    assert (found.settings.disk, found.settings.wipe) == (BLANK, False)
    assert [one.dhcp for one in found.networks] == [False, False, True]
    assert [one.addresses for one in found.networks] == [(), (), ()]


def test_only_a_disk_that_was_named_is_erased() -> None:
    name = "ata-WDC_WD40_WX12"
    chosen = {"disk": f"/dev/disk/by-id/{name}", "wipe": name}
    made = compose.bundle(ALPHA, OWN, (BETA, WITNESS))
    assert compose.answers(Given(FACTS, {**GOOD, "disk": chosen}), made).settings.wipe == "drbd"
    assert not compose.answers(Given(FACTS, {**GOOD, "disk": {**chosen, "wipe": "x"}}), made).settings.wipe


@pytest.mark.parametrize("disks", [(replace(FACTS.disks[2], content=""),), ()])
def test_what_somebody_said_of_a_disk_counts_whatever_becomes_of_it(disks: tuple[Disk, ...]) -> None:
    """Power went while it was being erased: by now it looks blank, or has not come up yet."""
    name = "ata-WDC_WD40_WX12"
    chosen = {"disk": f"/dev/disk/by-id/{name}", "wipe": name}
    made = compose.bundle(ALPHA, OWN, (BETA, WITNESS))
    later = Given(replace(FACTS, disks=disks), {**GOOD, "disk": chosen})
    found = compose.answers(later, made).settings
    assert (found.disk, found.wipe) == (chosen["disk"], "drbd")
    assert not disks or ("Data disk", f"{name}, ERASED: blank") in summary(later)


def test_two_machines_become_a_cluster_over_a_real_connection(tmp_path: Path) -> None:
    """The rules of this module behind the doors of the real exchange."""
    told: list[tuple[str, str]] = []
    joined = threading.Event()
    host = Host(
        OWN,
        admit=lambda other: compose.admit(MANUAL, OWN, host.joined, other),
        port=0,
        folder=tmp_path / "alpha",
    )

    def tell(kind: str, text: str) -> None:
        told.append((kind, text))
        if kind == "joined":
            joined.set()

    host.start(tell)
    try:
        same = replace(compose.candidate(MANUAL), name="alpha")
        with pytest.raises(JoinError, match='found the host name "alpha"'):
            join("127.0.0.1", host.code, same, on_event=lambda *_: None, port=host.port, folder=tmp_path / "x")
        got: list[object] = []
        beta = replace(BETA, clock_s=compose.candidate(MANUAL).clock_s)
        port, folder = host.port, tmp_path / "beta"

        def join_it() -> None:
            got.append(join("127.0.0.1", host.code, beta, on_event=lambda *_: None, port=port, folder=folder))

        other = threading.Thread(target=join_it, daemon=True)
        other.start()
        assert joined.wait(20)
        made = compose.bundle(MANUAL, OWN, host.joined)
        host.finish(made)
        other.join(20)
        assert got == [made]
        assert ("joined", "beta") in told
    finally:
        host.close()
