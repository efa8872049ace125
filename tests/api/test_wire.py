"""Bytes on the wire that never become a request, or take their time."""

import re
import secrets
import socket
import threading
import time
from contextlib import closing, suppress
from typing import Final

import pytest

from api.shapes import assert_error
from security.crowd import upgrade
from support.client import Client, Reply, send_raw
from support.lazy import Lazy
from support.server import Server
from support.waiting import PATIENCE_SECONDS

LIMIT: Final = 64 * 1024
# The one that is being answered is not among those that wait.
PIPELINED: Final = 16
TOO_MANY: Final = "The request's line and headers have more than 65536 bytes"
UNREADABLE: Final = "This is not an HTTP request that can be read"


def reply_of(answer: bytes) -> Reply:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    return Reply(int(lines[0].split()[1]), headers, body)


def sent(server: Server, data: bytes) -> Reply:
    """The answer to bytes, after which the server closes the connection."""
    begun = time.monotonic()
    reply = reply_of(send_raw(server.client().address, data, seconds=20))
    assert time.monotonic() - begun < 10, "the server must end the connection"
    return reply


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def head(*headers: bytes, path: bytes = b"/healthz") -> bytes:
    return b"\r\n".join((b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers, b"", b""))


@pytest.mark.parametrize(
    "data",
    [
        head(b"X: " + b"a" * LIMIT),
        head(*[b"X: y"] * (LIMIT // 5)),
        head(path=b"/" + b"a" * LIMIT),
        # Without an end
        b"GET / HTTP/1.1\r\nX: " + b"a" * 2 * LIMIT,
        b"GET /" + b"a" * 2 * LIMIT,
        b"\r\n" * LIMIT,
        head(b"Connection: Upgrade", b"Upgrade: websocket", b"X: " + b"a" * LIMIT),
    ],
    ids=["a header", "headers", "a path", "no end", "no end of a path", "empty lines", "a WebSocket"],
)
def test_a_head_that_is_too_large_is_refused(server: Server, data: bytes) -> None:
    reply = sent(server, data)

    assert_error(reply, 431, TOO_MANY)
    assert reply.headers["connection"] == "close"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_head_that_is_just_small_enough_is_served(server: Server) -> None:
    reply = sent(server, head(b"Connection: close", b"X: " + b"a" * (LIMIT - 200)))

    assert reply.status == 200


def test_many_requests_on_one_connection_are_no_large_head(server: Server) -> None:
    one = head(b"X: " + b"a" * 5000)
    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        for _ in range(5):
            connection.sendall(one * PIPELINED)
            received = b""
            while received.count(b"HTTP/1.1 200 OK") < PIPELINED or not received.endswith(b"}"):
                received += connection.recv(65536)


def test_s62_with_too_many_requests_at_once_the_connection_ends_with_the_answers_it_owes(server: Server) -> None:
    answer = send_raw(server.client().address, head() * 10_000)

    assert 1 < answer.count(b"HTTP/1.1 200 OK") <= PIPELINED + 1
    assert answer.count(b"connection: close") == 1
    assert answer.endswith(b'{"status":"ok"}')


def test_megabytes_of_headers_are_not_taken_in(server: Server) -> None:
    before = resident_bytes(server)
    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(OSError):
            for number in range(60):
                connection.sendall(b"X-%d: " % number + b"a" * 1_000_000 + b"\r\n")
        assert_error(reply_of(until_closed(connection)), 431, TOO_MANY)

    assert resident_bytes(server) - before < 20_000_000


def resident_bytes(server: Server) -> int:
    with open(f"/proc/{server.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize(
    "trailer",
    [
        Lazy(lambda: b"0\r\nX: " + b"a" * 2_000_000),
        Lazy(lambda: b"0\r\n" + b"X: y\r\n" * 400_000),
        Lazy(lambda: b"1;" + b"a" * 2_000_000),
    ],
)
def test_what_comes_with_a_body_has_bounds_too(account: Client, trailer: bytes) -> None:
    lines = (b"POST /api/v1/auth/login HTTP/1.1", b"Host: localhost", b"Content-Type: application/json",
             b"Transfer-Encoding: chunked", b"", b"")  # fmt: skip

    reply = reply_of(send_raw(account.address, b"\r\n".join(lines) + b"1\r\n{\r\n" + trailer))

    assert_error(reply, 431)


@pytest.mark.parametrize(
    "data",
    [b"GARBAGE\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost\r\n\r\n",
     Lazy(lambda: b"\xff" * 200_000), head() [:-2] + b"Content-Length: x\r\n\r\n"],
)  # fmt: skip
def test_garbage_is_told_in_the_shape_of_all_errors(server: Server, data: bytes) -> None:
    reply = sent(server, data)

    assert_error(reply, 400, UNREADABLE)
    assert reply.headers["connection"] == "close"
    assert reply.headers["cache-control"] == "no-store"


def test_garbage_after_a_request_does_not_answer_it(server: Server) -> None:
    answer = send_raw(server.client().address, head() + b"GARBAGE\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"HTTP/1.1") == 1


_OTHER: Final = b"Host: localhost\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"


def _asking_for_another(length: bytes) -> bytes:
    return b"POST /api/v1/auth/login HTTP/1.1\r\n" + _OTHER + length + b"\r\n\r\n"


@pytest.mark.parametrize(
    "length",
    [
        b"Transfer-Encoding: chunked",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked" % len(head()),
        b"Content-Length: %d\r\nContent-Length: %d" % (len(head()), len(head())),
        b"Content-Length: 1%018d" % 0,
    ],
)
def test_a_body_without_a_clear_length_is_no_request_whatever_protocol_it_asks_for(
    server: Server, length: bytes
) -> None:
    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(_asking_for_another(length))
        begun = connection.recv(65536)
        with suppress(ConnectionError):
            connection.sendall(head())
        answer = begun + until_closed(connection)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert reply_of(answer).status == 400


# Of a name that no other test fails to log in with so often that it has to wait.
_LOGIN: Final = f'{{"username": "{secrets.token_hex(6)}", "password": "a wrong one"}}'.encode()


@pytest.mark.parametrize("piece", [1, 20, 10_000])
@pytest.mark.parametrize("body", [head(), _LOGIN], ids=["a request", "a login"])
def test_a_body_is_read_whatever_protocol_its_request_asks_for(server: Server, body: bytes, piece: int) -> None:
    requests = _asking_for_another(b"Content-Length: %d" % len(body)) + body + head(b"Connection: close")

    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(requests), piece):
            connection.sendall(requests[at : at + piece])
        answer = until_closed(connection)

    statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
    assert statuses == [b"401" if body.startswith(b"{") else b"400", b"200"]


@pytest.mark.parametrize("cut", [10, 30, 45])
@pytest.mark.parametrize("first", [head(), _asking_for_another(b"Content-Length: 2") + b"{}"], ids=["", "upgrade"])
def test_a_head_that_begins_before_the_answer_to_the_request_before_it_is_read_whole(
    server: Server, first: bytes, cut: int
) -> None:
    following = head(b"X-Long: " + b"x" * 20, b"Connection: close")

    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(first + following[:cut])
        begun = connection.recv(65536)
        connection.sendall(following[cut:])
        answer = begun + until_closed(connection)

    assert re.findall(rb"HTTP/1.1 (\d+)", answer)[1:] == [b"200"]


def test_a_request_for_another_protocol_is_served_and_so_is_the_next(server: Server) -> None:
    answer = send_raw(
        server.client().address, b"GET /healthz HTTP/1.1\r\n" + _OTHER + b"\r\n" + head(b"Connection: close")
    )

    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_the_blanks_around_a_length_are_none_of_it(server: Server) -> None:
    answer = sent(
        server,
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: \t2 \t\r\n\r\n{}",
    )

    assert_error(answer, 422)


def test_a_body_that_breaks_off_in_garbage_is_told(server: Server) -> None:
    lines = (b"POST /api/v1/auth/login HTTP/1.1", b"Host: localhost", b"Content-Type: application/json",
             b"Transfer-Encoding: chunked", b"", b"zz\r\n")  # fmt: skip

    assert_error(sent(server, b"\r\n".join(lines)), 400, UNREADABLE)


# Slowly


def test_a_head_that_does_not_end_is_not_waited_for(hasty_server: Server) -> None:
    def drip(connection: socket.socket, stop: threading.Event) -> None:
        with suppress(OSError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
            while not stop.wait(0.1):
                connection.sendall(b"X: y\r\n")

    address = hasty_server.client().address
    stop = threading.Event()
    begun = time.monotonic()
    with (
        closing(socket.create_connection(address, timeout=25)) as silent,
        closing(socket.create_connection(address, timeout=25)) as dripping,
        closing(socket.create_connection(address, timeout=25)) as second,
        closing(socket.create_connection(address, timeout=25)) as slow_body,
        closing(socket.create_connection(address, timeout=25)) as empty_lines,
    ):
        thread = threading.Thread(target=drip, args=(dripping, stop))
        thread.start()
        second.sendall(head())
        assert second.recv(65536).startswith(b"HTTP/1.1 200")
        second.sendall(b"GET /hea")
        empty_lines.sendall(b"\r\n")
        body = b'{"username": "nobody@example.com", "password": "x"}'
        slow_body.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        slow_body.sendall(b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:5])

        for connection in (silent, dripping, second, empty_lines):
            with suppress(ConnectionResetError):
                assert connection.recv(65536) == b""
        took = time.monotonic() - begun
        stop.set()
        thread.join()
        time.sleep(max(0.0, 2.5 - took))
        slow_body.sendall(body[5:])
        assert_error(reply_of(until_closed(slow_body)), 401)

    assert 0.8 < took < 10


def test_a_connection_is_kept_between_requests(hasty_server: Server) -> None:
    with closing(socket.create_connection(hasty_server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        for _ in range(5):
            connection.sendall(head())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.6)


CHUNKED: Final = head(
    b"Connection: close", b"Content-Type: application/json", b"Transfer-Encoding: chunked", path=b"/api/v1/auth/login"
).replace(b"GET", b"POST")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(*[b"abcdef: b"] * 501), 431),
        (head(path=b"/healthz?" + b"a" * 17_000), 431),
        (head(path=b"/healthz?" + b"a=1234&" * 1001), 431),
        (head(b"Connection: close", *[b"a: b"] * 400), 200),
        (CHUNKED + b"1\r\n \r\n" * 2000, 400),
        (CHUNKED + b"1\r\n \r\n" * 900 + b"0\r\n\r\n", 400),
        (CHUNKED + (b"64\r\n" + b" " * 100 + b"\r\n") * 200 + b"2\r\n{}\r\n0\r\n\r\n", 422),
    ],
    ids=["headers", "address", "parameters", "not too many headers", "crumbs", "some crumbs", "pieces"],
)  # fmt: skip
def test_what_takes_long_to_read_for_its_size_is_refused(server: Server, data: bytes, status: int) -> None:
    assert sent(server, data).status == status


BEFORE: Final = pytest.mark.parametrize(
    "before",
    [head(), CHUNKED.replace(b"Connection: close\r\n", b"") + b"2\r\n{}\r\n0\r\n\r\n"],
    ids=["a request", "a body"],
)


@pytest.mark.parametrize(
    "data",
    [
        head(*[b"abcdef: b"] * 501),
        head(path=b"/healthz?" + b"a" * 17_000),
        head(path=b"/healthz?" + b"a=1234&" * 1001),
    ],
    ids=["headers", "address", "parameters"],
)
@BEFORE
def test_a_head_in_one_piece_with_the_request_before_has_the_same_bounds(
    server: Server, before: bytes, data: bytes
) -> None:
    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(before + data)
        answer = until_closed(connection)

    # The connection ends with the answer to the request before.
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.partition(b"\r\n\r\n")[0].lower()


@BEFORE
def test_a_head_longer_than_a_segment_ends_the_connection_after_the_request_before(
    server: Server, before: bytes
) -> None:
    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(before + head(b"X: " + b"a" * LIMIT))
        answer = until_closed(connection)

    # The rest of it may arrive after the answer to the request before, and has one of its own then.
    _, *others = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert others in ([], [b"431"])
    assert b"connection: close" in answer.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")[0].lower()


def test_a_head_that_is_too_long_after_an_answer_has_its_own(server: Server) -> None:
    with closing(socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(head() + b"GET / HTTP/1.1\r\nX: ")
        answered = connection.recv(65536)
        connection.sendall(b"a" * 2 * LIMIT)
        answer = answered + until_closed(connection)

    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"431"]
    assert b"connection: close" in answer.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize("name", [b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions", b"Connection"])
def test_s61_a_handshake_with_long_lists_is_refused_before_they_are_read(server: Server, name: bytes) -> None:
    lists = [name + b": Upgrade, " + b"Upgrade," * 900] * 7

    assert sent(server, upgrade("exec-1", *lists)).status == 431


@pytest.mark.parametrize(
    "headers",
    [
        (b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: <b>"),
        (b"Sec-WebSocket-Version: 13",),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Origin: a", b"Origin: b"),
    ],
    ids=["another version", "a wrong key", "no key", "two origins"],
)
def test_s50_a_faulty_handshake_is_told_in_the_shape_of_all_errors(server: Server, headers: tuple[bytes, ...]) -> None:
    reply = sent(server, head(b"Connection: Upgrade", b"Upgrade: websocket", *headers, path=b"/ws/executions"))

    assert_error(reply, 400, "This is not a WebSocket handshake that can be read")
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_two_headers_that_name_a_workspace_name_none(account: Client, server: Server) -> None:
    named = f"Flowrunner-Workspace: {account.account_id}".encode()
    others = (f"Authorization: Bearer {account.token}".encode(), b"Connection: close")

    replies = [sent(server, head(*others, *[named] * count, path=b"/api/v1/flows")) for count in (1, 2)]

    assert replies[0].status == 200
    assert_error(replies[1], 404, "Workspace not found")
