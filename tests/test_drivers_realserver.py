# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server's addresses and ways, on the real kernel: each test is root in a network of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from appliance.config.realserver import RealServer
from appliance.config.realserver_file import parse
from appliance.lvs.realserver import elsewhere, own_address
from appliance.lvs.script import script

DR = '[realserver.web]\nforwarding = "dr"\naddresses = ["192.0.2.100", "fd00:9::100"]\n'
OTHER = '[realserver.api]\nforwarding = "dr"\naddresses = ["192.0.2.101"]\n'
NAT = '[realserver.back]\nforwarding = "nat"\nnetwork = "192.0.2.0/24"\ngateway = "192.0.2.1"\n'
# A card in a network of real servers, as far as a namespace has such a thing.
CARD = """\
ip link set lo up
ip link add card type veth peer name other
ip address add 192.0.2.21/24 dev card
ip link set card up
ip link set other up
"""
LOOK = """\
ip -o address show | grep -c '192.0.2.10[01]/32\\|fd00:9::100/128' || true
cat /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce
ip rule show | grep -c 192.0.2.21 || true
ip route show table all | grep -c 'via 192.0.2.1 dev' || true
"""
DRIVE = """\
import json, sys
from pathlib import Path
from appliance.config.realserver_file import parse
from appliance.drivers.realserver import RealServerDriver
from appliance.errors import PairkeepError

servers = {one.name: RealServerDriver(one, kept=Path(sys.argv[2])) for one in parse(sys.argv[1])}
for line in sys.stdin:
    name, word = line.split()
    try:
        print(json.dumps(getattr(servers[name], word)()))
    except PairkeepError as error:
        print(json.dumps(error.message))
"""


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Runs lines of shell in a network namespace of their own, and returns what they print, line by line."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs iproute2 and util-linux")
    own_user = () if os.geteuid() == 0 else ("--user", "--map-root-user")

    def run(text: str) -> list[str]:
        drive = f'drive() {{ {sys.executable} -c "$DRIVE" "$1" {tmp_path}/kept; }}\n'
        done = subprocess.run(
            [
                "unshare",
                *own_user,
                "--net",
                "--mount",
                "sh",
                "-c",
                f"set -e\nmount -t tmpfs none /run\n{drive}{text}",
            ],
            env={**os.environ, "DRIVE": DRIVE, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_direct_routing_is_made_and_taken_back_whole(shell: Any) -> None:
    words = "printf '%s\\n' 'web state' 'web start' 'web state' 'web start' 'web faults'"
    found = shell(f"{CARD}{words} | drive '{DR}'\n{LOOK}printf 'web stop\\nweb state\\n' | drive '{DR}'\n{LOOK}")
    assert [json.loads(line) for line in found[:5]] == ["stopped", None, "started", None, []]
    assert found[5:8] == ["2", "1", "2"]
    assert [json.loads(line) for line in found[10:12]] == [None, "stopped"]
    assert found[12:15] == ["0", "0", "0"]


def test_settings_stay_until_the_last_of_them_is_gone_and_become_what_they_were(shell: Any) -> None:
    look = "cat /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce\n"
    found = shell(
        f"{CARD}echo 1 >/proc/sys/net/ipv4/conf/all/arp_announce\n"
        f"printf 'web start\\napi start\\nweb stop\\n' | drive '{DR}{OTHER}'\n{look}"
        f"printf 'web stop\\napi stop\\n' | drive '{DR}{OTHER}'\n{look}"
    )
    assert found == ["null", "null", "null", "1", "2", "null", "null", "0", "1"]


def test_what_an_administrator_made_stricter_is_left_alone(shell: Any) -> None:
    look = "cat /proc/sys/net/ipv4/conf/all/arp_ignore\n"
    found = shell(
        f"{CARD}echo 2 >/proc/sys/net/ipv4/conf/all/arp_ignore\n"
        f"printf 'web start\\nweb faults\\n' | drive '{DR}'\n{look}echo 'web stop' | drive '{DR}'\n{look}"
    )
    assert found == ["null", "[]", "2", "null", "2"]


def test_what_is_lost_is_seen_and_made_again(shell: Any) -> None:
    found = shell(
        f"{CARD}echo 'web start' | drive '{DR}'\n"
        "ip address delete 192.0.2.100/32 dev lo\necho 0 >/proc/sys/net/ipv4/conf/all/arp_ignore\n"
        f"printf 'web state\\nweb faults\\nweb start\\nweb faults\\n' | drive '{DR}'\n"
    )
    faults = ["192.0.2.100 on lo: missing", "net/ipv4/conf/all/arp_ignore is 0, not 1"]
    assert [json.loads(line) for line in found] == [None, "failed", faults, None, []]


def test_an_address_that_a_card_has_as_well_is_refused(shell: Any) -> None:
    found = shell(
        f"{CARD}ip address add 192.0.2.100/24 dev card\nprintf 'web start\\nweb state\\n' | drive '{DR}'\n{LOOK}"
    )
    assert json.loads(found[0]) == "192.0.2.100 is also on card: this machine would answer ARP for it"
    assert json.loads(found[1]) == "stopped"
    assert found[2] == "0"


def test_answers_of_nat_go_by_the_director(shell: Any) -> None:
    ask = "ip -o route get 198.51.100.7 from 192.0.2.21; ip -o route get 192.0.2.50 from 192.0.2.21\n"
    found = shell(
        f"{CARD}ip route add default via 192.0.2.254\necho 'back start' | drive '{NAT}'\n{ask}"
        f"printf 'back state\\nback stop\\nback state\\n' | drive '{NAT}'\n{ask}{LOOK}"
    )
    assert found[0] == "null"
    assert "via 192.0.2.1 dev card" in found[1]
    assert "via" not in found[2]
    assert [json.loads(line) for line in found[3:6]] == ["started", None, "stopped"]
    assert "via 192.0.2.254 dev card" in found[6]
    assert found[-2:] == ["0", "0"]


def test_without_a_card_in_its_network_nothing_is_begun_and_stopping_works(shell: Any) -> None:
    found = shell(f"ip link set lo up\nprintf 'back start\\nback stop\\n' | drive '{NAT}'\n")
    assert json.loads(found[0]) == "no interface of this machine is in 192.0.2.0/24"
    assert json.loads(found[1]) is None


WATCH = """
import sys
from pathlib import Path
from appliance import realserver
watch = realserver.Watch(Path(sys.argv[2]))
watch.read(Path(sys.argv[1]))
watch.put_right("taken up")
if sys.argv[3:]:
    watch.take_back()
"""


def test_a_file_that_changed_while_nobody_watched_leaves_nothing_behind(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(DR)
    (tmp_path / "other.toml").write_text(OTHER)
    (tmp_path / "watch.py").write_text(WATCH)
    watch = f"{sys.executable} {tmp_path}/watch.py {tmp_path}"
    look = "ip -o -4 address show dev lo | grep -o '192.0.2.10[01]' || true\n"
    found = shell(
        f"{CARD}mkdir -p /run/pairkeep\n{watch}/one.toml {tmp_path}/kept.toml\n{look}echo now\n"
        f"{watch}/other.toml {tmp_path}/kept.toml\n{look}echo end\n"
        f"{watch}/other.toml {tmp_path}/kept.toml stop\n{look}"
    )
    assert found == ["192.0.2.100", "now", "192.0.2.101", "end"]
    assert not (tmp_path / "kept.toml").exists()


def test_the_script_does_and_undoes_the_same(shell: Any, tmp_path: Path) -> None:
    file = tmp_path / "realserver.sh"
    file.write_text(script(parse(DR + OTHER + NAT)))
    words = "printf '%s\\n' 'web state' 'api state' 'back state'"
    found = shell(
        f"{CARD}sh {file} status && exit 9\nsh {file} start\nsh {file} start\nsh {file} status >/dev/null\n{LOOK}"
        f"{words} | drive '{DR}{OTHER}{NAT}'\nsh {file} stop\nsh {file} stop\n{LOOK}"
        f"{words} | drive '{DR}{OTHER}{NAT}'\nsh {file} nonsense && exit 9 || true\n"
    )
    rest = found[-16:]
    assert rest[:5] == ["3", "1", "2", "1", "1"]
    assert rest[5:8] == ['"started"'] * 3
    assert rest[8:13] == ["0", "0", "0", "0", "0"]
    assert rest[13:] == ['"stopped"'] * 3


def test_the_script_is_plain_shell() -> None:
    text = script(parse(DR + OTHER + NAT))
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", "-s", "sh", "-"], input=text, text=True, check=False).returncode == 0


SHOWN = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
1: lo    inet 10.9.1.100/32 scope global lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.9.1.101/24 brd 10.9.1.255 scope global eth0\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.9.1.21/24 brd 10.9.1.255 scope global eth0\\       valid_lft forever preferred_lft forever
2: eth0    inet6 fd00:9::100/64 scope global \\       valid_lft forever preferred_lft forever
""".splitlines()
FAR = RealServer("far", "tun", ("10.9.1.100", "10.9.1.101", "fd00:9::100"), "10.9.1.0/24")


def test_the_script_runs_nothing_that_stands_in_a_value() -> None:
    text = script((RealServer("far", "tun", ("fd00::1%$(id) $own",), "10.9.1.0/24"),))
    assert """ address add 'fd00::1%$(id) '"$own"/128 dev pk6-far nodad """ in text
    assert ' type sit local "$own" ' in text


def test_the_own_address_is_neither_a_service_address_nor_on_lo() -> None:
    assert own_address(FAR, SHOWN) == "10.9.1.21"
    assert own_address(FAR, SHOWN[:3]) is None


def test_service_addresses_on_cards_are_found() -> None:
    assert elsewhere(FAR, SHOWN) == [("10.9.1.101", "eth0"), ("fd00:9::100", "eth0")]
