# SPDX-License-Identifier: GPL-2.0-or-later
"""One function a protocol: returns when the server answers as it should. Raises Unwell or OSError."""

from __future__ import annotations

import contextlib
import ftplib
import imaplib
import poplib
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# PostgreSQL's manual, "Message Formats", SSLRequest.
_PG_SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
# MySQL's manual, "Protocol::HandshakeV10" and "ERR_Packet".
_MYSQL_GREETING, _MYSQL_ERROR = 0x0A, 0xFF
# From these on a SIP server says that it cannot work (RFC 3261, 21.5).
_SIP_BROKEN = 500


class Unwell(Exception):
    """The server answers, but not as one that works."""


@dataclass(frozen=True)
class Login:
    """Without ``user`` nobody logs in. ``host``: the name by which the server is meant. ``tcp``: not UDP."""

    user: str | None = None
    password: str = ""
    database: str | None = None
    host: str | None = None
    tcp: bool = False


def mysql(address: str, port: int, timeout: float, login: Login) -> None:
    if login.user is None:
        with socket.create_connection((address, port), timeout) as connection:
            packet = _receive(connection, 5)
        if packet[4] == _MYSQL_ERROR:
            raise Unwell("refuses connections")
        if packet[4] != _MYSQL_GREETING:
            raise Unwell(f"greets with {packet[4]:#x}")
        return
    import pymysql  # only who logs in needs it

    try:
        connected = pymysql.connect(
            host=address,
            port=port,
            user=login.user,
            password=login.password,
            database=login.database,
            connect_timeout=timeout,
            read_timeout=timeout,
            write_timeout=timeout,
        )
        with contextlib.closing(connected), connected.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except pymysql.MySQLError as error:
        raise Unwell(str(error)) from error


def postgresql(address: str, port: int, timeout: float, login: Login) -> None:
    if login.user is None:
        with socket.create_connection((address, port), timeout) as connection:
            connection.sendall(_PG_SSL_REQUEST)
            answer = _receive(connection, 1)
        if answer not in (b"S", b"N"):
            raise Unwell(f"answers with {answer!r}")
        return
    import psycopg2  # only who logs in needs it

    try:
        connected = psycopg2.connect(
            host=address,
            port=port,
            user=login.user,
            password=login.password,
            dbname=login.database or login.user,
            connect_timeout=max(2, round(timeout)),
        )
        with contextlib.closing(connected), connected.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except psycopg2.Error as error:
        raise Unwell(str(error)) from error


def ldap(address: str, port: int, timeout: float, login: Login) -> None:
    """A simple bind (RFC 4511, 4.2), anonymous without a user."""
    name, password = (login.user or "").encode(), login.password.encode()
    bind = _ber(0x02, b"\x03") + _ber(0x04, name) + _ber(0x80, password if name else b"")
    with socket.create_connection((address, port), timeout) as connection:
        connection.sendall(_ber(0x30, _ber(0x02, b"\x01") + _ber(0x60, bind)))
        answer = connection.recv(1024)
    # SEQUENCE { messageID 1, [APPLICATION 1] { ENUMERATED resultCode … } }; lengths may have up to five bytes.
    place = answer.find(b"\x02\x01\x01\x61")
    code = answer.find(b"\x0a\x01", place) if place > 0 else -1
    if code < 0 or code + 2 >= len(answer):
        raise Unwell("does not answer a bind")
    if answer[code + 2] != 0:
        raise Unwell(f"refuses the bind with result {answer[code + 2]}")


def ftp(address: str, port: int, timeout: float, login: Login) -> None:
    try:
        with ftplib.FTP(timeout=timeout) as connection:  # noqa: S321 (it is FTP that is asked for)
            connection.connect(address, port)
            if login.user is not None:
                connection.login(login.user, login.password)
    except (ftplib.Error, EOFError) as error:
        raise Unwell(str(error)) from error


def imap(address: str, port: int, timeout: float, login: Login) -> None:
    try:
        with imaplib.IMAP4(address, port, timeout) as connection:
            if login.user is not None:
                connection.login(login.user, login.password)
    except imaplib.IMAP4.error as error:
        raise Unwell(str(error)) from error


def pop3(address: str, port: int, timeout: float, login: Login) -> None:
    try:
        connection = poplib.POP3(address, port, timeout)
        if login.user is not None:
            connection.user(login.user)
            connection.pass_(login.password)
        connection.quit()
    except poplib.error_proto as error:
        raise Unwell(str(error)) from error


def sip(address: str, port: int, timeout: float, login: Login) -> None:
    """OPTIONS (RFC 3261, 11): whatever the answer, a server that gives one below 500 works."""
    kind = socket.SOCK_STREAM if login.tcp else socket.SOCK_DGRAM
    found = socket.getaddrinfo(address, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
    with socket.socket(found[0], kind) as connection:
        connection.settimeout(timeout)
        connection.connect(found[4])
        own, own_port = connection.getsockname()[:2]
        own = f"[{own}]" if ":" in own else own
        host = login.host or (f"[{address}]" if ":" in address else address)
        user = f"{login.user}@" if login.user is not None else ""
        token = secrets.token_hex(8)
        request = (
            f"OPTIONS sip:{user}{host} SIP/2.0\r\n"
            f"Via: SIP/2.0/{'TCP' if login.tcp else 'UDP'} {own}:{own_port};branch=z9hG4bK{token};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}{own}>;tag={token}\r\nTo: <sip:{user}{host}>\r\n"
            f"Call-ID: {token}@{own}\r\nCSeq: 1 OPTIONS\r\nContact: <sip:{user}{own}:{own_port}>\r\n"
            f"Accept: application/sdp\r\nContent-Length: 0\r\n\r\n"
        )
        connection.send(request.encode())
        answer = connection.recv(2048)
    words = answer.split(b" ", 2)
    if words[0] != b"SIP/2.0" or len(words) < 2 or not words[1].isdigit():
        raise Unwell(f"answers with {answer[:40]!r}")
    if int(words[1]) >= _SIP_BROKEN:
        raise Unwell(f"answers with {int(words[1])}")


KINDS: Mapping[str, Callable[[str, int, float, Login], None]] = {
    "mysql": mysql,
    "postgresql": postgresql,
    "ldap": ldap,
    "ftp": ftp,
    "imap": imap,
    "pop3": pop3,
    "sip": sip,
}


def _ber(tag: int, content: bytes) -> bytes:
    """One value in BER (X.690, 8.1), its length in the definite form."""
    length = len(content)
    size = bytes([length]) if length < 0x80 else b"\x82" + length.to_bytes(2, "big")
    return bytes([tag]) + size + content


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise Unwell("closes the connection without a word")
        data += more
    return data
