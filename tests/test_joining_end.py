# SPDX-License-Identifier: GPL-2.0-or-later
"""How a joining ends: for all machines or for none, and what one in doubt is told afterwards."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.joining import Bundle, JoinError, channel, host, joiner, records
from appliance.joining import __main__ as serving
from tests.joining_site import BETA, BUNDLE, THREE, TOML, WITNESS, Creator, Machine


def test_when_one_cannot_stage_it_nobody_keeps_it_and_it_can_be_tried_again(
    create: Callable[..., Creator], beta: Machine, witness: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    creator, screen = create()
    beta.join(creator, BETA)
    screen.heard("joined")
    witness.join(creator, WITNESS)
    screen.heard("joined")
    save = records.save_staged

    def full(folder: Path, record: records.Staged) -> None:
        if folder == witness.folder:
            raise OSError(28, "No space left on device")
        save(folder, record)

    with monkeypatch.context() as patch:
        patch.setattr(records, "save_staged", full)
        with pytest.raises(
            JoinError, match="witness has not got the configuration: it cannot be saved there: No sp"
        ):
            creator.finish(THREE)
    assert "No space left" in beta.heard("given up")
    assert records.load_staged(beta.folder) is None
    assert records.load_hosted(screen.folder) is None
    creator.finish(THREE)
    assert beta.joined() == THREE
    assert witness.joined() == replace(THREE, database=None)


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [
        (
            replace(BUNDLE, secrets={"/etc/cron.d/x": "* * * * * root x"}),
            "found a secret for the file '/etc/cron.d/x'",
        ),
        (replace(BUNDLE, secrets={"../shadow": ""}), "found a secret for the file '../shadow'"),
        (replace(BUNDLE, secrets={"cluster.toml": ""}), "found a secret for the file 'cluster.toml'"),
        (replace(BUNDLE, cluster_key=bytes(127)), "found a key of 127 bytes, expected 128 to 4096"),
        (replace(BUNDLE, cluster_toml=TOML + "[vrrp]\nx = 1\n"), "it cannot be used there: vrrp.x: found 1"),
        (replace(BUNDLE, cluster_toml=TOML.replace("beta", "gamma")), "found no beta in it, which is that machine"),
    ],
)
def test_what_a_machine_could_not_become_a_node_by_it_does_not_take(
    create: Callable[..., Creator], beta: Machine, monkeypatch: pytest.MonkeyPatch, bundle: Bundle, reason: str
) -> None:
    monkeypatch.setattr(host, "node_names", lambda _bundle: set())
    creator, screen = create()
    beta.join(creator, BETA)
    screen.heard("joined")
    with pytest.raises(JoinError, match=f"beta has not got the configuration: {re.escape(reason)}"):
        creator.finish(bundle)
    assert not (beta.folder / records.STAGED).exists()
    creator.finish(BUNDLE)
    assert beta.joined() == BUNDLE


def test_one_that_hangs_is_not_waited_for_and_learns_afterwards_that_nothing_came_of_it(
    create: Callable[..., Creator], beta: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "STAGE_S", 0.3)
    creator, screen = create()
    beta.join(creator, BETA)
    screen.heard("joined")
    awake, save = threading.Event(), records.save_staged

    def slowly(folder: Path, record: records.Staged) -> None:
        awake.wait(20)
        save(folder, record)

    monkeypatch.setattr(records, "save_staged", slowly)
    with pytest.raises(JoinError, match="beta has not got the configuration: it did not answer in time"):
        creator.finish(BUNDLE)
    assert screen.heard("left") == "beta"
    awake.set()
    # It has staged the bundle by now, cannot say so, and asks.
    assert beta.refusal() == "alpha did not form the cluster; this machine keeps nothing of it"
    assert "alpha" in beta.heard("in doubt")
    assert records.load_staged(beta.folder) is None
    forgotten(screen)


def forgotten(screen: Machine) -> None:
    """The host hears that it was understood a moment later."""
    deadline = time.monotonic() + 10
    while records.load_hosted(screen.folder) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_that_left_a_moment_ago_is_missed_before_anything_is_sent(
    create: Callable[..., Creator], beta: Machine
) -> None:
    creator, screen = create()
    beta.join(creator, BETA)
    screen.heard("joined")
    with pytest.raises(JoinError, match="witness has not joined, or left"):
        creator.finish(THREE)
    with pytest.raises(JoinError, match="names no nodes"):
        creator.finish(replace(BUNDLE, cluster_toml="x"))
    creator.finish(BUNDLE)
    assert beta.joined() == BUNDLE


def test_what_is_kept_is_for_root_only_and_goes(create: Callable[..., Creator], beta: Machine) -> None:
    creator, screen = create()
    beta.join(creator, BETA)
    screen.heard("joined")
    creator.finish(BUNDLE)
    beta.joined()
    for machine, name in ((screen, records.HOSTED), (beta, records.STAGED)):
        assert (machine.folder / name).stat().st_mode & 0o777 == 0o600
        assert joiner.resume(on_event=machine.on_event, folder=machine.folder) == BUNDLE
        joiner.forget(folder=machine.folder)
        assert joiner.resume(on_event=machine.on_event, folder=machine.folder) is None
        assert not [path for path in machine.folder.iterdir() if path.name != ".lock"]


def in_doubt(host: Path, port: int, folder: Path) -> None:
    """As a power cut leaves beta: the host has formed the cluster, and beta has not heard it."""
    session, key = "ab" * channel.ID_BYTES, bytes(range(32))
    records.save_hosted(host, records.Hosted("a", "commit", {session: key}, BUNDLE))
    records.save_staged(folder, records.Staged("127.0.0.1", port, "alpha", session, key, "a", BUNDLE))


def at_once(kind: str, text: str) -> None:
    raise AssertionError(f"it is told nothing: {kind}: {text}")


def test_after_beginning_anew_nobody_is_told_that_the_cluster_was_formed(
    create: Callable[..., Creator], beta: Machine
) -> None:
    """One that asks would become a node of a cluster whose first machine knows nothing of it."""
    creator, screen = create()
    in_doubt(screen.folder, creator.port, beta.folder)
    joiner.abandon(folder=screen.folder)
    assert "s3cret" not in (screen.folder / records.HOSTED).read_text()
    assert joiner.resume(on_event=screen.on_event, folder=screen.folder) is None
    gone = "the cluster that alpha formed is not there any more: somebody has begun anew on alpha"
    with pytest.raises(JoinError, match=gone):
        joiner.resume(on_event=at_once, folder=beta.folder)
    assert records.load_staged(beta.folder) is None
    forgotten(screen)


def test_one_that_asks_only_after_another_cluster_was_formed_is_told_too(
    tmp_path: Path, create: Callable[..., Creator], beta: Machine, witness: Machine
) -> None:
    in_doubt(tmp_path / "alpha", 0, beta.folder)
    joiner.abandon(folder=tmp_path / "alpha")
    creator, screen = create()
    witness.join(creator, WITNESS)
    screen.heard("joined")
    creator.finish(replace(BUNDLE, cluster_toml=TOML.replace("[node.beta]", "[node.witness]")))
    staged = records.load_staged(beta.folder)
    assert staged is not None
    records.save_staged(beta.folder, replace(staged, port=creator.port))
    with pytest.raises(JoinError, match="alpha did not form the cluster"):
        joiner.resume(on_event=at_once, folder=beta.folder)


def test_the_port_is_open_again_after_the_rules_were_loaded_anew(
    tmp_path: Path, beta: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules: set[int] = set()
    monkeypatch.setattr(serving, "OPEN_AGAIN_S", 0.05)
    monkeypatch.setattr(serving, "open_port", lambda port, _for_s: rules.add(port))
    monkeypatch.setattr(serving, "close_port", rules.discard)
    with contextlib.closing(host.listen(0)) as free:
        port = free.getsockname()[1]
    in_doubt(tmp_path, port, beta.folder)
    serves = threading.Thread(target=serving.serve, args=(tmp_path, port, 60.0), daemon=True)
    serves.start()
    for _ in range(2):
        deadline = time.monotonic() + 10
        while port not in rules:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # As `nft -f` does.
        rules.clear()
    assert joiner.resume(on_event=beta.on_event, folder=beta.folder) == BUNDLE
    serves.join(10)
    assert not serves.is_alive()
    assert not rules


def test_the_host_of_a_cluster_that_is_set_up_still_tells_who_is_in_doubt(
    create: Callable[..., Creator], beta: Machine
) -> None:
    creator, screen = create()
    in_doubt(screen.folder, creator.port, beta.folder)
    joiner.forget(folder=screen.folder)
    assert joiner.resume(on_event=at_once, folder=beta.folder) == BUNDLE
