# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that joins: it says who it is, waits, stages what it gets, and keeps it once all have it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from appliance.joining import records
from appliance.joining.channel import HANDSHAKE_S, PORT, Channel, Lost, Session, Wire, join_by_code, take_up_again
from appliance.joining.code import normalised
from appliance.joining.messages import Bundle, Candidate, JoinError, bundle_from, check_for, to_json

# The host speaks every few seconds. This is longer than it takes it to decide that we are gone.
SILENCE_S = 60.0
ASK_AGAIN_S = 2.0

OnEvent = Callable[[str, str], None]


def join(
    host: str,
    code: str,
    own: Candidate,
    *,
    on_event: OnEvent,
    port: int = PORT,
    folder: Path = records.FOLDER,
) -> Bundle:
    """Join the cluster that the machine ``host`` creates; blocks until it is formed. Raises JoinError, and
    InputError for what cannot be a code.

    ``on_event``: ("connected", host), ("admitted", its name), ("waiting", its name) every few seconds, ("given
    up", reason) when forming the cluster failed and may be tried again there, ("in doubt", why) while it is not
    known whether it was formed. What it raises ends the join: that is how to stop waiting.
    """
    typed, began = normalised(code), time.monotonic()
    if records.load_staged(folder) is not None:
        raise JoinError("this machine does not know yet how an earlier join ended, or has not used what it got")
    wire = _connect(host, port)
    try:
        try:
            channel = join_by_code(wire, typed)
            on_event("connected", host)
            own_now = replace(own, clock_s=own.clock_s + time.monotonic() - began)
            channel.send("candidate", candidate=to_json(own_now))
            reply = channel.receive(HANDSHAKE_S)
        except Lost as error:
            raise JoinError(
                f"{host} does not let this machine join: {error}",
                hint="does that machine show a code now?",
            ) from error
        if reply["kind"] != "admitted":
            raise JoinError(str(reply.get("reason", "the other machine refused without a word")))
        on_event("admitted", str(reply["host"]))
        return _follow(channel, own.name, _Place(host, port, str(reply["host"])), on_event, folder)
    finally:
        wire.close()


def resume(*, on_event: OnEvent, folder: Path = records.FOLDER) -> Bundle | None:
    """What this machine got before it lost power: the bundle of a cluster that was formed, as its host or as one
    that joined, and whose cluster.toml is not written yet; None when there is none.

    Asks the host when in doubt, for as long as it takes (see `join` for ``on_event``). Raises JoinError when the
    host says that the cluster was not formed.
    """
    hosted = records.load_hosted(folder)
    if hosted is not None and hosted.decision == "commit" and hosted.bundle is not None:
        return hosted.bundle
    staged = records.load_staged(folder)
    if staged is None:
        return None
    return staged.bundle if staged.committed else _settled(staged, on_event, folder)


def forget(*, folder: Path = records.FOLDER) -> None:
    """This machine's cluster.toml is written: it needs its bundle no more."""
    records.drop_staged(folder)
    records.settle_host(folder)


def abandon(*, folder: Path = records.FOLDER) -> None:
    """A person wants to begin anew: what was agreed upon counts no more, and whoever is in doubt is told so."""
    records.drop_staged(folder)
    records.settle_host(folder, begun_anew=True)


@dataclass(frozen=True)
class _Place:
    host: str
    port: int
    name: str


def _follow(channel: Channel, own: str, place: _Place, on_event: OnEvent, folder: Path) -> Bundle:
    """Do as the host says until the cluster is formed. Only what is on the disk is ever confirmed."""
    staged: records.Staged | None = None
    try:
        while True:
            said = channel.receive(SILENCE_S)
            match said["kind"]:
                case "wait":
                    on_event("waiting", place.name)
                    channel.send("waiting")
                case "bundle":
                    try:
                        fresh = _staged(said, channel.session, place)
                        # Once it says that it has it, it has to become a node by it.
                        check_for(fresh.bundle, own)
                        records.save_staged(folder, fresh)
                    except OSError as error:
                        channel.send("failed", reason=f"it cannot be saved there: {error.strerror}")
                        continue
                    except JoinError as error:
                        channel.send("failed", reason=error.message)
                        continue
                    staged = fresh
                    channel.send("staged")
                case "give up":
                    records.drop_staged(folder)
                    staged = None
                    channel.send("dropped")
                    on_event("given up", str(said.get("reason", "")))
                case "commit" if staged is not None:
                    records.save_staged(folder, replace(staged, committed=True))
                    with contextlib.suppress(Lost):
                        channel.send("done")
                    return staged.bundle
                case "closed" if staged is None:
                    raise JoinError(f"{place.name} has ended the joining")
                case _:
                    raise Lost("it said something unexpected")
    except Lost as error:
        if staged is None:
            raise JoinError(f"{place.name} is gone: {error}; this machine keeps nothing of it") from error
        on_event("in doubt", f"{place.name} is gone: {error}")
    return _settled(staged, on_event, folder)


def _staged(said: dict[str, Any], session: Session, place: _Place) -> records.Staged:
    return records.Staged(
        host=place.host,
        port=place.port,
        host_name=place.name,
        session=session.id,
        key=session.key,
        attempt=str(said["attempt"]),
        bundle=bundle_from(said["bundle"]),
    )


def _settled(staged: records.Staged, on_event: OnEvent, folder: Path) -> Bundle:
    """Ask until it is known. Raises JoinError when the cluster was not formed."""
    while True:
        try:
            answer = _ask(staged, folder)
        except (Lost, JoinError) as error:
            answer = str(error)
        if answer == "commit":
            return staged.bundle
        if answer == "give up":
            raise JoinError(f"{staged.host_name} did not form the cluster; this machine keeps nothing of it")
        if answer == "begun anew":
            raise JoinError(
                f"the cluster that {staged.host_name} formed is not there any more: somebody has begun anew on "
                f"{staged.host_name}; this machine keeps nothing of it",
                hint=f"join again, with the code that {staged.host_name} shows",
            )
        on_event("in doubt", f"{staged.host_name}: {answer}")
        time.sleep(ASK_AGAIN_S)


def _ask(staged: records.Staged, folder: Path) -> str:
    """One question: commit, give up, begun anew, or what keeps it from being answered. Raises Lost, JoinError."""
    wire = _connect(staged.host, staged.port)
    try:
        channel = take_up_again(wire, Session(staged.session, staged.key))
        if channel is None:
            return "it does not know of this join"
        channel.send("how", attempt=staged.attempt)
        said = str(channel.receive(HANDSHAKE_S)["kind"])
        if said == "wait":
            return "it is still deciding"
        if said == "commit":
            records.save_staged(folder, replace(staged, committed=True))
        elif said in ("give up", "begun anew"):
            records.drop_staged(folder)
        else:
            raise Lost("it said something unexpected")
        with contextlib.suppress(Lost):
            channel.send("done")
        return said
    finally:
        wire.close()


def _connect(host: str, port: int) -> Wire:
    try:
        return Wire(socket.create_connection((host, port), timeout=HANDSHAKE_S))
    except OSError as error:
        raise JoinError(
            f"{host} does not answer on port {port}: {error.strerror or error}",
            hint="is the address right, and does that machine show a code now?",
        ) from error
