# SPDX-License-Identifier: GPL-2.0-or-later
"""How two machines that share nothing but a code come to talk so that nobody else can listen or speak.

    joiner -> host   MAGIC, "J", its SPAKE2 message
    host -> joiner   MAGIC, a status byte, its SPAKE2 message
    joiner -> host   confirmation
    host -> joiner   confirmation, or how many tries are left
    then both        frames sealed with ChaCha20-Poly1305

The joiner confirms first. Up to then nothing that the host has sent lets anybody test a guess, so a guess costs
a try even for who hangs up. The keys come from SPAKE2's by HKDF over the transcript: both roles and both
messages. Each direction has its own key, and counts its frames in the nonce: none can be repeated, left out,
moved or sent back.

A machine that knows a former session's key takes it up without a code (see `records`): MAGIC, "R", the
session's id and a nonce, answered by MAGIC, a status byte and a nonce. Who has no key can seal nothing, so
there the frames themselves are the confirmation.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from spake2 import SPAKE2_A, SPAKE2_B
from spake2.ed25519_basic import NotOnCurve
from spake2.spake2 import SPAKEError

from appliance.joining.messages import JoinError, dumps, loads

PORT = 7780
# Ends in the protocol's number. Machines of other numbers do not understand each other, and say so.
MAGIC = b"pairkeep-join/1\n"
JOINER, HOST = b"pairkeep joining machine", b"pairkeep creating machine"
# SPAKE2's side byte and a point of the curve; ids and nonces; HMAC-SHA256.
PAKE_BYTES, ID_BYTES, MAC_BYTES = 33, 16, 32
CLEAR_BYTES = 128
SEALED_BYTES = 1 << 20
# For each message of the handshake. SPAKE2 in Python takes a second on an emulated machine.
HANDSHAKE_S = 10.0

GO, NO_CODE, EXPIRED, LOCKED, UNKNOWN = b"G", b"N", b"X", b"L", b"?"
REFUSALS = {
    NO_CODE: "no code is valid there now",
    EXPIRED: "the code has expired",
    LOCKED: "the code was ended by three wrong tries",
}


class Lost(Exception):
    """The connection broke, fell silent, or carried what is not this protocol."""


class Wire:
    """Frames with a length before them on a socket. A time limit is one for the whole frame, not for each byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.peer: str = sock.getpeername()[0].removeprefix("::ffff:")

    def send(self, payload: bytes, within_s: float) -> None:
        """Raises Lost."""
        try:
            self._socket.settimeout(within_s)
            self._socket.sendall(struct.pack("!I", len(payload)) + payload)
        except OSError as error:
            raise Lost(error.strerror or "it takes nothing more") from error

    def receive(self, within_s: float, most: int) -> bytes:
        """Raises Lost; nothing of a frame longer than ``most`` bytes is read."""
        deadline = time.monotonic() + within_s
        (length,) = struct.unpack("!I", self._exactly(4, deadline))
        if length > most:
            raise Lost("what it sent is not this protocol")
        return self._exactly(length, deadline)

    def close(self) -> None:
        """May be called from another thread, whose `receive` then ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exactly(self, count: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Lost("it did not answer in time")
            try:
                self._socket.settimeout(left)
                part = self._socket.recv(count - len(found))
            except TimeoutError:
                continue
            except OSError as error:
                raise Lost(error.strerror or str(error)) from error
            if not part:
                raise Lost("the connection was closed")
            found += part
        return bytes(found)


@dataclass(frozen=True)
class Session:
    """What outlives a connection: by it the two know each other again, after a power cut as well."""

    id: str
    key: bytes


class Channel:
    """Messages, JSON objects with a ``kind``, that only the other side can have sent."""

    def __init__(self, wire: Wire, send_key: bytes, receive_key: bytes, session: Session) -> None:
        self.wire = wire
        self.session = session
        self._seal, self._open = ChaCha20Poly1305(send_key), ChaCha20Poly1305(receive_key)
        self._sent = self._received = 0

    def send(self, kind: str, within_s: float = HANDSHAKE_S, **values: Any) -> None:
        """Raises Lost."""
        sealed = self._seal.encrypt(_nonce(self._sent), dumps({"kind": kind, **values}), None)
        self._sent += 1
        self.wire.send(sealed, within_s)

    def receive(self, within_s: float) -> dict[str, Any]:
        """A message; its ``kind`` is there. Raises Lost, also for what the other side has not sealed."""
        sealed = self.wire.receive(within_s, SEALED_BYTES)
        try:
            message = loads(self._open.decrypt(_nonce(self._received), sealed, None))
        except (InvalidTag, ValueError) as error:
            raise Lost("what came was not sealed by the other machine") from error
        self._received += 1
        if "kind" not in message:
            raise Lost("what it sent is not this protocol")
        return message

    def close(self) -> None:
        self.wire.close()


def join_by_code(wire: Wire, code: str) -> Channel:
    """The joiner's side. Raises JoinError with the host's reason, Lost when it breaks off."""
    pake = SPAKE2_A(code.encode(), idA=JOINER, idB=HOST)
    hello = MAGIC + b"J" + pake.start()
    wire.send(hello, HANDSHAKE_S)
    answer = _answer(wire)
    if answer[:1] in REFUSALS:
        raise JoinError(REFUSALS[answer[:1]], hint="take the code that the other machine shows now")
    keys = _finish(pake, answer[1:], hello, answer)
    wire.send(keys.mac("joiner confirms"), HANDSHAKE_S)
    confirmed = wire.receive(HANDSHAKE_S, CLEAR_BYTES)
    if len(confirmed) == 1:
        left = confirmed[0]
        raise JoinError(
            f"the code is wrong; {left} {'try is' if left == 1 else 'tries are'} left"
            if left
            else "the code is wrong, and was ended by three wrong tries"
        )
    if not hmac.compare_digest(confirmed, keys.mac("host confirms")):
        raise JoinError("the machine at that address does not know the code")
    return keys.channel(wire, "joiner seals", "host seals")


def take_up_again(wire: Wire, session: Session) -> Channel | None:
    """The joiner's side of taking up ``session``; None when the host does not know it. Raises JoinError, Lost."""
    hello = MAGIC + b"R" + bytes.fromhex(session.id) + os.urandom(ID_BYTES)
    wire.send(hello, HANDSHAKE_S)
    answer = _answer(wire)
    if answer[:1] == UNKNOWN:
        return None
    return _Keys(session.key, hello, answer, session).channel(wire, "joiner seals", "host seals")


@dataclass(frozen=True)
class Hello:
    """What a stranger began with: a SPAKE2 message, or the id of a former session."""

    kind: Literal["join", "resume"]
    frame: bytes

    @property
    def session_id(self) -> str:
        start = len(MAGIC) + 1
        return self.frame[start : start + ID_BYTES].hex()


def greeted(wire: Wire) -> Hello:
    """The host's first step. Raises Lost for whatever is no machine of ours."""
    frame = wire.receive(HANDSHAKE_S, CLEAR_BYTES)
    body = frame.removeprefix(MAGIC)
    if body != frame and body[:1] == b"J" and len(body) == 1 + PAKE_BYTES:
        return Hello("join", frame)
    if body != frame and body[:1] == b"R" and len(body) == 1 + 2 * ID_BYTES:
        return Hello("resume", frame)
    if frame.startswith(MAGIC.rpartition(b"/")[0]):
        # Another number of the protocol: by ours it will see that.
        wire.send(MAGIC + UNKNOWN, HANDSHAKE_S)
    raise Lost("what it sent is not this protocol")


def refuse(wire: Wire, status: bytes) -> None:
    """Raises Lost."""
    wire.send(MAGIC + status, HANDSHAKE_S)


def admit_by_code(wire: Wire, hello: Hello, code: str, tries_left: Callable[[], int]) -> Channel | None:
    """The host's side; None for a wrong code, of which the joiner was told. Raises Lost."""
    pake = SPAKE2_B(code.encode(), idA=JOINER, idB=HOST)
    answer = GO + pake.start()
    wire.send(MAGIC + answer, HANDSHAKE_S)
    keys = _finish(pake, hello.frame[-PAKE_BYTES:], hello.frame, answer)
    confirmed = wire.receive(HANDSHAKE_S, CLEAR_BYTES)
    if not hmac.compare_digest(confirmed, keys.mac("joiner confirms")):
        wire.send(bytes([tries_left()]), HANDSHAKE_S)
        return None
    wire.send(keys.mac("host confirms"), HANDSHAKE_S)
    return keys.channel(wire, "host seals", "joiner seals")


def take_up(wire: Wire, hello: Hello, key: bytes) -> Channel:
    """The host's side of `take_up_again`. Raises Lost."""
    answer = GO + os.urandom(ID_BYTES)
    wire.send(MAGIC + answer, HANDSHAKE_S)
    session = Session(hello.session_id, key)
    return _Keys(key, hello.frame, answer, session).channel(wire, "host seals", "joiner seals")


class _Keys:
    def __init__(self, secret: bytes, hello: bytes, answer: bytes, session: Session | None = None) -> None:
        self._secret = secret
        parts = (JOINER, HOST, hello, answer)
        self._transcript = hashlib.sha256(b"".join(struct.pack("!I", len(p)) + p for p in parts)).digest()
        self._session = session or Session(self._derive("session id")[:ID_BYTES].hex(), self._derive("resume"))

    def mac(self, what: str) -> bytes:
        return hmac.digest(self._derive(what), self._transcript, "sha256")

    def channel(self, wire: Wire, own: str, other: str) -> Channel:
        return Channel(wire, self._derive(own), self._derive(other), self._session)

    def _derive(self, what: str) -> bytes:
        return HKDF(SHA256(), 32, self._transcript, MAGIC + what.encode()).derive(self._secret)


def _answer(wire: Wire) -> bytes:
    frame = wire.receive(HANDSHAKE_S, CLEAR_BYTES)
    if not frame.startswith(MAGIC):
        if frame.startswith(MAGIC.rpartition(b"/")[0]):
            raise JoinError(
                "the machine at that address joins in another way than this one",
                hint="both need the same version of Pairkeep",
            )
        raise Lost("what it sent is not this protocol")
    return frame.removeprefix(MAGIC)


def _finish(pake: SPAKE2_A | SPAKE2_B, message: bytes, hello: bytes, answer: bytes) -> _Keys:
    if len(message) != PAKE_BYTES:
        raise Lost("what it sent is not this protocol")
    try:
        return _Keys(pake.finish(message), hello, answer)
    except (SPAKEError, NotOnCurve, ValueError, AssertionError) as error:
        raise Lost("what it sent is not this protocol") from error


def _nonce(count: int) -> bytes:
    return count.to_bytes(12, "big")
