# SPDX-License-Identifier: GPL-2.0-or-later
"""A node's configuration comes back as it was; a report has no secret in it, wherever one was planted."""

from __future__ import annotations

import base64
import io
import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config.load import parse
from appliance.decide.view import BLANK, FIRST, Configuration, Record, Stamp
from appliance.drivers import disk_name
from appliance.errors import InputError
from appliance.files import replace_file
from appliance.lab.pair import CLUSTER_TOML
from appliance.render import SECRET, replication, write
from appliance.render.peers import shared_secret
from appliance.supervisor import store
from appliance.upkeep.collect import HIDDEN, archive, collect, scrub
from appliance.upkeep.keep import COMMIT, Backup, pack, put_back, unpack
from appliance.upkeep.places import disks_here
from appliance.upkeep.versions import Versions

BMC = "Tr0ub4dor&3"
SQL = "correct-horse-battery"
KEY = bytes(range(200, 256)) * 3
HASH = "$y$j9T$abcdefghij$0123456789ABCDEF"
RULE = disk_name.rule("/dev/disk/by-id/scsi-old", "/dev/disk/by-id/virtio-data")
OLD = "an-old-password-that-no-file-has"
LOOSE = "let-me-switch"
KEY_FILE = "etc/corosync/authkey"
RES = "etc/drbd.d/shopdata.res"
OWN_NETDEV = "etc/systemd/network/30-wg.netdev"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The root of a node, with secrets where they are on a real one."""
    files = {
        "etc/hostname": ("alpha\n", 0o644),
        "etc/hosts": ("127.0.0.1 localhost\n", 0o644),
        "etc/pairkeep/cluster.toml": (CLUSTER_TOML, 0o644),
        "etc/pairkeep/bmc.password": (f"{BMC}\n", 0o600),
        "etc/pairkeep/database.sql": (f"CREATE USER 'shop'@'%' IDENTIFIED BY PASSWORD '*{SQL}';\n", 0o600),
        "etc/corosync/corosync.conf": ("totem {\n}\n", 0o644),
        "etc/systemd/network/10-pairkeep-link1.network": ("[Match]\nName=ens3\n", 0o644),
        "etc/systemd/system/mariadb.service.d/50-pairkeep.conf": ("[Service]\nRestart=no\n", 0o644),
        "etc/systemd/system/mariadb.service.d/99-own.conf": ("[Service]\n", 0o644),
        "etc/udev/rules.d/90-pairkeep-data.rules": (RULE, 0o644),
        "etc/ssh/ssh_host_ed25519_key": ("a private key\n", 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": ("a public key\n", 0o644),
        "etc/ssh/sshd_config": ("of the image\n", 0o644),
        "etc/vconsole.conf": ("KEYMAP=de\n", 0o644),
        "etc/locale.conf": ("LANG=C.UTF-8\n", 0o644),
        "etc/systemd/timesyncd.conf.d/pairkeep.conf": ("[Time]\nNTP=10.9.1.1\n", 0o644),
        "etc/nftables.d/own.nft": ("tcp dport 8080 accept\n", 0o644),
        "root/.ssh/authorized_keys": ("ssh-ed25519 AAAA admin\n", 0o600),
        "etc/shadow": (f"root:{HASH}:20000:0:99999:7:::\ndaemon:*:20000::::::\n", 0o640),
        "var/lib/pairkeep/versions/0/cluster.toml": (CLUSTER_TOML, 0o644),
        "var/lib/pairkeep/record.json": ("{}", 0o644),
    }
    for name, (text, mode) in files.items():
        replace_file(tmp_path / name, text.encode(), mode)
    replace_file(tmp_path / KEY_FILE, KEY, 0o400)
    write(replication(parse(CLUSTER_TOML), "alpha", tmp_path), tmp_path, SECRET)
    return tmp_path


# Backup -----------------------------------------------------------------------------------------------


def test_a_node_comes_back_as_it_was(node: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    backup = unpack(pack("alpha", 1.0, node), "a.tar.gz")
    assert backup.node == "alpha"
    assert backup.password == HASH
    blank = tmp_path_factory.mktemp("blank")
    put_back(backup, lambda: None, blank)
    restored = {str(p.relative_to(blank)) for p in blank.rglob("*") if p.is_file()}
    had = {str(p.relative_to(node)) for p in node.rglob("*") if p.is_file()}
    assert had - restored == {
        "etc/shadow",
        "etc/ssh/sshd_config",
        "etc/systemd/system/mariadb.service.d/99-own.conf",
        "var/lib/pairkeep/record.json",
    }
    assert restored - had == {"var/lib/pairkeep/versions/0/about.json"}
    assert stat.S_IMODE((blank / "root/.ssh").stat().st_mode) == 0o700
    for name in restored & had:
        assert (blank / name).read_bytes() == (node / name).read_bytes()
        assert (blank / name).stat().st_mode == (node / name).stat().st_mode


APPLIED = CLUSTER_TOML.replace('prefer = "alpha"', 'prefer = "beta"')


def _below(root: Path) -> Versions:
    places = root / COMMIT, root / "var/lib/pairkeep/versions", root / "run/pairkeep/config.json"
    return Versions(*places, root, reload=lambda: None)


@pytest.mark.parametrize("draft", [APPLIED, CLUSTER_TOML, "a draft that is broken"])
def test_all_nodes_restored_run_by_what_was_in_force_and_not_by_what_first_boot_wrote(
    node: Path, tmp_path_factory: pytest.TempPathFactory, draft: str
) -> None:
    """Nobody has a record then, so all run by version 0."""
    _below(node).put_in_force(Configuration(1, APPLIED), "alpha")
    replace_file(node / COMMIT, draft.encode())
    backup = unpack(pack("alpha", 1.0, node), "a.tar.gz")
    assert backup.version == 1
    root = tmp_path_factory.mktemp("another")
    # What an earlier node on this disk has had.
    replace_file(root / "var/lib/pairkeep/versions/7/cluster.toml", b"of something else")
    put_back(backup, lambda: None, root)
    restored = _below(root)
    assert restored.start(BLANK, "alpha") == (FIRST, APPLIED)
    assert restored.edited.read_text() == APPLIED
    assert [(v["version"], v["why"]) for v in restored.list()] == [(0, "version 1, from a backup")]
    unapplied = root / f"{COMMIT}.unapplied"
    assert (unapplied.read_text() if unapplied.exists() else APPLIED) == draft


def test_a_backup_before_the_supervisor_has_started_has_what_is_on_record(node: Path) -> None:
    record = Record(Stamp(4), config=Configuration(3, APPLIED))
    store.save(record, node / "var/lib/pairkeep/record.json")
    backup = unpack(pack("alpha", 1.0, node), "a.tar.gz")
    assert (backup.version, backup.files[COMMIT][0].decode()) == (3, APPLIED)


def test_what_could_not_be_restored_is_not_packed(node: Path) -> None:
    (node / "var/lib/pairkeep/versions/0/cluster.toml").unlink()
    replace_file(node / COMMIT, b"[cluster]")
    with pytest.raises(InputError, match="version 0 of cluster.toml, which is in force"):
        pack("alpha", 1.0, node)


def test_the_history_in_an_older_backup_is_accepted_and_dropped(tmp_path: Path) -> None:
    old = {"backup.json": ABOUT, COMMIT: APPLIED, "var/lib/pairkeep/versions/2/cluster.toml": CLUSTER_TOML}
    old[KEY_FILE] = "a key"
    put_back(unpack(_packed(**old), "a.tar.gz"), lambda: None, tmp_path)
    assert _below(tmp_path).start(BLANK, "alpha") == (FIRST, APPLIED)
    assert not (tmp_path / "var/lib/pairkeep/versions/2").exists()


def test_what_makes_it_a_node_comes_last_so_that_power_may_go_at_any_moment(node: Path, tmp_path: Path) -> None:
    backup = unpack(pack("alpha", 1.0, node), "a.tar.gz")
    root = tmp_path / "other"

    def cut() -> None:
        assert (root / "etc/corosync/authkey").exists()
        assert not (root / COMMIT).exists()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        put_back(backup, cut, root)
    assert not (root / COMMIT).exists()
    put_back(backup, lambda: None, root)
    assert (root / COMMIT).read_text() == CLUSTER_TOML


def test_a_restored_node_knows_its_peer_by_the_key_whatever_the_backup_s_files_say(
    node: Path, tmp_path: Path
) -> None:
    replace_file(node / RES, b"resource shopdata {\n}\n")
    root = tmp_path / "other"
    put_back(unpack(pack("alpha", 1.0, node), "a.tar.gz"), lambda: None, root)
    assert f'shared-secret "{shared_secret(KEY, "shopdata")}";' in (root / RES).read_text()
    assert stat.S_IMODE((root / RES).stat().st_mode) == 0o600


def test_only_root_can_read_a_backup(node: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    file.write_text("was there before, for all to read")
    file.chmod(0o644)
    replace_file(file, pack("alpha", 1.0, node), 0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_machine_that_is_no_node_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no node of a cluster"):
        pack("alpha", 1.0, tmp_path)


def _packed(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


ABOUT = json.dumps({"format": 1, "node": "alpha"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found no backup of a node"),
        (b"not a tar at all", "found no backup of a node"),
        (_packed(**{"etc/hostname": "alpha"}), "found no backup of a node"),
        (_packed(**{"backup.json": "[]"}), "found no backup of a node"),
        (_packed(**{"backup.json": '{"format": 9, "node": "alpha"}'}), "found format 9, expected 1"),
        (_packed(**{"backup.json": ABOUT}), "found no etc/pairkeep/cluster.toml in it"),
        (_packed(**{"backup.json": ABOUT, "etc/../../evil": "x"}), "which belongs in no backup"),
        (_packed(**{"backup.json": ABOUT, "/etc/hostname": "x"}), "which belongs in no backup"),
        (_packed(**{"backup.json": ABOUT, "etc/shadow": "x"}), "'etc/shadow', which belongs in no backup"),
        (_packed(**{"backup.json": ABOUT, COMMIT: "[cluster]"}), "etc/pairkeep/cluster.toml of a.tar.gz"),
        (_packed(**{"backup.json": ABOUT, COMMIT: CLUSTER_TOML}), "found no etc/corosync/authkey in it"),
        (
            _packed(**{"backup.json": '{"format": 1, "node": "gamma"}', COMMIT: CLUSTER_TOML}),
            "found node 'gamma', expected one of its cluster.toml",
        ),
    ],
)
def test_what_is_no_backup_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as refused:
        unpack(data, "a.tar.gz")
    assert message in str(refused.value)


@pytest.mark.parametrize("name", ["etc/ssh/sshd_config", "x/etc/ssh/ssh_host_rsa_key", "root/.ssh/config"])
def test_what_is_beside_what_belongs_in_a_backup_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="which belongs in no backup"):
        unpack(_packed(**{"backup.json": ABOUT, COMMIT: CLUSTER_TOML, name: "x"}), "a.tar.gz")


def test_a_password_that_is_more_than_one_is_refused() -> None:
    about = json.dumps({"format": 1, "node": "alpha", "password": "$y$a\ndaemon:$y$b"})
    with pytest.raises(InputError, match="not hashed"):
        unpack(_packed(**{"backup.json": about, COMMIT: CLUSTER_TOML}), "a.tar.gz")


DISK = "/dev/disk/by-id/virtio-data"


def _machine(root: Path, *disks: str) -> Path:
    for disk in disks:
        replace_file(root / disk.removeprefix("/"), b"")
    return root


def test_a_disk_goes_by_the_name_that_all_nodes_have_for_theirs(node: Path, tmp_path: Path) -> None:
    backup = unpack(pack("alpha", 1.0, node), "a.tar.gz")
    here = _machine(tmp_path / "here", DISK)
    assert disks_here(backup, {}, here) == (backup, {"shopdata": DISK})
    # The image was written anew: the rule that names the disk is still in the backup only.
    anew = _machine(tmp_path / "anew", "/dev/disk/by-id/scsi-old")
    assert disks_here(backup, {}, anew) == (backup, {"shopdata": "/dev/disk/by-id/scsi-old"})


def test_another_disk_takes_the_place_of_one_that_is_not_there(node: Path, tmp_path: Path) -> None:
    backup = unpack(pack("alpha", 1.0, node), "a.tar.gz")
    other = _machine(tmp_path / "other", "/dev/disk/by-id/scsi-new")
    with pytest.raises(InputError, match="virtio-data does not exist on this machine"):
        disks_here(backup, {}, other)
    given, places = disks_here(backup, {"shopdata": "/dev/disk/by-id/scsi-new"}, other)
    assert places == {"shopdata": "/dev/disk/by-id/scsi-new"}
    rules = given.files["etc/udev/rules.d/90-pairkeep-data.rules"][0].decode()
    assert disk_name.named(rules) == {DISK: "/dev/disk/by-id/scsi-new"}
    assert given.files[COMMIT] == backup.files[COMMIT]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shopdata": "/dev/disk/by-id/scsi-new"}, "virtio-data exists on this machine"),
        ({"other": "/dev/disk/by-id/scsi-new"}, "there is no DRBD resource 'other' on alpha; there is shopdata"),
    ],
)
def test_no_disk_is_taken_for_another_without_need(
    node: Path, tmp_path: Path, given: dict[str, str], message: str
) -> None:
    backup = unpack(pack("alpha", 1.0, node), "a.tar.gz")
    with pytest.raises(InputError, match=message):
        disks_here(backup, given, _machine(tmp_path / "here", DISK, "/dev/disk/by-id/scsi-new"))


def test_a_link_in_a_backup_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        link = tarfile.TarInfo("etc/hostname")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    with pytest.raises(InputError, match="no plain file"):
        unpack(out.getvalue(), "a.tar.gz")


def test_a_backup_is_a_value(node: Path) -> None:
    assert isinstance(unpack(pack("alpha", 1.0, node), "a"), Backup)


# Report -----------------------------------------------------------------------------------------------

LEAKS: dict[str, Callable[[], str]] = {
    "a program that prints its password": lambda: f"fence_ipmilan: login with {BMC} failed",
    "SQL in a log": lambda: f"CREATE USER x IDENTIFIED BY '{SQL}'",
    "SQL with a password that is in no file": lambda: f"ALTER USER x IDENTIFIED BY '{OLD}'",
    "an option": lambda: f'password = "{OLD}"',
    "an option without quotes": lambda: f"snmp_priv_passwd={OLD}",
    "JSON": lambda: json.dumps({"password": OLD}),
    "the key as hexadecimal": KEY.hex,
    "the key in base64": lambda: base64.b64encode(KEY).decode(),
    "a hash": lambda: f"root:{HASH}:20000",
    "a password in a file that all may read": lambda: f"fence_apc: login with {LOOSE} failed",
    "what DRBD's machines know each other by": lambda: f'net {{ shared-secret "{OLD}"; }}',
    "the same as drbdadm tells of it": lambda: f"drbdsetup-84 connect --shared-secret={OLD} failed",
    "a tunnel's private key": lambda: f"[WireGuard]\nPrivateKey={OLD}\nListenPort=51820",
    "a tunnel's other key": lambda: f"PresharedKey = {OLD}",
    "an agent's token": lambda: f'api_token = "{OLD}"',
    "an agent's key": lambda: f"apikey={OLD} community={OLD}",
    "a quote in quotes": lambda: json.dumps({"passwd": f'"{OLD}'}),
    "a private key": lambda: f"-----BEGIN OPENSSH PRIVATE KEY-----\n{OLD}\n-----END OPENSSH PRIVATE KEY-----",
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_no_planted_secret_is_in_a_report(node: Path, leak: Callable[[], str]) -> None:
    named = 'fence = { agent = "fence_apc", passwd_file = "/srv/apc.password" }'
    replace_file(node / COMMIT, CLUSTER_TOML.replace("[node.beta]", f"{named}\n[node.beta]").encode())
    replace_file(node / "srv/apc.password", f"{LOOSE}\n".encode(), 0o644)
    replace_file(node / OWN_NETDEV, b"[NetDev]\nName=wg0\n", 0o640)
    found = collect(node, lambda argv: f"{' '.join(argv)}: before {leak()} after\n")
    packed = archive(found, "report", 1.0)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        texts = {m.name: (tar.extractfile(m) or io.BytesIO()).read().decode() for m in tar.getmembers()}
    for name, text in texts.items():
        for secret in (BMC, SQL, OLD, LOOSE, HASH, KEY.hex(), base64.b64encode(KEY).decode()):
            assert secret not in text, name
    journal = texts["report/journal.txt"]
    assert HIDDEN in journal
    assert "before" in journal
    assert "after" in journal
    assert texts["report/files/etc/pairkeep/cluster.toml"] == (node / COMMIT).read_text()
    assert shared_secret(KEY, "shopdata") not in str(texts)
    # Nothing in it looks like a secret.
    assert texts[f"report/files/{OWN_NETDEV}"] == "(left out: found mode 0640, so not everyone may read it)\n"
    assert not [name for name in texts if "password" in name or "authkey" in name or "shadow" in name]


def test_what_is_no_secret_stays() -> None:
    text = (
        'daemon started; password_file is missing\n    token: 1000\n{"token": 1000, "token_ms": 1000}\n'
        'identity_file = "/root/.ssh/id", token_file = "/etc/pairkeep/bmc.token"\nPublicKey=abcdef=\n'
    )
    assert scrub(text, []) == text


def test_a_question_without_an_answer_is_told_in_its_place() -> None:
    from appliance.upkeep.collect import ask

    assert "is not installed" in ask(["no-such-program-anywhere"])
