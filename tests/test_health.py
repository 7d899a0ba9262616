# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks that keepalived runs, against servers that answer well, badly, and not at all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.health import __main__ as command
from appliance.health.ask import KINDS

LDAP_OK = bytes.fromhex("300c02010161070a010004000400")
LDAP_REFUSED = bytes.fromhex("300c02010161070a013104000400")
LDAP_LONG = bytes.fromhex("3084000000100201016184000000070a010004000400")
MYSQL = bytes.fromhex("4a0000000a") + b"11.8.3-MariaDB\0" + bytes(60)
MYSQL_FULL = bytes.fromhex("17000000ff") + b"\x10\x04Too many connections"


@contextlib.contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a port of its own that holds each conversation in ``talk``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        talk(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        # Wakes accept(2), which closing does not.
        listener.shutdown(socket.SHUT_RDWR)


def says(*lines: bytes) -> Callable[[socket.socket], None]:
    """Says the first line at once, and each further one after the client has said something."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(lines[0])
        for line in lines[1:]:
            if not connection.recv(1024):
                return
            connection.sendall(line)
        connection.recv(1024)

    return talk


def silence(connection: socket.socket) -> None:
    while connection.recv(1024):
        pass


WELL = {
    "mysql": ((MYSQL,), []),
    "postgresql": ((b"", b"N"), []),
    "ldap": ((b"", LDAP_OK), []),
    "ldap of Active Directory": ((b"", LDAP_LONG), []),
    "ldap with a login": ((b"", LDAP_OK), ["--user", "cn=probe"]),
    "ftp": ((b"220 ready\r\n", b"221 bye\r\n"), []),
    "ftp with a login": ((b"220 ready\r\n", b"331 go on\r\n", b"230 in\r\n", b"221 bye\r\n"), ["--user", "probe"]),
    "imap": ((b"* OK ready\r\n", b"* CAPABILITY IMAP4rev1\r\nXXXX0 OK\r\n"), []),
    "pop3": ((b"+OK ready\r\n", b"+OK bye\r\n"), []),
    "sip": ((b"", b"SIP/2.0 404 Not Found\r\n\r\n"), ["--tcp"]),
}
BADLY = {
    "mysql": ((MYSQL_FULL,), [], "refuses connections"),
    "mysql that is something else": ((b"HTTP/1.0 400 Bad\r\n",), [], "greets with"),
    "postgresql": ((b"", b"E"), [], "answers with b'E'"),
    "ldap": ((b"", LDAP_REFUSED), [], "refuses the bind with result 49"),
    "ldap that says nonsense": ((b"", b"nonsense"), [], "does not answer a bind"),
    "ftp": ((b"421 too many users\r\n",), [], "421 too many users"),
    "ftp with a login": ((b"220 ready\r\n", b"331 go on\r\n", b"530 no\r\n"), ["--user", "probe"], "530 no"),
    "imap": ((b"* BYE overloaded\r\n",), [], "overloaded"),
    "pop3": ((b"-ERR in use\r\n",), [], "in use"),
    "sip": ((b"", b"SIP/2.0 503 Service Unavailable\r\n\r\n"), ["--tcp"], "answers with 503"),
    "sip that is something else": ((b"", b"HTTP/1.0 200 OK\r\n"), ["--tcp"], "answers with b'HTTP"),
}


def imap_tags(lines: tuple[bytes, ...]) -> Callable[[socket.socket], None]:
    """imaplib makes up the tags that its server has to answer with."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(lines[0])
        while said := connection.recv(1024):
            tag, word, *_ = said.split()
            untagged = b"* CAPABILITY IMAP4rev1\r\n" if word == b"CAPABILITY" else b"* BYE\r\n"
            connection.sendall(untagged + tag + b" OK done\r\n")

    return talk


def check(name: str, lines: tuple[bytes, ...], more: list[str], timeout: str = "2") -> int:
    kind = name.split()[0]
    with server(imap_tags(lines) if kind == "imap" else says(*lines)) as port:
        return command.main([kind, "127.0.0.1", str(port), "--timeout", timeout, *more])


@pytest.fixture(autouse=True)
def _as_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own process is not to become nobody."""
    monkeypatch.setattr(command, "_be_nobody", lambda: None)


@pytest.mark.parametrize("name", WELL)
def test_a_server_that_works(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(name, *WELL[name]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", BADLY)
def test_a_server_that_answers_otherwise(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines, more, why = BADLY[name]
    assert check(name, lines, more) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_silent(kind: str) -> None:
    with server(silence) as port:
        assert command.main([kind, "127.0.0.1", str(port), "--timeout", "0.3", "--tcp"]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_not_there(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert command.main([kind, "127.0.0.1", str(port), "--timeout", "0.3"]) == 1


def test_sip_over_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))

        def serve() -> None:
            request, sender = listener.recvfrom(2048)
            assert request.startswith(b"OPTIONS sip:probe@example.org SIP/2.0\r\n")
            listener.sendto(b"SIP/2.0 200 OK\r\n\r\n", sender)

        thread = threading.Thread(target=serve)
        thread.start()
        words = ["sip", "127.0.0.1", str(listener.getsockname()[1]), "--user", "probe", "--host", "example.org"]
        assert command.main(words) == 0
        thread.join()


def test_a_password_that_others_may_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    password = tmp_path / "password"
    password.write_text("tell-me\n")
    password.chmod(0o640)
    assert command.main(["ftp", "127.0.0.1", "1", "--user", "a", "--password-file", str(password)]) == 1
    told = capsys.readouterr().err
    assert "found mode 0640, expected 0600" in told
    assert "tell-me" not in told


def test_a_password_that_is_not_there(tmp_path: Path) -> None:
    missing = ["--user", "a", "--password-file", str(tmp_path / "none")]
    assert command.main(["ftp", "127.0.0.1", "1", *missing]) == 1
