# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual services, VRRP and directors: what is filled in, and exactly how mistakes are refused."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.load import ConfigError, load, parse
from appliance.config.virtual import Check, Real, Sorry
from appliance.config.virtual_load import marks
from appliance.config.virtual_schema import MOST_MARK

GOOD = Path(__file__).parent / "config/good/directors.toml"
PAIR = """\
[cluster]
name = "balance"
networks = ["10.9.1.0/24", "10.9.2.0/24"]
[node.alpha]
links = ["10.9.1.11", "10.9.2.11"]
[node.beta]
links = ["10.9.1.12", "10.9.2.12"]
"""
VRRP = """\
[vrrp.web]
id = 51
addresses = ["10.9.1.100/24"]
"""
VIRTUAL = """\
[virtual.web]
address = "10.9.1.100"
port = 80
"""
REAL = """\
[[virtual.web.real]]
address = "10.9.2.21"
"""
SECOND = """\
[virtual.other]
address = "10.9.1.100"
port = 8080
[[virtual.other.real]]
address = "10.9.2.21"
"""


def refusal(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(PAIR + text)
    return list(refused.value.problems)


def web(virtual: str = "", real: str = "", more: str = "", vrrp: str = "") -> str:
    return f"{VRRP}{vrrp}\n{VIRTUAL}{virtual}\n{REAL}{real}\n{more}"


REFUSED = {
    # What issue and manual name as the mistakes that people make.
    "port mapping with DR": (
        web('forward = "dr"', "port = 8080"),
        'virtual.web.real.1.port: found 8080, expected 80, or none: with forward = "dr" ports stay as they are',
    ),
    "port mapping with a tunnel": (
        web("", 'port = 8080\nforward = "tun"'),
        'virtual.web.real.1.port: found 8080, expected 80, or none: with forward = "tun" ports stay as they are',
    ),
    "port mapping of the sorry server with DR": (
        web('sorry = { address = "10.9.2.9", port = 81, forward = "dr" }'),
        'virtual.web.sorry.port: found 81, expected 80, or none: with forward = "dr" ports stay as they are',
    ),
    "real server in another network with DR": (
        web('forward = "dr"').replace("10.9.2.21", "10.9.7.21"),
        'virtual.web.real.1.address: found "10.9.7.21", expected an address in 10.9.1.0/24 or 10.9.2.0/24: '
        'with forward = "dr" it is reached without a router',
    ),
    "sorry server in another network with DR": (
        web('sorry = { address = "10.9.7.9", forward = "dr" }'),
        'virtual.web.sorry.address: found "10.9.7.9", expected an address in 10.9.1.0/24 or 10.9.2.0/24: '
        'with forward = "dr" it is reached without a router',
    ),
    "persistence of nothing": (
        web("persistence_s = 0"),
        "virtual.web.persistence_s: found 0, expected a whole number from 1 to 2678400 seconds",
    ),
    "flags of another scheduler": (
        web('scheduler = "sh"\nflags = ["mh-port"]'),
        'virtual.web.flags.1: found "mh-port", expected "sh-fallback" or "sh-port" with scheduler = "sh"',
    ),
    "flags without a scheduler that has any": (
        web('flags = ["sh-port"]'),
        'virtual.web.flags.1: found "sh-port", expected none with scheduler = "wlc"',
    ),
    "an unknown scheduler": (
        web('scheduler = "wwrr"'),
        'virtual.web.scheduler: found "wwrr", expected "rr" or "wrr" or "lc" or "wlc" or "lblc" or "lblcr" or "dh" '
        'or "sh" or "sed" or "nq" or "fo" or "ovf" or "mh" or "twos"',
    ),
    "an unknown check": (
        web('check = "htpp"'),
        'virtual.web.check: found "htpp", expected one of connect, http, https, smtp, dns, ping, udp, '
        "script, mysql, "
        'postgresql, ldap, ftp, imap, pop3, sip, none (did you mean "http"?)',
    ),
    "an unknown kind of check": (
        web("", 'check = { kind = "telnet" }'),
        'virtual.web.real.1.check.kind: found "telnet", expected one of connect, http, https, smtp, '
        "dns, ping, udp, "
        "script, mysql, postgresql, ldap, ftp, imap, pop3, sip, none",
    ),
    "what another kind of check has": (
        web('check = { kind = "smtp", path = "/" }'),
        "virtual.web.check.path: unknown key; expected one of kind, port, interval_s, timeout_s, "
        "retries, retry_s, host",
    ),
    "a check without its script": (
        web('check = "script"'),
        "virtual.web.check.command: missing, expected an absolute path and plain words after it, "
        "at most 250 characters with the address",
    ),
    "a script with more than words": (
        web('check = { kind = "script", command = "/bin/sh -c \'true; rm $x\'" }'),
        "virtual.web.check.command: found \"/bin/sh -c 'true; rm $x'\", expected an absolute path and plain words "
        "after it, at most 250 characters with the address",
    ),
    "a command that grows too long by the address": (
        web(f'check = {{ kind = "script", command = "/bin/{"x" * 236} %a" }}'),
        f'virtual.web.check.command: found "/bin/{"x" * 73}…, expected an absolute path and plain words '
        "after it, at most 250 characters with the address",
    ),
    "a text that is too long": (
        web(f'check = {{ kind = "http", text = "{"x" * 200}" }}'),
        f'virtual.web.check.text: found "{"x" * 78}…, expected text of 1 to 199 printable characters',
    ),
    "more to send than a line holds": (
        web(f'check = {{ kind = "udp", send = "{"0" * 402}" }}'),
        f'virtual.web.check.send: found "{"0" * 78}…, expected an even number of hexadecimal digits, at most 400',
    ),
    "a time that is too fine": (
        web('check = { kind = "connect", timeout_s = 0.3333 }'),
        "virtual.web.check.timeout_s: found 0.3333, expected a number from 0.1 to 300 seconds, "
        "with at most 3 decimals",
    ),
    "a domain with an empty label": (
        web('check = { kind = "dns", query = "example..org" }'),
        'virtual.web.check.query: found "example..org", expected a domain name',
    ),
    "one real server with the port said and unsaid": (
        web("", "", '[[virtual.web.real]]\naddress = "10.9.2.21"\nport = 80\nname = "second"'),
        "virtual.web.real.2: found 10.9.2.21 again, expected each real server once",
    ),
    "a check port outside the range": (
        web("", 'check = { kind = "connect", port = 70000 }'),
        "virtual.web.real.1.check.port: found 70000, expected a whole number from 1 to 65535",
    ),
    "a check port of nothing": (
        web('check = { kind = "http", port = 0 }'),
        "virtual.web.check.port: found 0, expected a whole number from 1 to 65535",
    ),
    "duplicate services": (
        web(more=SECOND.replace("8080", "80")),
        "virtual.other: found tcp 10.9.1.100 port 80, expected a service that virtual.web is not already",
    ),
    "a port that another service has among several": (
        web(more=SECOND.replace("port = 8080", 'ports = [443, "70-90"]')),
        "virtual.other: found tcp 10.9.1.100 port 80, expected a service that virtual.web is not already",
    ),
    "a mark that another service has": (
        web(more=SECOND.replace("port = 8080", "ports = [443, 444]\nmark = 3")).replace(
            "port = 80\n", "ports = [80, 81]\nmark = 3\n"
        ),
        "virtual.other.mark: found 3, expected a mark that virtual.web does not have",
    ),
    "a VRRP id used twice on a network": (
        web(vrrp='[vrrp.mail]\nid = 51\naddresses = ["10.9.1.101/24"]'),
        "vrrp.mail.id: found 51, expected an id that vrrp.web does not have in 10.9.1.0/24",
    ),
    "a VRRP id used twice where both advertise": (
        web(vrrp='network = "10.9.2.0/24"\n[vrrp.mail]\nid = 51\naddresses = ["10.9.2.101/24"]'),
        "vrrp.mail.id: found 51, expected an id that vrrp.web does not have in 10.9.2.0/24",
    ),
    "a VRRP id that there cannot be": (
        web().replace("id = 51", "id = 256"),
        "vrrp.web.id: found 256, expected a whole number from 1 to 255",
    ),
    "a virtual address that no director has a network for": (
        web().replace("10.9.1.100", "192.0.2.1"),
        'vrrp.web.addresses.1: found "192.0.2.1/24", expected an address in 10.9.1.0/24 or 10.9.2.0/24: '
        "directors have no other network",
    ),
    "a virtual address that is nobody's": (
        web().replace('address = "10.9.1.100"', 'address = "10.9.1.200"'),
        'virtual.web.address: found "10.9.1.200", expected one that a [vrrp.NAME] table has (10.9.1.100), or '
        'failover = "cluster"',
    ),
    # The rest of what cannot work.
    "neither port nor ports": (
        web().replace("port = 80\n", ""),
        "virtual.web.port: missing, expected a port, 0 for all of them, or ports for several as one service",
    ),
    "both port and ports": (
        web("ports = [443]"),
        "virtual.web.port: found 80 beside ports, expected one of the two",
    ),
    "all ports without persistence": (
        web('check = "ping"').replace("port = 80", "port = 0"),
        "virtual.web.port: found 0, expected persistence_s beside it: without that, a client's "
        "connections would go "
        "to several servers",
    ),
    "all ports and none to ask": (
        web("persistence_s = 60").replace("port = 80", "port = 0"),
        'virtual.web.check: expected the port to ask, like { kind = "connect", port = 80 }: port = 0 names none',
    ),
    "a port of its own where all are meant": (
        web('persistence_s = 60\ncheck = "ping"', "port = 8080").replace("port = 80\n", "port = 0\n"),
        "virtual.web.real.1.port: found 8080, expected none: with port = 0 ports stay as they are",
    ),
    "a port of its own where several are meant": (
        web("", "port = 8080").replace("port = 80\n", "ports = [80, 443]\n"),
        "virtual.web.real.1.port: found 8080, expected none: of several ports each stays as it is",
    ),
    "ports that overlap": (
        web().replace("port = 80\n", 'ports = [80, "70-90"]\n'),
        'virtual.web.ports.2: found "70-90", expected ports that are not there yet',
    ),
    "a mark for one port": (
        web("mark = 7"),
        "virtual.web.mark: found 7, expected ports beside it: the mark is what makes them one",
    ),
    "a mask without persistence": (
        web("persistence_prefix = 24"),
        "virtual.web.persistence_prefix: found 24, expected persistence_s beside it",
    ),
    "a mask longer than the address": (
        web("persistence_s = 60\npersistence_prefix = 64"),
        "virtual.web.persistence_prefix: found 64, expected at most 32, the bits of the address",
    ),
    "Call-IDs of TCP": (
        web('persistence_s = 60\npersistence_engine = "sip"'),
        'virtual.web.persistence_engine: found "sip", expected protocol = "udp": the kernel reads Call-IDs of '
        "datagrams only",
    ),
    "single packets of TCP": (
        web("one_packet = true"),
        'virtual.web.one_packet: found true, expected protocol = "udp": other connections are of many packets',
    ),
    "a quorum that is never reached": (
        web("quorum = 2"),
        "virtual.web.quorum: found 2, expected at most 1, the weight of all its real servers",
    ),
    "a hysteresis as large as the quorum": (
        web("quorum = 2\nhysteresis = 2", "weight = 5"),
        "virtual.web.hysteresis: found 2, expected less than the quorum, which is 2",
    ),
    "a tunnel that nothing goes through": (
        web('tunnel = "gre"'),
        'virtual.web.tunnel: found "gre", expected forward = "tun" beside it',
    ),
    "a tunnel's port that only GUE has": (
        web('forward = "tun"\ntunnel_port = 6081'),
        'virtual.web.tunnel_port: found 6081, expected tunnel = "gue" beside it',
    ),
    "no real server": (
        VRRP + VIRTUAL,
        "virtual.web.real: missing, expected at least one [[virtual.NAME.real]] table",
    ),
    "a real server twice": (
        web(more=REAL),
        "virtual.web.real.2: found 10.9.2.21 again, expected each real server once",
    ),
    "two real servers of one name": (
        web("", "port = 8080", REAL + "port = 8081"),
        'virtual.web.real.2.name: found "10.9.2.21", expected a name that no other real server of the service has; '
        "give it one",
    ),
    "a lower limit without an upper one": (
        web("", "lower = 5"),
        "virtual.web.real.1.lower: found 5, expected upper beside it: below it there is no limit",
    ),
    "limits the wrong way round": (
        web("", "lower = 5\nupper = 5"),
        "virtual.web.real.1.lower: found 5, expected less than upper, which is 5",
    ),
    "the service itself as a real server": (
        web().replace("10.9.2.21", "10.9.1.100"),
        'virtual.web.real.1.address: found "10.9.1.100", expected another one than that of the service',
    ),
    "another family without a tunnel": (
        web().replace("10.9.2.21", "fd00::21"),
        'virtual.web.real.1.address: found "fd00::21", expected an IPv4 address: only forward = "tun" '
        "goes from one "
        "to the other",
    ),
    "an address that a node has": (
        web().replace("10.9.1.100", "10.9.1.11"),
        'vrrp.web.addresses.1: found "10.9.1.11/24", expected an address that is not link 1 of node alpha',
    ),
    "an address of two instances": (
        web(vrrp='[vrrp.mail]\nid = 52\naddresses = ["10.9.1.100/24"]'),
        'vrrp.mail.addresses.1: found "10.9.1.100/24", expected an address that is not one of vrrp.web',
    ),
    "parts of a second in version 2": (
        web(vrrp="version = 2\nadvert_ms = 500"),
        "vrrp.web.advert_ms: found 500, expected a multiple of 1000: version 2 of VRRP counts whole seconds",
    ),
    "too fine an interval": (
        web(vrrp="advert_ms = 105"),
        "vrrp.web.advert_ms: found 105, expected a multiple of 10, at most 40950: VRRP counts "
        "hundredths of a second",
    ),
    "a delay before what is never done": (
        web(vrrp="preempt = false\npreempt_delay_s = 5"),
        "vrrp.web.preempt_delay_s: found 5, expected preempt = true beside it: without that nothing is taken back",
    ),
    "a preferred director that is none": (
        web(vrrp='prefer = "gamma"'),
        'vrrp.web.prefer: found "gamma", expected alpha or beta',
    ),
    "advertising where directors are not": (
        web(vrrp='network = "10.9.3.0/24"'),
        'vrrp.web.network: found "10.9.3.0/24", expected 10.9.1.0/24 or 10.9.2.0/24: directors have no '
        "other network",
    ),
    "unicast where addresses are not known": (
        web(vrrp='network = "10.9.5.0/24"\nunicast = true\n[director]\nnetworks = ["10.9.5.0/24"]'),
        "vrrp.web.unicast: found true, expected it with network = 10.9.1.0/24 or 10.9.2.0/24, one of "
        "cluster.networks: in others the nodes' addresses are not known",
    ),
    "together, but preferred apart": (
        web(
            vrrp='together = "all"\nprefer = "alpha"\n[vrrp.mail]\nid = 52\naddresses = ["10.9.1.101/24"]\n'
            'together = "all"\nprefer = "beta"'
        ),
        'vrrp.mail.prefer: found "beta", expected "alpha" as in vrrp.web: they are to be masters together',
    ),
    "together, with priorities that change": (
        web(vrrp='together = "all"\ntrack_interfaces = { ens5 = -20 }'),
        "vrrp.web.track_interfaces.ens5: found -20, expected 0: instances that stay together have one priority",
    ),
    "a network of directors that is one of the heartbeats'": (
        web(more='[director]\nnetworks = ["10.9.2.0/23"]'),
        'director.networks.1: found "10.9.2.0/23", expected a network apart from "10.9.2.0/24"',
    ),
    "a group's service that VRRP moves": (
        web(more='[[group]]\nname = "web"\nresources = [{ virtual = "web" }]\n[drbd]').replace("[drbd]", ""),
        'group.web.resources.1.virtual: found "web", expected failover = "cluster" in virtual.web: otherwise VRRP '
        "decides where it is",
    ),
    "a service that no group has": (
        web('failover = "cluster"'),
        "virtual.web: found in no group's resources, expected it in exactly one",
    ),
    "a service whose group lacks its address": (
        web('failover = "cluster"', more='[[group]]\nname = "web"\nresources = [{ virtual = "web" }]'),
        'virtual.web.address: found "10.9.1.100", expected the address of { address = "…" } in its group',
    ),
    "a service that there is not": (
        web(more='[[group]]\nname = "web"\nresources = [{ virtual = "wen" }]'),
        'group.web.resources.1.virtual: found "wen", expected web',
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_this_is_refused(mistake: str) -> None:
    text, expected = REFUSED[mistake]
    found = [line for line in refusal(text) if not line.startswith("node: found no node with votes_only")]
    assert found == [expected]


def test_the_base_of_all_these_is_accepted() -> None:
    cluster = parse(PAIR + web())
    assert cluster.virtual("web").reals == (
        Real("10.9.2.21", ip_address("10.9.2.21"), 80, "nat", Check("connect", 80)),
    )
    assert cluster.vrrps[0].network == ip_network("10.9.1.0/24")
    assert cluster.sync_network == ip_network("10.9.2.0/24")


def test_two_directors_need_a_third_vote_only_for_groups() -> None:
    group = '[[group]]\nname = "web"\nresources = [{ service = "nginx.service" }]'
    assert refusal(web(more=group))[0].startswith("node: found no node with votes_only = true")


def test_every_key_arrives() -> None:
    cluster = load(GOOD)
    virtual = cluster.virtual("web")
    assert (virtual.ports, virtual.port, virtual.mark) == (((80, 80), (443, 443), (30000, 30100)), 0, 7)
    assert virtual.sorry == Sorry(ip_address("10.9.2.9"), 0, "nat")
    first, second, third = virtual.reals
    assert (first.name, first.port, first.weight, first.upper, first.lower) == ("web-1", 0, 3, 1000, 800)
    # Of several ports the first is asked.
    assert (first.check.port, first.check.status) == (80, ((200, 200), (300, 399)))
    assert (second.name, second.check.port, second.check.interval_s) == ("10.9.2.22", 8443, 1)
    assert third.check == Check("none")
    assert [r.forward for r in cluster.virtual("mail").reals] == ["tun", "dr"]
    assert [r.check.kind for n in ("dns", "syslog", "signalling") for r in cluster.virtual(n).reals] == [
        "dns",
        "udp",
        "ping",
    ]
    vrrp = cluster.vrrps[0]
    assert (vrrp.priority("alpha"), vrrp.priority("beta"), vrrp.unicast) == (150, 100, True)
    assert vrrp.addresses[1] == ip_interface("10.9.2.254/24")
    assert cluster.director.networks == (ip_network("10.9.5.0/24"),)


@pytest.mark.parametrize(
    ("vrrp", "more", "seconds"),
    [
        ("", "", 120),
        ("preempt_delay_s = 0", "", 0),
        ("preempt = false", "", 0),
        ("", "[director]\nsync = false", 0),
    ],
)
def test_who_returns_first_hears_of_the_connections(vrrp: str, more: str, seconds: int) -> None:
    assert parse(PAIR + web(vrrp=vrrp, more=more)).vrrps[0].preempt_delay_s == seconds


names = st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=8, unique=True)


@given(names, st.randoms())
def test_a_mark_stays_when_other_services_come_go_and_change_places(
    services: list[str], chance: random.Random
) -> None:
    tables = {name: {"ports": [80]} for name in services}
    before = marks(tables)
    chance.shuffle(services)
    after = marks({name: tables[name] for name in services[1:]})
    assert after == {name: before[name] for name in services[1:]}
    assert all(0 < mark <= MOST_MARK for mark in before.values())


def test_a_mark_that_is_given_moves_the_one_that_was_made() -> None:
    (made,) = marks({"a": {"ports": [80]}}).values()
    assert marks({"a": {"ports": [80]}, "b": {"ports": [80], "mark": made}}) == {"a": made + 1, "b": made}


@given(st.lists(st.none() | st.integers(1, 6), max_size=8))
def test_marks_are_kept_and_never_shared(said: list[int | None]) -> None:
    tables = {f"v{i}": {"ports": [80], **({} if mark is None else {"mark": mark})} for i, mark in enumerate(said)}
    given_marks = [mark for mark in said if mark is not None]
    if len(set(given_marks)) < len(given_marks):
        return
    found = marks(tables)
    assert len(set(found.values())) == len(tables)
    assert all(found[f"v{i}"] == mark for i, mark in enumerate(said) if mark is not None)
