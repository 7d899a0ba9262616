# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine does at boot by itself: with no answers, good ones, wrong ones, and after a power cut."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from appliance import joining
from appliance.errors import PairkeepError
from appliance.firstboot import __main__ as boot
from appliance.firstboot import compose, devices, forming, install, sources, state, steps, this_machine
from appliance.firstboot.answers import Answers
from appliance.firstboot.given import Given
from appliance.firstboot.steps import Step
from appliance.firstboot.wizard import Wizard
from appliance.joining import records
from appliance.lab.pair import ROLES
from appliance.lab.pair import answers as lab_answers
from tests.test_wizard_setup_file import GOOD as SETUP
from tests.wizard_machine import BLANK, FACTS, GOOD, ToyMachine


@dataclass
class Box:
    """A machine's folders, and what its steps did."""

    folder: Path
    machine: ToyMachine = field(default_factory=ToyMachine)
    done: list[Answers] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)
    missing: tuple[str, ...] = ()
    settled: int = 0

    @property
    def notice(self) -> str:
        return boot.NOTICE.read_text() if boot.NOTICE.exists() else ""

    def wait(self, names: Collection[str], _report: Callable[[str], None]) -> tuple[str, ...]:
        self.waited += names
        return self.missing

    def settle(self) -> None:
        self.settled += 1

    def give(self, text: str) -> None:
        (self.folder / sources.NAME).write_text(text)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    box = Box(tmp_path)
    folder = tmp_path / "lib"
    steps_of = (Step("the only one", box.done.append),)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(sources, "_BY_LABEL", tmp_path / "no-disks")
    for module in (boot, state):
        monkeypatch.setattr(module, "STATE", folder / "setup.json")
    monkeypatch.setattr(state, "save", partial(state.save, path=folder / "setup.json"))
    monkeypatch.setattr(state, "load", partial(state.load, path=folder / "setup.json"))
    monkeypatch.setattr(boot, "AGREED", (folder / "joining/hosted.json", folder / "joining/staged.json"))
    monkeypatch.setattr(boot, "CLUSTER_TOML", tmp_path / "cluster.toml")
    monkeypatch.setattr(boot, "NOTICE", tmp_path / "run" / "notice")
    monkeypatch.setattr(install, "RECORDS", folder / "joining")
    monkeypatch.setattr(install, "install", partial(install.install, steps=steps_of))
    monkeypatch.setattr(joining, "forget", partial(joining.forget, folder=folder / "joining"))
    monkeypatch.setattr(forming, "resume", partial(joining.resume, folder=folder / "joining"))
    monkeypatch.setattr(devices, "settle", box.settle)
    monkeypatch.setattr(devices, "wait_for", box.wait)
    monkeypatch.setattr(this_machine, "ThisMachine", lambda: box.machine)
    return box


def agreed() -> joining.Bundle:
    """As the power cut finds a machine that has just formed a cluster, with nothing of it written yet."""
    given = Given(FACTS, GOOD)
    own = compose.candidate(given)
    links = tuple(link.replace("11/", "12/") for link in own.links)
    beta = joining.Candidate("beta", "worker", own.version, 0.0, links, own.disk, own.disk_bytes, {})
    manual = Given(FACTS, {**GOOD, "fencing": {"how": "manual"}})
    made = compose.bundle(manual, own, (beta,))
    state.save(state.State(manual.values, "summary"))
    records.save_hosted(boot.AGREED[0].parent, records.Hosted("a", "commit", bundle=made))
    return made


def test_without_answers_the_machine_waits(box: Box) -> None:
    assert boot.main() == 0
    assert (box.done, box.notice) == ([], "")


def test_answers_for_all_at_once_set_it_up(box: Box) -> None:
    box.give(lab_answers(ROLES[0]))
    assert boot.main() == 0
    assert [answers.node for answers in box.done] == ["alpha"]


def test_wrong_answers_are_told_on_the_consoles(box: Box) -> None:
    box.give(lab_answers(ROLES[0]).replace('node = "alpha"', 'node = "gamma"'))
    assert boot.main() == 2
    assert box.done == []
    assert box.notice == 'pairkeep.toml: node: found "gamma", expected one of alpha, beta, witness\n'


def test_answers_for_the_pages_lead_to_where_others_have_to_join(box: Box) -> None:
    box.give(SETUP)
    assert boot.main() == 0
    assert (state.load().page, box.done, box.notice) == ("gather", [], "")
    assert boot.main() == 0
    assert state.load().page == "gather"


def test_an_answer_that_the_machine_refuses_leaves_the_wizard_there(box: Box) -> None:
    box.machine.owners = {"10.9.1.100": "52:54:00:aa:bb:cc"}
    box.give(SETUP)
    assert boot.main() == 2
    taken = 'found "10.9.1.100/24", which the machine with the card 52:54:00:aa:bb:cc has already'
    assert box.notice == f"pairkeep.toml: setup.service.address: {taken}\n"
    saved = state.load()
    assert (saved.page, saved.values["service"]["address"]) == ("service", "10.9.1.100/24")


def test_a_file_that_was_corrected_is_taken_at_the_next_boot(box: Box) -> None:
    box.machine.owners = {"10.9.1.100": "52:54:00:aa:bb:cc"}
    box.give(SETUP)
    assert boot.main() == 2
    box.give(SETUP.replace("10.9.1.100", "10.9.1.101").replace('layout = "de"', 'layout = "uk"'))
    assert boot.main() == 0
    saved = state.load()
    assert (saved.page, saved.values["service"]["address"]) == ("gather", "10.9.1.101/24")
    assert saved.values["keyboard"]["layout"] == "uk"


def test_answers_go_on_when_power_went_between_two_pages(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCut(Exception):
        pass

    def cut(_self: ToyMachine, _server: str) -> float | None:
        raise PowerCut

    box.give(SETUP)
    with monkeypatch.context() as patch:
        patch.setattr(ToyMachine, "clock_ahead_s", cut)
        with pytest.raises(PowerCut):
            boot.main()
    assert state.load().page == "time"
    assert boot.main() == 0
    assert state.load().page == "gather"


def test_answers_that_a_person_has_changed_are_not_overwritten(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    box.give(SETUP)
    boot.main()
    # Somebody looks around, and changes nothing.
    wizard = Wizard(box.machine, state.load(), state.save)
    wizard.answer({})
    wizard.back()
    wizard.back()
    wizard.answer(wizard.values)
    assert not state.load().by_person
    wizard.back()
    wizard.answer({**wizard.values, "address": "10.9.1.102/24"})
    assert boot.main() == 0
    assert state.load().values["service"]["address"] == "10.9.1.102/24"
    box.give(SETUP.replace("10.9.1.100", "10.9.1.101"))
    with caplog.at_level("INFO"):
        assert boot.main() == 0
    assert state.load().values["service"]["address"] == "10.9.1.102/24"
    assert "pairkeep.toml is not taken: answers were changed on a console since" in caplog.text


def test_a_cluster_that_was_formed_before_the_power_went_is_carried_through(box: Box) -> None:
    made = agreed()
    assert boot.main() == 0
    assert [answers.cluster_key for answers in box.done] == [made.cluster_key]
    assert not boot.STATE.exists()
    assert not any(path.exists() for path in boot.AGREED)


def test_a_step_that_fails_is_told_and_done_again_at_the_next_boot(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed()
    good: Callable[..., None] = install.install

    def fails(_answers: Answers) -> None:
        raise PairkeepError("the disk is not blank")

    monkeypatch.setattr(install, "install", partial(good, steps=(Step("one that fails", fails),)))
    assert boot.main() == 1
    assert box.notice == "the disk is not blank\n"
    assert boot.AGREED[0].exists()
    monkeypatch.setattr(install, "install", good)
    assert boot.main() == 0
    assert len(box.done) == 1


def test_power_that_went_between_the_last_step_and_tidying_up_leaves_no_secrets(box: Box) -> None:
    agreed()
    boot.CLUSTER_TOML.write_text("")
    assert boot.main() == 0
    assert box.done == []
    assert not boot.STATE.exists()
    assert not any(path.exists() for path in boot.AGREED)


def test_an_attempt_that_was_never_decided_counts_for_nothing(box: Box) -> None:
    """The power of the creating machine went before all had everything: a person begins again."""
    agreed()
    records.save_hosted(boot.AGREED[0].parent, records.Hosted("a", "open"))
    assert boot.main() == 0
    assert box.done == []
    assert boot.STATE.exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (lab_answers(ROLES[0]), ["/dev/disk/by-id/virtio-data", "52:54:00:09:01:0b", "52:54:00:09:02:0b"]),
        (SETUP, [BLANK, "enp0s2", "enp0s3"]),
    ],
)
def test_slow_devices_are_waited_for_when_the_answers_name_them(box: Box, text: str, named: list[str]) -> None:
    box.give(text)
    assert boot.main() == 0
    assert sorted(box.waited) == sorted(named)


def test_a_machine_without_answers_waits_for_nothing(box: Box) -> None:
    assert boot.main() == 0
    assert (box.waited, box.settled) == ([], 1)


def test_a_card_that_is_missing_keeps_what_was_formed_from_being_set_up_without_it(box: Box) -> None:
    agreed()
    box.missing = ("enp0s3",)
    assert boot.main() == 1
    assert box.waited == [BLANK, "enp0s2", "enp0s3", "enp0s4"]
    assert box.notice == "found no enp0s3 on this machine, expected what was there before\n"
    assert box.done == []
    box.missing = ()
    assert boot.main() == 0
    assert len(box.done) == 1


def test_every_kind_of_step_may_be_done_again() -> None:
    """The order that the power cuts of vm-tests rely on: cluster.toml last but one, the supervisor after it."""
    titles = [step.title for step in steps.STEPS]
    assert titles[-2:] == ["saving cluster.toml", "starting the supervisor"]
    assert titles.index("checking the data disks") < titles.index("preparing the data disks")
