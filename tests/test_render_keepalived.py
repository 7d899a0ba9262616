# SPDX-License-Identifier: GPL-2.0-or-later
"""What keepalived, nftables and our own units of a director read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.load import load, parse
from appliance.config.model import Cluster
from appliance.render import lvs, render_all
from appliance.run import run
from tests.test_config_virtual import PAIR, REAL, SECOND, VIRTUAL, VRRP, web

GOOD = Path(__file__).parent / "config/good/directors.toml"
FIREWALL = Path("/etc/nftables.conf")


def keepalived(cluster: Cluster, node: str = "alpha") -> str:
    return render_all(cluster, node)[lvs.MAIN]


def block(text: str, begin: str) -> list[str]:
    """The lines of the block that begins so, without what is around."""
    lines = text[text.index(f"{begin} {{\n") :].splitlines()[1:]
    found: list[str] = []
    depth = 1
    for line in lines:
        depth += line.count("{") - line.count("}")
        if not depth:
            return found
        found.append(line.strip())
    raise AssertionError(f"{begin} does not end")


# keepalived looks for the interfaces that it is told of, and takes no loopback.
CARD = next((path.name for path in sorted(Path("/sys/class/net").iterdir()) if path.name != "lo"), None)


@pytest.mark.skipif(shutil.which("keepalived") is None or not CARD, reason="keepalived or a card is missing")
@pytest.mark.parametrize("node", ["alpha", "beta"])
def test_keepalived_accepts_every_key_there_is(tmp_path: Path, node: str) -> None:
    """With interfaces and scripts of this machine, which it looks for."""
    named = tmp_path / "networks.conf"
    named.write_text("".join(f"$NETWORK{number}={CARD}\n" for number in range(1, 5)))
    text = keepalived(load(GOOD), node).replace(str(lvs.NAMED), str(named)).replace("nogroup", "root")
    for missing in ("/usr/local/bin/is-fit --fast", "/usr/local/bin/check 10.9.2.23 3306"):
        text = text.replace(missing, "/usr/bin/true")
    # One card stands for all, and an instance's own is tracked anyway.
    text = text.replace("    track_interface {\n        $NETWORK2\n        ens9 weight -20\n    }\n", "")
    (tmp_path / "keepalived.conf").write_text(text)
    done = run(["keepalived", "-t", "-f", tmp_path / "keepalived.conf"], check=False)
    assert "Unknown keyword" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_a_unit_that_is_tracked_keeps_its_backslashes() -> None:
    """Between quotes keepalived reads one of `\\\\x2d` as the other's escape, and `\\x2d` alone as a minus."""
    text = keepalived(parse(GOOD.read_text().replace('["nginx.service"]', r"['app\x2done.service']")))
    assert r'    script "/usr/bin/systemctl is-active --quiet app\\x2done.service"' in text.splitlines()


@pytest.mark.parametrize(
    "check",
    [
        f'kind = "script", command = "/bin/{"x" * 165} %a %a"',
        f'kind = "http", path = "/{"x" * 200}", host = "{"x" * 254}", text = "{"." * 199}"',
        f'kind = "udp", send = "{"0" * 400}", expect = "{"x" * 400}"',
        f'kind = "mysql", user = "{"x" * 128}", database = "{"x" * 64}", password_file = "/{"x" * 249}"',
        f'kind = "sip", user = "{"x" * 128}", host = "{"x" * 254}"',
    ],
    ids=["script", "http", "udp", "mysql", "sip"],
)
def test_no_line_is_longer_than_keepalived_bears(check: str) -> None:
    """With 1,024 characters it ends by a signal, in `keepalived -t` too."""
    text = keepalived(parse(PAIR + web(real=f"check = {{ {check} }}")))
    assert 200 < max(map(len, text.splitlines())) < 1024


def test_every_brace_closes() -> None:
    text = keepalived(load(GOOD))
    assert text.count("{") == text.count("}")
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_an_instance_says_all_it_was_told() -> None:
    assert block(keepalived(load(GOOD)), "vrrp_instance web")[1:] == [
        "state BACKUP",
        "interface $NETWORK1",
        "virtual_router_id 51",
        "priority 150",
        "version 3",
        "advert_int 0.1",
        "preempt_delay 5",
        "unicast_src_ip 10.9.1.11",
        "unicast_peer {",
        "10.9.1.12 min_ttl 255",
        "}",
        "# It stands in every advertisement; the others, which may be many or of the other family, need not.",
        "virtual_ipaddress {",
        "10.9.1.100/24 dev $NETWORK1",
        "}",
        "virtual_ipaddress_excluded {",
        "10.9.2.254/24 dev $NETWORK2",
        "fd00:9::100/64 dev $NETWORK3",
        "}",
        "track_interface {",
        "$NETWORK2",
        "ens9 weight -20",
        "}",
        "track_script {",
        "web_1",
        "web_2",
        "}",
    ]


def test_a_missing_card_costs_its_own_instances_only() -> None:
    assert "dynamic_interfaces" in block(keepalived(load(GOOD)), "global_defs")


def test_each_director_is_preferred_for_its_own_instance() -> None:
    cluster = load(GOOD)
    assert "priority 100" in block(keepalived(cluster, "alpha"), "vrrp_instance mail")
    assert "priority 150" in block(keepalived(cluster, "beta"), "vrrp_instance mail")
    assert "unicast_src_ip 10.9.1.12" in block(keepalived(cluster, "beta"), "vrrp_instance web")


def test_a_service_of_several_ports_goes_by_its_mark() -> None:
    text = keepalived(load(GOOD))
    lines = block(text, "virtual_server fwmark 7")
    assert lines[: lines.index("real_server 10.9.2.21 {")] == [
        "lvs_sched sh",
        "sh-fallback",
        "sh-port",
        "lvs_method NAT",
        "ip_family inet",
        "persistence_timeout 300",
        "persistence_granularity 255.255.255.0",
        "alpha",
        "quorum 2",
        "hysteresis 1",
        "inhibit_on_failure",
        "sorry_server 10.9.2.9",
        "sorry_server_lvs_method NAT",
    ]
    mark = load(GOOD).virtual("web6").mark
    assert "ip_family inet6" in block(text, f"virtual_server fwmark {mark}")


@pytest.mark.parametrize(
    ("real", "lines"),
    [
        ('check = { kind = "https", host = "a.example" }', ["SSL_GET {", "enable_sni", "virtualhost a.example"]),
        ('check = { kind = "connect", port = 81 }', ["TCP_CHECK {", "connect_port 81", "connect_timeout 3.0"]),
        ('check = { kind = "udp", send = "00", expect = "01xX" }', ["require_reply 01xX", "min_reply_length 2"]),
        (
            'check = { kind = "ldap", user = "cn=a", password_file = "/etc/pairkeep/a", timeout_s = 2.5 }',
            [
                'misc_path "/usr/bin/python3 -P -m appliance.health ldap 10.9.2.21 80 --timeout 2.5 '
                '--user cn=a --password-file /etc/pairkeep/a"',
                "misc_timeout 4",
                "user root",
            ],
        ),
        ('check = { kind = "sip" }', ['misc_path "/usr/bin/python3 -P -m appliance.health sip 10.9.2.21 80 '
                                      '--timeout 3.0 --tcp"']),
        ('port = 81\ncheck = { kind = "script", command = "/bin/a %a %p" }', ['misc_path "/bin/a 10.9.2.21 81"']),
        ('upper = 10\nlower = 5\nweight = 0', ["uthreshold 10", "lthreshold 5", "weight 0"]),
        ('check = { kind = "connect", interval_s = 0.5, retries = 4, retry_s = 0.1 }',
         ["delay_loop 0.5", "retry 4", "delay_before_retry 0.1", "warmup 0.5"]),
    ],
)  # fmt: skip
def test_a_real_server_is_checked_as_it_says(real: str, lines: list[str]) -> None:
    cluster = parse(PAIR + web("", real))
    port = cluster.virtual("web").reals[0].port
    found = block(keepalived(cluster), f"real_server 10.9.2.21 {port}")
    assert [line for line in lines if line not in found] == []


def test_a_server_without_check_has_none() -> None:
    assert block(keepalived(parse(PAIR + web("", 'check = "none"'))), "real_server 10.9.2.21 80") == ["weight 1"]


@pytest.mark.parametrize(
    ("virtual", "method"),
    [
        ("", "NAT"),
        ('forward = "dr"', "DR"),
        ('forward = "tun"', "TUN type ipip"),
        ('forward = "tun"\ntunnel = "gre"', "TUN type gre"),
        ('forward = "tun"\ntunnel = "gue"', "TUN type gue port 6080"),
        ('forward = "tun"\ntunnel = "gue"\ntunnel_port = 7000', "TUN type gue port 7000"),
    ],
)
def test_each_way_of_forwarding(virtual: str, method: str) -> None:
    text = keepalived(parse(PAIR + web(virtual)))
    assert f"lvs_method {method}" in block(text, "virtual_server 10.9.1.100 80")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60))
def test_text_that_is_expected_means_itself(text: str) -> None:
    r"""keepalived reads `\\` between quotes as `\`; what is left is a regular expression of PCRE."""
    import re

    written = lvs.pattern(text)
    assert not set('"$#!{}') & set(written)
    assert re.fullmatch(written.replace("\\\\", "\\"), text)


def test_what_a_group_moves_has_files_of_its_own() -> None:
    group = '[[group]]\nname = "web"\nresources = [{ address = "10.9.1.100/24" }, { virtual = "web" }]\n'
    text = f'{PAIR}[cluster2]\n{VIRTUAL}failover = "cluster"\n{REAL}{group}'.replace("[cluster2]\n", "")
    cluster = parse(text.replace("[node.alpha]", 'fencing = "manual"\n[node.alpha]'))
    files = render_all(cluster, "alpha")
    assert lvs.MAIN not in files
    assert "vrrp" not in files[lvs.VIRTUALS / "web.conf"]
    assert "real_server 10.9.2.21 80 {" in files[lvs.VIRTUALS / "web.conf"]


def test_directors_know_their_networks_and_where_they_tell_each_other() -> None:
    files = render_all(load(GOOD), "beta")
    assert files[lvs.NETWORKS] == "10.9.1.0/24\n10.9.2.0/24\nfd00:9::/64\n10.9.5.0/24\n"
    assert files[lvs.SYNC] == "2 224.0.0.81\n"
    assert lvs.SYNC not in render_all(parse(PAIR + web(more="[director]\nsync = false")), "beta")


def test_a_machine_that_is_no_director_has_none_of_this() -> None:
    assert not [path for path in render_all(parse(PAIR), "alpha") if path.is_relative_to(lvs.KEEPALIVED)]


def test_the_firewall_lets_services_and_directors_through() -> None:
    cluster = load(GOOD)
    text = render_all(cluster, "alpha")[FIREWALL]
    for line in (
        "10.9.1.100 . tcp . 30000-30100,",
        "10.9.1.101 . tcp . 0-65535,",
        "10.9.2.21 . tcp . 3307,",
        "ip daddr 10.9.1.100 tcp dport { 80, 443, 30000-30100 } meta mark set 7",
        f"ip6 daddr fd00:9::100 tcp dport {{ 80, 443 }} meta mark set {cluster.virtual('web6').mark}",
        "ip saddr . meta l4proto . th sport @replies4 accept",
        "ip saddr @workers2 udp dport 8848 accept",
        "meta l4proto vrrp ip ttl 255 accept",
    ):
        assert line in text
    # It is not reached by NAT, so nothing of it comes back this way.
    assert "10.9.5.21" not in text


def test_without_virtual_services_the_firewall_forwards_nothing() -> None:
    text = render_all(parse(PAIR), "alpha")[FIREWALL]
    assert "replies" not in text
    assert "vrrp" not in text


def test_elements_that_overlap_are_one() -> None:
    """nftables refuses a set with two elements that both hold a packet."""
    everything = 'port = 0\npersistence_s = 60\ncheck = "ping"\n'
    cluster = parse(PAIR + VRRP + VIRTUAL + REAL + SECOND.replace("port = 8080\n", everything))
    assert lvs.rules(cluster).services == {4: ("10.9.1.100 . tcp . 0-65535",), 6: ()}


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed here")
def test_nftables_accepts_the_rules(tmp_path: Path) -> None:
    text = render_all(load(GOOD), "alpha")[FIREWALL]
    (tmp_path / "rules").write_text(text)
    assert run(["unshare", "-rn", "nft", "-c", "-f", tmp_path / "rules"]).returncode == 0
