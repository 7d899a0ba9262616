# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that creates a cluster: it shows a code, admits who knows it, and hands out what makes a cluster.

A stranger's connection is a thread of its own with few seconds, and there are only so many of them: nobody is
kept waiting by one that says nothing. Whoever gets as far as the password exchange has used a try.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from appliance.joining import channel, firewall, records
from appliance.joining.answering import answer
from appliance.joining.channel import Channel, Hello, Lost, Wire
from appliance.joining.checks import reason_against
from appliance.joining.code import new_code
from appliance.joining.messages import Bundle, Candidate, JoinError, candidate_from, node_names, to_json

TRIES = 3
# Unauthenticated connections at once.
MOST_STRANGERS = 16
# An admitted machine is spoken to this often, and is gone when it does not answer in time.
ASK_EVERY_S = 5.0
ANSWER_S = 20.0
STAGE_S = 60.0
POLL_S = 0.25

OnEvent = Callable[[str, str], None]


class _Failed(Lost):
    """It is there, but cannot do what it was asked for."""


@dataclass
class _Member:
    candidate: Candidate
    channel: Channel
    # One question and its answer at a time.
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, kind: str, expected: str, within_s: float, **values: Any) -> None:
        """Raises Lost."""
        with self.lock:
            self.channel.send(kind, **values)
            said = self.channel.receive(within_s)
        if said["kind"] != expected:
            raise _Failed(str(said.get("reason", "it said something unexpected")))


class Host:
    """Admits machines, one after another, each by a code of its own.

    ``own``: what this machine says of itself. ``admit``: why a candidate cannot take part, in words, or None;
    it is called for one candidate at a time, after the version and the clock were found to fit.
    """

    def __init__(
        self,
        own: Candidate,
        *,
        admit: Callable[[Candidate], str | None],
        port: int = channel.PORT,
        valid_s: float = 900.0,
        folder: Path = records.FOLDER,
    ) -> None:
        earlier = records.load_hosted(folder)
        if earlier is not None and earlier.decision == "commit" and earlier.bundle is not None:
            raise JoinError("this machine has formed a cluster already, and is not set up for it yet")
        # Members of an attempt that was given up, or whose cluster was dropped by beginning anew, may still ask how
        # it ended. Those of a cluster whose cluster.toml was deleted here are told nothing: it may well be running.
        self._ended = dict(earlier.members) if earlier and earlier.decision != "commit" else {}
        self.port = port
        self._own = own
        self._admit = admit
        self._valid_s = valid_s
        self._folder = folder
        self._lock = threading.RLock()
        self._members: list[_Member] = []
        self._strangers = threading.BoundedSemaphore(MOST_STRANGERS)
        self._closed = threading.Event()
        self._deciding = self._formed = False
        self._listener: socket.socket | None = None
        self._on_event: OnEvent = lambda _kind, _text: None
        self._code = ""
        self._no_code = channel.NO_CODE
        self._generation = self._tries_left = self._exchanges = 0
        self._deadline = 0.0
        self._new_code()

    @property
    def code(self) -> str:
        """What people type on the next machine: for one machine, ``valid_s`` long, three tries.

        After a machine has joined there is another one for the next. Empty after it has expired or was ended
        by wrong tries, until `renew`.
        """
        return self._code

    @property
    def joined(self) -> tuple[Candidate, ...]:
        with self._lock:
            return tuple(member.candidate for member in self._members)

    def start(self, on_event: OnEvent) -> None:
        """Listen. ``on_event`` is called from other threads, with ("joined", name), ("left", name), ("refused",
        reason), ("expired", "") or ("locked", ""); it must not call `close`. Raises JoinError when the port is
        taken.
        """
        self._on_event = on_event
        try:
            self._listener = listen(self.port)
        except OSError as error:
            raise JoinError(f"port {self.port} cannot be opened: {error.strerror}") from error
        self.port = self._listener.getsockname()[1]
        self._open_port()
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def renew(self) -> None:
        """Another code, with all its tries and all its time; the old one counts no more."""
        with self._lock:
            self._new_code()
        self._open_port()

    def finish(self, bundle: Bundle) -> None:
        """All that have joined get ``bundle`` and have staged it, or JoinError and nobody keeps it.

        They have to be the nodes of its cluster.toml: one of them may have left a moment ago.
        After an error those that still answer remain joined, and it can be tried again. One that vanishes after
        all have staged is told when it asks, also by pairkeep-join.service after this program has ended.
        """
        with self._lock:
            members = tuple(self._members)
            here = {self._own.name, *(member.candidate.name for member in members)}
            if absent := sorted(node_names(bundle) - here):
                raise JoinError(
                    f"{' and '.join(absent)} {'have' if len(absent) > 1 else 'has'} not joined, or left"
                )
            self._deciding = True
        try:
            self._decide(members, bundle)
        finally:
            self._deciding = False

    def close(self) -> None:
        """Admit nobody any more; who has joined and has no bundle is told that nothing will come of it."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._listener is not None:
            # Wakes the thread that accepts; before it has gone the port is not free.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._accepting.join()
            self._listener.close()
            firewall.close_port(self.port)
        with self._lock:
            members, self._members, self._code = self._members, [], ""
        for member in members:
            with contextlib.suppress(Lost), member.lock:
                member.channel.send("closed")
            member.channel.close()

    # What happens to one connection.

    def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(POLL_S)
        while not self._closed.is_set():
            self._expire()
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                # One connection that broke at once, no more descriptors, or `close`.
                self._closed.wait(POLL_S)
                continue
            if self._strangers.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
            else:
                sock.close()

    def _serve(self, sock: socket.socket) -> None:
        member: _Member | None = None
        wire: Wire | None = None
        try:
            wire = Wire(sock)
            hello = channel.greeted(wire)
            if hello.kind == "resume":
                answer(wire, hello, self._folder, deciding=self._deciding)
            else:
                member = self._met(wire, hello)
        except (Lost, OSError, JoinError):
            pass
        finally:
            self._strangers.release()
            if member is None:
                (wire or sock).close()
        if member is not None:
            self._stay(member)

    def _met(self, wire: Wire, hello: Hello) -> _Member | None:
        """The member that it became. Raises Lost, JoinError."""
        with self._lock:
            self._expire()
            code, generation, refusal = self._code, self._generation, self._no_code
            if code and self._tries_left == 0:
                code, refusal = "", channel.LOCKED
            if code:
                self._tries_left -= 1
                self._exchanges += 1
        if not code:
            channel.refuse(wire, refusal)
            return None
        met: Channel | None = None
        try:
            met = channel.admit_by_code(wire, hello, code, lambda: self._tries_left)
        finally:
            self._tried(generation, knew=met is not None)
        if met is None:
            return None
        said = met.receive(channel.HANDSHAKE_S)
        candidate = candidate_from(said.get("candidate"))
        member = _Member(candidate, met)
        # Held until it was told, so that nothing else reaches it first.
        with member.lock:
            reason = self._admitted(member, generation)
            if reason is None:
                met.send("admitted", host=self._own.name)
            else:
                met.send("refused", reason=reason)
        if reason is None:
            self._on_event("joined", candidate.name)
            return member
        self._on_event("refused", f"{candidate.name}: {reason}")
        return None

    def _admitted(self, member: _Member, generation: int) -> str | None:
        """Why not. Who knew the code and was refused may come again with it: nothing was learnt."""
        with self._lock:
            if self._closed.is_set() or self._deciding or self._formed:
                return f"{self._own.name} is forming the cluster by now, or has ended"
            if generation != self._generation:
                return "the code counts no more: another machine has used it, or it has expired"
            candidate = member.candidate
            reason = reason_against(self._own, candidate, time.time()) or self._admit(candidate)
            if reason is None:
                self._members.append(member)
                self._new_code()
        if reason is None:
            self._open_port()
        return reason

    def _stay(self, member: _Member) -> None:
        """Keep in touch, so that both screens tell at once when the other machine is gone."""
        while not self._closed.wait(ASK_EVERY_S) and member in self._members and not self._formed:
            try:
                member.ask("wait", "waiting", ANSWER_S)
            except Lost:
                if not self._formed:
                    self._drop(member)

    def _drop(self, member: _Member) -> None:
        member.channel.close()
        with self._lock:
            known = member in self._members
            if known:
                self._members.remove(member)
        if known and not self._closed.is_set():
            self._on_event("left", member.candidate.name)

    # The code.

    def _new_code(self) -> None:
        self._code = new_code()
        self._generation += 1
        self._tries_left, self._exchanges = TRIES, 0
        self._deadline = time.monotonic() + self._valid_s

    def _end_code(self, why: bytes) -> None:
        self._code, self._no_code = "", why
        self._generation += 1

    def _tried(self, generation: int, *, knew: bool) -> None:
        with self._lock:
            if generation != self._generation:
                return
            self._exchanges -= 1
            if knew:
                self._tries_left += 1
                return
            left = self._tries_left
            # Another one may be in the middle of its last try.
            over = left == 0 and self._exchanges == 0
            if over:
                self._end_code(channel.LOCKED)
        self._on_event("refused", f"a wrong code; {left} {'try is' if left == 1 else 'tries are'} left")
        if over:
            self._on_event("locked", "")

    def _expire(self) -> None:
        with self._lock:
            if not self._code or time.monotonic() < self._deadline:
                return
            self._end_code(channel.EXPIRED)
        self._on_event("expired", "")

    def _open_port(self) -> None:
        """Also for those in doubt, who ask after the code's time."""
        if self._listener is not None:
            firewall.open_port(self.port, self._valid_s)

    # The two phases; see records.py.

    def _decide(self, members: tuple[_Member, ...], bundle: Bundle) -> None:
        sessions = [member.channel.session for member in members]
        attempt = records.Hosted(
            attempt=secrets.token_hex(16),
            decision="open",
            members={**self._ended, **{session.id: session.key for session in sessions}},
        )
        records.save_hosted(self._folder, attempt)
        for member in members:
            theirs = bundle if member.candidate.role == "worker" else replace(bundle, database=None)
            try:
                member.ask("bundle", "staged", STAGE_S, attempt=attempt.attempt, bundle=to_json(theirs))
            except Lost as error:
                if not isinstance(error, _Failed):
                    self._drop(member)
                reason = f"{member.candidate.name} has not got the configuration: {error}"
                self._give_up(members, attempt, reason)
                raise JoinError(f"{reason}; no machine keeps it") from error
        records.save_hosted(self._folder, replace(attempt, decision="commit", bundle=bundle))
        self._formed = True
        for member in members:
            # One that does not hear it, or whose word is lost, will ask.
            with contextlib.suppress(Lost):
                member.ask("commit", "done", ANSWER_S)
                records.settle_member(self._folder, member.channel.session.id)
            member.channel.close()

    def _give_up(self, members: tuple[_Member, ...], attempt: records.Hosted, reason: str) -> None:
        records.save_hosted(self._folder, replace(attempt, decision="give up"))
        for member in members:
            try:
                member.ask("give up", "dropped", ANSWER_S, reason=reason)
            except Lost:
                # It will ask.
                self._drop(member)
            else:
                records.settle_member(self._folder, member.channel.session.id)
        record = records.load_hosted(self._folder)
        self._ended = dict(record.members) if record else {}


def listen(port: int) -> socket.socket:
    """On every address of IPv4 and IPv6, as far as the machine has them. Raises OSError."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
