# SPDX-License-Identifier: GPL-2.0-or-later
"""What supervisors tell each other; CPG gives all members of a partition the same messages in one order.

All but Beat, Report, Persisted and the questions about a configuration change the record. They carry the
membership they were sent in and are void in any other; whoever still wants the change asks again in the new one.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.decide.view import Configuration, Report, Stamp


@dataclass(frozen=True)
class Beat:
    """Sent once a second to oneself: hearing it proves that the ring still carries messages.

    ``sent_at`` is the sender's own monotonic clock in seconds; nobody else reads it.
    """

    sent_at: float


@dataclass(frozen=True)
class Reported:
    report: Report


@dataclass(frozen=True)
class Persisted:
    """The sender has the record of this stamp on disk."""

    stamp: Stamp


@dataclass(frozen=True)
class Established:
    """First data: the sender sees both disks of ``drbd`` UpToDate and connected, and none is on record."""

    view_id: str
    drbd: str


@dataclass(frozen=True)
class Exclude:
    """The sender wants to go on writing to ``drbd`` without ``node``, or knows that others may (it is ``node``)."""

    view_id: str
    drbd: str
    node: str


@dataclass(frozen=True)
class Lost:
    """The sender's own copy of ``drbd`` is not whole any more: a resync overwrites it, or its disk is a new one."""

    view_id: str
    drbd: str


@dataclass(frozen=True)
class Include:
    """The sender, itself current, sees ``node`` connected with a disk that is the same again."""

    view_id: str
    drbd: str
    node: str


@dataclass(frozen=True)
class Formatted:
    """The sender has made the filesystem of this resource id."""

    view_id: str
    resource: str


@dataclass(frozen=True)
class SetStandby:
    """``alone``: only if no other node is in standby. Of two nodes that want to go out at once the first does."""

    view_id: str
    node: str
    on: bool
    alone: bool = False


@dataclass(frozen=True)
class SetMaintenance:
    view_id: str
    on: bool


@dataclass(frozen=True)
class SetDrained:
    """An operator wants real server ``server`` ("VIRTUAL/REAL") to get no new connections, or some again."""

    view_id: str
    server: str
    on: bool


@dataclass(frozen=True)
class Switchover:
    """An operator wants ``group`` on ``node``; None takes such an order back."""

    view_id: str
    group: str
    node: str | None


@dataclass(frozen=True)
class Detach:
    """The sender's supervisor is about to stop while its services run on."""

    view_id: str


@dataclass(frozen=True)
class Farewell:
    """The sender has stopped everything and leaves; it needs no waiting for."""

    view_id: str


@dataclass(frozen=True)
class Fenced:
    """``node`` is off: the sender had it switched off and saw that it was, or a person told it so."""

    view_id: str
    node: str
    by_hand: bool = False


@dataclass(frozen=True)
class Force:
    """An operator's word: the copy of ``drbd`` on ``node`` counts as the newest, whatever the others hold."""

    view_id: str
    drbd: str
    node: str


@dataclass(frozen=True)
class Discard:
    """An operator's word after a split brain: what ``node`` alone has of ``drbd`` is thrown away."""

    view_id: str
    drbd: str
    node: str


@dataclass(frozen=True)
class Cleanup:
    """An operator has repaired something: nodes forget the failures they counted for ``group``."""

    view_id: str
    group: str


@dataclass(frozen=True)
class Configure:
    """An operator wants ``config`` to be in force; the members have found nothing wrong with it."""

    view_id: str
    config: Configuration


@dataclass(frozen=True)
class Check:
    """Asks every member, the sender included: could you run by ``text``? ``number`` tells questions apart."""

    number: int
    text: str


@dataclass(frozen=True)
class Checked:
    """The answer to Check ``number`` of ``asker``: what is wrong with it for the sender."""

    asker: str
    number: int
    problems: tuple[str, ...]


Change = (
    Established
    | Exclude
    | Lost
    | Include
    | Formatted
    | SetStandby
    | SetMaintenance
    | SetDrained
    | Switchover
    | Detach
    | Farewell
    | Fenced
    | Force
    | Discard
    | Cleanup
    | Configure
)
Message = Beat | Reported | Persisted | Check | Checked | Change
