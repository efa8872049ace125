"""Queries to servers that are no PostgreSQL, or hostile."""

import asyncio
import base64
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final

import pytest

from flowrunner.domain.values import WorkspaceId
from flowrunner.security.redaction import SecretRedactor
from support.databases import MARA
from support.mailbox import scripted_mail_server as scripted_server
from support.sql import LOGIN_OK, READY, Querier, asked, described, error, greet, message, row
from support.tls import Issuer
from support.waiting import PATIENCE_SECONDS

Talk = Callable[[socket.socket], None]
PASSWORD: Final = "a-very-long-password"
NOTICE: Final = message(b"N", b"M" + b"x" * 1000 + b"\0", b"\0")


def url(port: int, more: str = "?sslmode=disable") -> str:
    return f"postgresql://ada:{PASSWORD}@127.0.0.1:{port}/shop{more}"


def after_greeting(*answers: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        greet(connection)
        for answer in answers:
            asked(connection)
            connection.sendall(answer)
        connection.recv(1 << 16)

    return talk


def at_once(answer: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(answer)
        connection.recv(1 << 16)

    return talk


def endlessly(answer: bytes, first: Talk | None = None) -> Talk:
    def talk(connection: socket.socket) -> None:
        asked(connection)
        if first is not None:
            first(connection)
        # It is closed as soon as the client has had enough.
        while True:
            connection.sendall(answer * 100)

    return talk


def asks(code: int, rest: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!I", code), rest)


@pytest.mark.parametrize(
    ("talk", "type"),
    [
        (at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "sql.invalid_answer"),
        (at_once(b"220 mail.example.com ESMTP\r\n"), "sql.invalid_answer"),
        (at_once(b"R\x00\x00\x00\x00"), "sql.invalid_answer"),
        (at_once(b"R\x7f\xff\xff\xff" + b"x" * 1000), "sql.invalid_answer"),
        (at_once(message(b"R", b"\0")), "sql.invalid_answer"),
        (at_once(b""), "timeout"),
        (at_once(LOGIN_OK + message(b"K", b"\0" * 5000)), "sql.invalid_answer"),
        (at_once(LOGIN_OK * 2), "sql.invalid_answer"),
        (endlessly(NOTICE), "sql.invalid_answer"),
        (endlessly(message(b"S", b"a\0b\0")), "sql.invalid_answer"),
        (endlessly(message(b"A", struct.pack("!I", 1), b"c\0p\0")), "sql.invalid_answer"),
        (at_once(error((b"S", b"FATAL"), (b"C", b"28P01"), (b"M", b"no"))), "sql.28P01"),
        (at_once(error((b"C", b"../x\n"), (b"M", b"no"))), "sql.invalid_answer"),
        (at_once(message(b"E", b"M" + b"x" * 10_000_000 + b"\0\0")), "sql.invalid_answer"),
        (at_once(message(b"E")), "sql.invalid_answer"),
    ],
)
async def test_what_is_not_postgresql_is_told_in_bounded_time_and_memory(talk: Talk, type: str) -> None:
    with scripted_server(talk) as port:
        querier = Querier(url(port))
        querier.context.timeout_seconds = 0.5 if type == "timeout" else PATIENCE_SECONDS
        failed = await querier.fail("SELECT 1")

    assert failed.type == type


@pytest.mark.parametrize(
    ("code", "rest", "said"),
    [
        (3, b"", "asks for the password in clear text, which only 'sslmode=verify-full' allows"),
        (7, b"", "asks for a login by GSSAPI"),
        (9, b"", "asks for a login by SSPI"),
        (2, b"", "asks for a login by Kerberos"),
        (99, b"", "asks for a login by an unknown method"),
        (10, b"SCRAM-SHA-256-PLUS\0\0", "offers no mechanism that is known"),
        (10, b"PLAIN\0\0", "offers no mechanism that is known"),
        (11, b"r=x,s=eA==,i=1", "asks for a login by an unknown method"),
    ],
)
async def test_a_password_is_given_to_nobody_who_asks_for_it_in_another_way(code: int, rest: bytes, said: str) -> None:
    received: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(asks(code, rest))
        while data := connection.recv(1 << 16):
            received.append(data)

    with scripted_server(talk) as port:
        failed = await Querier(url(port)).fail("SELECT 1")

    assert failed.type == "sql.login"
    assert said in failed.message
    assert PASSWORD.encode() not in b"".join(received)


def scram(challenge: Callable[[bytes], bytes], *then: bytes) -> Talk:
    """Offer SCRAM, answer the client's nonce by a challenge, and its proof by other messages."""

    def talk(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(asks(10, b"SCRAM-SHA-256\0\0"))
        nonce = asked(connection).rpartition(b"r=")[2]
        connection.sendall(asks(11, challenge(nonce)))
        asked(connection)
        connection.sendall(b"".join(then))
        connection.recv(1 << 16)

    return talk


SALT: Final = base64.b64encode(b"salt")


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=2147483647"), "other than 1 to 1000000"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=" + b"9" * 4000), "other than 1 to 1000000"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=0"), "other than 1 to 1000000 iterations"),
        (scram(lambda nonce: b"r=other,s=" + SALT + b",i=1"), "its challenge is invalid"),
        (scram(lambda nonce: b"r=" + nonce + b",s=" + SALT + b",i=1"), "its challenge is invalid"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=%,i=1"), "its challenge is invalid"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=1", LOGIN_OK), "has not proved that it knows"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=1", asks(12, b"v=" + SALT)), "has not proved"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=1", asks(5, b"salt")), "changed how it asks"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=1", asks(3)), "changed how it asks"),
        (scram(lambda nonce: b"r=" + nonce + b"x,s=" + SALT + b",i=1", asks(11, b"r=x")), "a second challenge"),
    ],
)  # fmt: skip
async def test_a_server_that_does_not_keep_to_scram_gets_no_query(talk: Talk, said: str) -> None:
    with scripted_server(talk) as port:
        failed = await Querier(url(port)).fail("SELECT 1")

    assert failed.type == "sql.login"
    assert said in failed.message


ONE: Final = described(("a", 25))


@pytest.mark.parametrize(
    ("answers", "type"),
    [
        # A row of 1 GB is announced.
        ((ONE, b"D" + struct.pack("!I", 2**30)), "sql.too_large"),
        ((ONE, b"D" + struct.pack("!I", 2**32 - 1)), "sql.too_large"),
        ((ONE, row([b"x" * 600_000]) * 2), "sql.too_large"),
        ((ONE, row([b""]) * 10_001), "sql.too_large"),
        ((ONE, row([b"a", b"b"])), "sql.invalid_answer"),
        ((ONE, message(b"D", b"\0\1\x7f\xff\xff\xff")), "sql.invalid_answer"),
        ((ONE, message(b"D")), "sql.invalid_answer"),
        ((row([b"a"]),), "sql.too_large"),
        ((message(b"n") + READY, row([])), "sql.invalid_answer"),
        ((message(b"T", b"\xff\xff"),), "sql.invalid_answer"),
        ((message(b"t", b"\xff\xff"),), "sql.invalid_answer"),
        ((message(b"T", b"\0\1a"),), "sql.invalid_answer"),
        ((ONE, message(b"C", b"SELECT 1") + READY), "sql.invalid_answer"),
        ((ONE, message(b"G", b"\0\0\0")), "sql.copy"),
        ((ONE, NOTICE * 9000), "sql.invalid_answer"),
        ((ONE, message(b"2") * 100_001), "sql.invalid_answer"),
    ],
)
async def test_an_answer_that_does_not_fit_is_not_read(answers: tuple[bytes, ...], type: str) -> None:
    with scripted_server(after_greeting(*answers)) as port:
        failed = await Querier(url(port)).fail("SELECT 1")

    assert failed.type == type


async def test_values_that_are_not_what_their_type_says_stay_text() -> None:
    columns = {"a": 23, "b": 16, "c": 1184, "d": 3802, "e": 17, "f": 1007, "g": 701, "h": 1007, "i": 114, "j": 1007}
    values = [
        *(b"9" * 5000, b"maybe", b"9999-99-99 00:00:00+00", b"{", b"\\xzz", b"{1,{2}", b"1e999"),
        *(b"{" * 100_000, b"[" * 50_000, b"{1,2}}"),
    ]

    def talk(connection: socket.socket) -> None:
        greet(connection)
        asked(connection)
        connection.sendall(described(*columns.items()))
        asked(connection)
        connection.sendall(row(values) + message(b"C", b"SELECT 1\0") + READY)
        asked(connection)
        connection.sendall(message(b"C", b"COMMIT\0") + READY)

    with scripted_server(talk) as port:
        ((only,),) = [await Querier(url(port)).rows("SELECT 1")]

    assert only == dict(zip(columns, [False if v == b"maybe" else v.decode() for v in values], strict=True))


async def test_texts_that_databases_cannot_keep_are_made_readable() -> None:
    fields = [(b"S", b"ERROR"), (b"C", b"P0001"), (b"M", b"bad \xff text"), (b"D", b"d\xff")]

    with scripted_server(after_greeting(error(*fields) + READY, READY)) as port:
        failed = await Querier(url(port)).fail("SELECT 1")

    assert failed.type == "sql.P0001"
    assert failed.message == "bad \ufffd text"
    assert isinstance(failed.data, dict)
    assert failed.data["detail"] == "d\ufffd"


async def test_s27_a_secret_that_an_error_quotes_is_whole_wherever_it_stands() -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqG\nSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----"
    redactor = SecretRedactor()
    redactor.add([secret])
    fields = [(b"S", b"ERROR"), (b"C", b"22P02")]
    for letter, pad in ((b"M", 1900), (b"D", 1960), (b"H", 4000), (b"W", 1930)):
        fields.append((letter, f'invalid input syntax for type integer: "{"x" * pad}{secret}"'.encode()))

    with scripted_server(after_greeting(error(*fields) + READY, READY)) as port:
        failed = await Querier(url(port)).fail("SELECT 1")

    stored = str(redactor.redact({"message": failed.message, "data": failed.data}))
    assert "BEGIN" not in stored
    assert stored.count("***") == 5


@pytest.mark.parametrize("operation", ["query", "execute"])
async def test_a_connection_that_ends_in_the_commit_leaves_in_doubt_only_what_may_have_changed(operation: str) -> None:
    def talk(connection: socket.socket) -> None:
        greet(connection)
        asked(connection)
        connection.sendall(described())
        asked(connection)
        connection.sendall(message(b"C", b"UPDATE 1\0") + READY)
        asked(connection)

    with scripted_server(talk) as port:
        failed = await Querier(url(port)).fail("UPDATE t SET a = 1", operation=operation)

    assert failed.type == ("sql.commit_unknown" if operation == "execute" else "connection.lost")


async def test_a_commit_that_takes_too_long_is_in_doubt_before_the_step_ends() -> None:
    def talk(connection: socket.socket) -> None:
        after_greeting(described(), message(b"C", b"UPDATE 1\0") + READY)(connection)
        # The commit has come, and is not answered.
        connection.recv(1 << 16)

    with scripted_server(talk) as port:
        querier = Querier(url(port))
        querier.context.timeout_seconds = 4.0
        slots, workspace_id = querier.clients.slots, WorkspaceId(MARA)
        await slots.take(workspace_id, 16)
        # The wait for a slot is a part of the step's time.
        asyncio.get_running_loop().call_later(1.5, slots.give_back, workspace_id, 16)
        async with asyncio.timeout(4.0):
            failed = await querier.fail("UPDATE t SET a = 1", operation="execute")

    assert failed.type == "sql.commit_unknown"
    assert "did not answer in time while the transaction was committed" in failed.message


async def test_an_error_before_the_end_of_a_connection_is_told() -> None:
    """As PgBouncer does."""

    def talk(connection: socket.socket) -> None:
        greet(connection)
        asked(connection)
        connection.sendall(error((b"S", b"ERROR"), (b"C", b"08P01"), (b"M", b"query_wait_timeout")))

    with scripted_server(talk) as port:
        failed = await Querier(url(port)).fail("UPDATE t SET a = 1", operation="execute")

    assert (failed.type, failed.message) == ("sql.08P01", "query_wait_timeout")


async def test_a_connection_that_ends_before_the_commit_has_changed_nothing() -> None:
    with scripted_server(greet) as port:
        failed = await Querier(url(port)).fail("UPDATE t SET a = 1", operation="execute")

    assert failed.type == "connection.lost"


async def test_a_transaction_that_the_server_rolled_back_is_no_success() -> None:
    answers = (described(), message(b"C", b"UPDATE 1\0") + READY, message(b"C", b"ROLLBACK\0") + READY)
    with scripted_server(after_greeting(*answers)) as port:
        failed = await Querier(url(port)).fail("UPDATE t SET a = 1", operation="execute")

    assert failed.type == "sql.rolled_back"


async def test_what_somebody_inserts_before_the_encryption_is_no_part_of_the_session() -> None:
    def talk(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(b"S" + LOGIN_OK + READY)
        connection.recv(1 << 16)

    with scripted_server(talk) as port:
        failed = await Querier(url(port, "?sslmode=require")).fail("SELECT 1")

    assert failed.type == "sql.invalid_answer"


@pytest.mark.parametrize(
    "answer",
    [asks(10, b"SCRAM-SHA-256\0\0"), asks(5, b"salt"), asks(3), LOGIN_OK + READY],
    ids=["scram", "md5", "plain", "none"],
)
async def test_a_login_that_is_to_be_bound_to_the_certificate_is_no_other(answer: bytes, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Issuer(tmp_path, "issuer").issue("server", host="localhost"))
    received: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as encrypted:
            asked(encrypted)
            encrypted.sendall(answer)
            while data := encrypted.recv(1 << 16):
                received.append(data)

    with scripted_server(talk) as port:
        failed = await Querier(url(port, "?sslmode=require&channel_binding=require")).fail("SELECT 1")

    assert (failed.type, "does not bind" in failed.message) == ("sql.login", True)
    assert received == []


async def test_an_error_before_the_encryption_is_not_believed() -> None:
    with scripted_server(at_once(error((b"C", b"40001"), (b"M", b"try again with your password")))) as port:
        failed = await Querier(url(port, "")).fail("SELECT 1")

    assert failed.type == "connection.tls"
    assert "password" not in failed.message


async def test_a_step_that_ends_ends_its_connection_whatever_the_server_does() -> None:
    loop, connected, ended = asyncio.get_running_loop(), asyncio.Event(), Event()

    def talk(connection: socket.socket) -> None:
        asked(connection)
        loop.call_soon_threadsafe(connected.set)
        while connection.recv(1 << 16):
            pass
        ended.set()

    with scripted_server(talk) as port:
        querier = Querier(url(port))
        step = asyncio.create_task(querier.run("SELECT 1"))
        await connected.wait()
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step

        assert await asyncio.to_thread(ended.wait, PATIENCE_SECONDS)
        # And its slot is free again.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while querier.clients.slots.held(querier.context.sql.workspace_id):  # type: ignore[attr-defined] # of this one
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def test_a_statement_is_cancelled_before_its_connection_ends() -> None:
    """A pooler knows nothing of the statement of a client that has gone."""
    loop, running = asyncio.get_running_loop(), asyncio.Event()
    sessions: list[socket.socket] = []
    seen: list[tuple[bytes, bool]] = []
    told = Event()

    def is_open(connection: socket.socket) -> bool:
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True

    def talk(connection: socket.socket) -> None:
        if sessions:
            seen.append((asked(connection), is_open(sessions[0])))
            # No server answers this.
            connection.sendall(row([b"x"]))
            told.set()
            return
        sessions.append(connection)
        greet(connection)
        asked(connection)
        connection.sendall(described())
        asked(connection)
        loop.call_soon_threadsafe(running.set)
        told.wait(PATIENCE_SECONDS)

    with scripted_server(talk) as port:
        step = asyncio.create_task(Querier(url(port)).run("SELECT pg_sleep(600)"))
        await running.wait()
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        assert await asyncio.to_thread(told.wait, PATIENCE_SECONDS)

    assert seen == [(struct.pack("!IIII", 16, 80877102, 1, 2), True)]


async def test_a_server_that_reads_nothing_does_not_outlast_the_step() -> None:
    def talk(connection: socket.socket) -> None:
        greet(connection)
        asked(connection)
        connection.sendall(message(b"1") + message(b"t", struct.pack("!hI", 1, 25)) + message(b"n") + READY)
        # Until the other side is gone.
        while connection.recv(1, socket.MSG_PEEK):
            time.sleep(0.01)

    with scripted_server(talk) as port:
        querier = Querier(url(port))
        querier.context.timeout_seconds = 1.0
        failed = await querier.fail("SELECT $1", operation="execute", args=["x" * 30_000_000])

    assert failed.type == "timeout"
