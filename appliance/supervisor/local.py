# SPDX-License-Identifier: GPL-2.0-or-later
"""What one node knows of its own resources: their states, what failed, and when to try again."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from appliance.config.model import Cluster, Group
from appliance.decide.steps import Connect, Start, Step, Stop, lane
from appliance.decide.view import DrbdReport, GroupReport, Report, State

# A step that failed is tried again after 1, 2, 4 … seconds, at most this many.
LONGEST_PAUSE_S = 30.0
# Between two tries to take up a connection that DRBD gives up again.
RECONNECT_S = 10.0
# After a step of DRBD worked, its next one waits for the kernel's word on what has changed, at most so long.
KERNEL_TELLS_S = 2.0
# So many stops of one resource have to fail before the node gives up on itself.
STOP_TRIES = 3


@dataclass
class _Share:
    group: Group
    states: tuple[State, ...]
    failed_at: list[list[float]]
    none_failed: tuple[int, ...]
    failed_stops: int = 0
    stuck: str = ""
    blocked: str = ""


@dataclass
class _Pause:
    failures: int = 0
    until: float = 0.0
    until_told: bool = False


@dataclass
class LocalState:
    """``now`` gives monotonic seconds. ``took``: as `Report` has it."""

    cluster: Cluster
    now: Callable[[], float]
    drbd: dict[str, DrbdReport] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    _shares: dict[str, _Share] = field(default_factory=dict)
    _pauses: dict[str, _Pause] = field(default_factory=dict)
    _reports: dict[str, GroupReport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for group in self.cluster.groups:
            stopped: tuple[State, ...] = tuple("stopped" for _ in group.resources)
            self._shares[group.name] = _Share(group, stopped, [[] for _ in stopped], tuple(0 for _ in stopped))

    @property
    def active(self) -> bool:
        """Something of a group runs here, or may."""
        return any(map(self.is_active, self._shares))

    def is_active(self, group: str) -> bool:
        """Something of ``group`` runs here, or may."""
        share = self._shares[group]
        return bool(share.stuck) or any(state != "stopped" for state in share.states)

    @property
    def stuck(self) -> bool:
        return any(share.stuck for share in self._shares.values())

    def states(self, group: str) -> tuple[State, ...]:
        return self._shares[group].states

    def group_reports(self, claimed: Container[str] = ()) -> dict[str, GroupReport]:
        """``claimed``: groups that this node is about to start. What has not changed stays the same object."""
        for name, share in self._shares.items():
            report = GroupReport(share.states, self._counts(share), share.stuck, name in claimed, share.blocked)
            if report != self._reports.get(name):
                self._reports[name] = report
        return dict(self._reports)

    def observed(self, group: str, states: Sequence[State], *, count: bool) -> list[str]:
        """Take over what was seen; returns the ids of resources that went down without being told to."""
        share = self._shares[group]
        fallen = [
            index
            for index, (was, now_is) in enumerate(zip(share.states, states, strict=True))
            if was == "started" and now_is != "started"
        ]
        share.states = tuple(states)
        if not count:
            return []
        for index in fallen:
            share.failed_at[index].append(self.now())
        return [share.group.resources[index].id for index in fallen]

    def after_step(self, step: Start | Stop, error: str | None, states: Sequence[State]) -> None:
        """A start that failed wears the node out at once: whatever it lacks, the other may have.

        If that one lacks something too, each further try counts, so that they take turns.
        """
        share = self._shares[step.group]
        share.states = tuple(states)
        self.paced(step, error)
        if isinstance(step, Start) and error is not None:
            tries = len(self._recent(share, step.index)) + 1
            share.failed_at[step.index] = [self.now()] * max(share.group.migration_threshold, tries)
        if isinstance(step, Stop):
            share.failed_stops = 0 if error is None else share.failed_stops + 1
            share.blocked = ""
            if share.failed_stops >= STOP_TRIES:
                resource = share.group.resources[step.index]
                text = f"{resource.id} could not be stopped ({error})"
                if resource.on_stop_failure == "block":
                    share.blocked = f"{text}, which is tried again and again"
                else:
                    share.stuck = f"{text}; the watchdog resets the node"

    def after_drbd_step(self, step: Step, error: str | None) -> None:
        self.paced(step, error)
        pause = self._pauses[lane(step)]
        if error is None:
            pause.until, pause.until_told = self.now() + KERNEL_TELLS_S, True
        if isinstance(step, Connect):
            # It returns at once and may fail later, as it does for ever with a split brain.
            pause.until, pause.until_told = self.now() + RECONNECT_S, False

    def drbd_told(self, name: str) -> None:
        """The kernel told of a change of DRBD resource ``name``."""
        for pause in (p for key, p in self._pauses.items() if key == f"drbd:{name}" and p.until_told):
            pause.until, pause.until_told = 0.0, False

    def recall(self, report: Report) -> None:
        """Know again what failed here, by a report of this node; and how long steps took."""
        self.took.update(report.took)
        for name, share in self._shares.items():
            if name in report.groups:
                share.failed_at = [[self.now()] * count for count in report.groups[name].fails]
                share.stuck = report.groups[name].stuck

    def may_try(self, step: Step) -> bool:
        return self.now() >= self._pauses.get(lane(step), _Pause()).until

    def give_up(self, drbd: str, why: str) -> None:
        """No stop of the active groups on ``drbd`` can end any more."""
        for share in self._shares.values():
            if drbd in share.group.drbd and any(s != "stopped" for s in share.states) and not share.stuck:
                share.stuck = f"{why}; the watchdog resets the node"

    def forget_failures(self, group: str) -> None:
        share = self._shares[group]
        share.failed_at = [[] for _ in share.failed_at]
        self._pauses.pop(group, None)

    def paced(self, step: Step, error: str | None) -> None:
        """After failures, longer and longer pauses before the next try."""
        pause = self._pauses.setdefault(lane(step), _Pause())
        if error is None:
            pause.failures, pause.until = 0, 0.0
        else:
            pause.failures += 1
            pause.until_told = False
            pause.until = self.now() + min(2.0 ** (pause.failures - 1), LONGEST_PAUSE_S)

    def _counts(self, share: _Share) -> tuple[int, ...]:
        if not any(share.failed_at):
            return share.none_failed
        share.failed_at = [self._recent(share, index) for index in range(len(share.states))]
        return tuple(len(times) for times in share.failed_at)

    def _recent(self, share: _Share, index: int) -> list[float]:
        since = self.now() - share.group.failure_timeout_s
        return [t for t in share.failed_at[index] if t > since]
