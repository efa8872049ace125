"""Both clients before servers that fail, lie or never end."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from client.scripted import answer, drip, error, hang_up, scripted
from flowrunner.client import (
    ApiError,
    AsyncClient,
    Client,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServerUnreachable,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswer,
    async_client,
    sync_client,
)
from flowrunner.client.answers import Answer
from flowrunner.client.async_transport import AsyncTransport
from flowrunner.client.following import EventPosition, Lines, Waiting
from flowrunner.client.requests import Origin, request
from flowrunner.client.retries import Attempts, Retries
from support.lazy import Lazy
from support.tls import Issuer
from support.waiting import wait_for

TOKEN = "fr_pat_a-secret-token"
Ask = Callable[..., Any]


def ask_synchronously(url: str, method: str, path: str, *, settings: Any = None, **options: Any) -> Any:
    with Client(url, TOKEN, **(settings or {})) as client:
        return client.request(method, path, **options)


def ask_asynchronously(url: str, method: str, path: str, *, settings: Any = None, **options: Any) -> Any:
    async def ask() -> Any:
        async with AsyncClient(url, TOKEN, **(settings or {})) as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


@pytest.fixture(params=[ask_synchronously, ask_asynchronously], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    made: Ask = request.param
    return made


# What is repeated


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_lost_answer_of_what_is_idempotent_is_asked_for_again(ask: Ask, method: str) -> None:
    with scripted(hang_up, error(503, "unavailable"), answer(200, {})) as server:
        assert ask(server.url, method, "/x").status == 200

    assert len(server.requests) == 3


def test_a_post_without_a_key_is_sent_once(ask: Ask) -> None:
    for step in (hang_up, error(503, "unavailable")):
        with scripted(step, answer(200, {})) as server:
            with pytest.raises((ServerUnreachable, UnavailableError)):
                ask(server.url, "POST", "/x", json={})

        assert len(server.requests) == 1


def test_a_post_with_a_key_is_repeated_with_the_same_key(ask: Ask) -> None:
    with scripted(hang_up, answer(201, {})) as server:
        ask(server.url, "POST", "/x", json={"a": 1}, idempotency_key=True)

    keys = {server.header(number, "Idempotency-Key") for number in range(2)}
    assert len(keys) == 1
    assert keys != {None}
    assert server.requests[0].partition("\r\n\r\n")[2] == server.requests[1].partition("\r\n\r\n")[2] == '{"a":1}'


def test_a_limit_is_waited_for_as_long_as_the_server_says(ask: Ask) -> None:
    with scripted(error(429, "too_many_requests", Retry_After="1"), answer(200, {})) as server:
        assert ask(server.url, "POST", "/x", json={}).status == 200

    assert len(server.requests) == 2


@pytest.mark.parametrize("asked", [0.0, 0.1])
def test_a_shorter_wait_that_the_server_asks_for_leaves_the_rising_delay_as_it_is(asked: float) -> None:
    delays = [
        Retries(60.0).delay(attempt, elapsed=0.0, draw=0.0, is_repeatable=True, status=503, retry_after=asked)
        for attempt in (4, 5, 6)
    ]

    assert delays == pytest.approx([0.4, 0.8, 1.6])


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_the_time_for_attempts_is_left_to_the_caller(ask: Ask, status: int) -> None:
    with scripted(error(status, "", Retry_After="3600")) as server:
        with pytest.raises((TooManyRequestsError, UnavailableError)) as caught:
            ask(server.url, "GET", "/x")

    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


def test_no_attempt_begins_when_there_is_no_time_for_attempts(ask: Ask) -> None:
    with scripted(error(503, "unavailable"), answer(200, {})) as server:
        with pytest.raises(UnavailableError):
            ask(server.url, "GET", "/x", settings={"retry_seconds": 0})

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(401, "unauthorized", UnauthorizedError), (409, "conflict", ConflictError)]
)
def test_an_answer_that_would_be_the_same_again_is_final(
    ask: Ask, status: int, code: str, kind: type[ApiError]
) -> None:
    with scripted(error(status, code)) as server:
        with pytest.raises(kind):
            ask(server.url, "GET", "/x")

    assert len(server.requests) == 1


@pytest.mark.parametrize("lost", [hang_up, error(502, ""), error(503, "unavailable"), error(504, "")])
def test_what_an_earlier_attempt_may_have_done_is_said(ask: Ask, lost: Any) -> None:
    with scripted(lost, error(404, "not_found")) as server:
        with pytest.raises(NotFoundError, match="an earlier attempt may have done it"):
            ask(server.url, "DELETE", "/flows/x")


@pytest.mark.parametrize(
    ("steps", "method"),
    [((error(404, "not_found"),), "DELETE"), ((hang_up, error(403, "forbidden")), "DELETE"),
     ((hang_up, error(422, "validation_failed")), "PUT"), ((error(429, "rate_limited"), error(404, "")), "DELETE"),
     ((hang_up, error(404, "not_found")), "GET")],
)  # fmt: skip
def test_an_answer_that_no_earlier_attempt_can_have_caused_says_nothing_of_one(
    ask: Ask, steps: Any, method: str
) -> None:
    with scripted(*steps) as server, pytest.raises(ApiError) as caught:
        ask(server.url, method, "/flows/x")

    assert "earlier attempt" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "repeated"), [("GET", [429, 502, 503, 504]), ("PUT", [429, 502, 503, 504]), ("POST", [429])]
)
def test_answers_that_a_later_attempt_may_not_get_are_not_final(method: str, repeated: list[int]) -> None:
    def is_final(status: int) -> bool:
        attempts = Attempts(request(method, "/x"), Origin.parse("http://localhost"), Retries(60.0), lambda: 0.0)
        return attempts.after(Answer(status=status, headers={}, body=b"")) is None

    assert [status for status in range(200, 600) if not is_final(status)] == repeated


def test_what_any_earlier_attempt_may_have_done_is_said() -> None:
    attempts = Attempts(request("DELETE", "/flows/x"), Origin.parse("http://localhost"), Retries(60.0), lambda: 0.0)
    attempts.after_loss(ServerUnreachable("cut off", was_sent=True))
    attempts.after_loss(ServerUnreachable("no connection", was_sent=False))

    with pytest.raises(NotFoundError, match="an earlier attempt may have done it"):
        attempts.checked(Answer(status=404, headers={}, body=b'{"error": {"code": "not_found", "message": "No"}}'))


def test_a_header_of_the_caller_is_sent_instead_of_one_of_the_client_however_it_is_written(ask: Ask) -> None:
    with scripted(answer(200, {})) as server:
        ask(server.url, "GET", "/x", headers={"accept": "image/svg+xml", "AUTHORIZATION": "Bearer other"})

    head = server.requests[0].lower()
    assert "accept: image/svg+xml\r\n" in head
    assert (head.count("\r\naccept: "), head.count("\r\nauthorization: ")) == (1, 1)


def test_a_server_that_is_not_there_has_done_nothing(ask: Ask) -> None:
    with scripted() as server:
        pass

    with pytest.raises(ServerUnreachable) as caught:
        ask(server.url, "POST", "/x", json={}, settings={"retry_seconds": 0.2})

    assert not caught.value.was_sent


@pytest.fixture
def full_port() -> Iterator[int]:
    """The port of a server that takes no further connection."""
    with ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # Nobody accepts the first ones, so there is no place for another one.
        for _ in range(4):
            first = opened.enter_context(socket.socket())
            first.setblocking(False)
            first.connect_ex(server.getsockname())
        yield server.getsockname()[1]


async def test_a_server_that_takes_no_connection_has_not_got_the_request(full_port: int) -> None:
    transport = AsyncTransport(Origin.parse(f"http://127.0.0.1:{full_port}"), connect_seconds=0.1, ca_file=None)
    with pytest.raises(ServerUnreachable, match="Cannot connect to") as caught:
        async with transport.stream(request("GET", "/x"), silent_seconds=60.0):
            pass
    await transport.close()

    assert not caught.value.was_sent


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_whose_time_is_up_before_there_is_a_connection_was_not_sent(
    ask: Ask, full_port: int, scheme: str
) -> None:
    with pytest.raises(ServerUnreachable, match=r"Cannot connect to .* took too long") as caught:
        ask(f"{scheme}://127.0.0.1:{full_port}", "POST", "/x", json={}, timeout=0.1, settings={"retry_seconds": 0})

    assert not caught.value.was_sent


def test_a_request_whose_time_is_up_before_its_answer_may_have_been_done(ask: Ask) -> None:
    with scripted(drip) as server:
        with pytest.raises(ServerUnreachable, match="gave no answer: it took too long") as caught:
            ask(server.url, "POST", "/x", json={}, timeout=2, settings={"retry_seconds": 0})

    assert caught.value.was_sent


# What an answer may not do


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("path", ["/elsewhere", "/api/v1/flows"])
def test_no_redirect_is_followed_and_no_other_origin_gets_the_token(ask: Ask, status: int, path: str) -> None:
    with scripted(answer(200, {})) as other, scripted(answer(status, Location=f"{other.url}{path}?t=1")) as server:
        with pytest.raises(UnreadableAnswer, match="redirects to"):
            ask(server.url, "GET", "/flows")

    assert other.requests == []


def test_an_answer_has_a_largest_size(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sync_client", "async_client"):
        monkeypatch.setattr(f"flowrunner.client.{module}.LARGEST_ANSWER_BYTES", 1000)
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b" " * 1024 + b"\r\n"

    for step in (answer(200, "x" * 2000), endless):
        with scripted(step) as server, pytest.raises(UnreadableAnswer, match="more than 1000 bytes"):
            ask(server.url, "GET", "/x")


def test_an_answer_that_never_ends_is_given_up_in_time(ask: Ask) -> None:
    with scripted(drip) as server, pytest.raises(ServerUnreachable, match="took too long"):
        ask(server.url, "GET", "/x", timeout=0.3, settings={"retry_seconds": 0})


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        Lazy(lambda: b"[" * 200_000),
        Lazy(lambda: b'{"a": ' * 100_000),
        b"\xff",
        b"1" * 10_000,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
    ],
    ids=["html", "nested lists", "nested objects", "not text", "long number", "not a number", "infinite"],
)
def test_what_is_no_json_is_an_error_of_its_own(ask: Ask, content: bytes) -> None:
    with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)) as server:
        with pytest.raises(UnreadableAnswer):
            ask(server.url, "GET", "/x").object()


@pytest.mark.parametrize(
    "body",
    [None, [], {"error": "x"}, {"error": {"code": 7, "message": None, "details": [7], "hint": {}, "docs": 1}}],
    ids=json.dumps,
)
def test_errors_of_other_forms_are_still_errors(ask: Ask, body: Any) -> None:
    with scripted(answer(418, body)) as server, pytest.raises(ApiError) as caught:
        ask(server.url, "GET", "/x")

    assert (caught.value.status, caught.value.details, caught.value.hint) == (418, {}, None)


@pytest.mark.parametrize("found", [{}, {"execution_id": 7}, {"token": "a\r\nb"}], ids=json.dumps)
def test_an_answer_without_what_it_should_have_is_an_error_of_the_client(found: Any) -> None:
    with scripted(answer(200, found), answer(200, found)) as server, Client(server.url, TOKEN) as client:
        with pytest.raises(UnreadableAnswer):
            client.run("flow")
        with pytest.raises(UnreadableAnswer):
            client.login("ada", "secret")


def test_a_list_whose_next_page_is_the_same_one_is_an_error() -> None:
    page = {"flows": [], "next_cursor": "a"}
    with scripted(*(answer(200, page) for _ in range(4))) as server, Client(server.url, TOKEN) as client:
        for entries in (client.entries("/flows"), client.flows.list()):
            with pytest.raises(UnreadableAnswer, match="its next page is the same one"):
                list(entries)


def test_an_answer_that_is_cut_off_is_no_answer(ask: Ask) -> None:
    def cut_off(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}")

    with scripted(cut_off) as server, pytest.raises(ServerUnreachable) as caught:
        ask(server.url, "GET", "/x", settings={"retry_seconds": 0})

    assert caught.value.was_sent


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n", b"\x16\x03\x01\r\n\r\n"])
def test_what_is_no_http_is_no_answer(ask: Ask, head: bytes) -> None:
    with scripted(head) as server, pytest.raises(ServerUnreachable) as caught:
        ask(server.url, "GET", "/x", settings={"retry_seconds": 0})

    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_cookies_and_encodings_are_left_alone(is_async: bool) -> None:
    async def ask_twice(url: str) -> bytes:
        async with AsyncClient(url, TOKEN) as client:
            await client.get("/x")
            return (await client.request("GET", "/x")).body

    # With a name of a host, aiohttp would keep cookies.
    first, second = answer(200, {}, Set_Cookie="a=b"), answer(200, {}, Content_Encoding="gzip")
    with scripted(first, second) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        if is_async:
            body = asyncio.run(ask_twice(url))
        else:
            with Client(url, TOKEN) as client:
                client.get("/x")
                body = client.request("GET", "/x").body

    assert body == b"{}"
    assert server.header(1, "Cookie") is None
    assert server.header(1, "Accept-Encoding") == "identity"


# Connections


def test_a_connection_is_used_again_and_not_after_the_server_has_closed_it() -> None:
    closing = threading.Event()

    def close(connection: Any) -> None:
        connection.sendall(answer(200, {}))
        closing.wait(5)

    with scripted(answer(200, {}), close, answer(200, {})) as server, Client(server.url) as client:
        client.get("/x")
        client.get("/x")
        assert server.connections == 1
        closing.set()
        wait_for(lambda: bool(client._transport._idle) and _is_closed(client))
        # Sent once, although it may not be repeated: the closed connection is noticed before.
        client.request("POST", "/x", json={})

        assert server.connections == 2


def then_close(content: bytes) -> Callable[[socket.socket], None]:
    """Return a step that answers and closes the connection."""
    return lambda connection: connection.sendall(content)


# Answers, and whether the connection is of use afterwards.
ANSWERS: dict[str, tuple[Any, bool]] = {
    "of a known length": (answer(200, {"a": 1}), True),
    "in chunks": (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n3\r\n:1}\r\n0\r\n\r\n', True),
    "that ends the connection": (then_close(answer(200, {"a": 1}, Connection="close")), False),
    "of an old proxy": (then_close(answer(200, {"a": 1}).replace(b"HTTP/1.1", b"HTTP/1.0")), False),
    "whose end is that of the connection": (then_close(b'HTTP/1.1 200 OK\r\n\r\n{"a":1}'), False),
    "that says close, and does not": (answer(200, {"a": 1}, Connection="close"), False),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("what", ANSWERS)
def test_after_any_answer_the_next_request_has_a_connection_that_works(what: str, is_async: bool) -> None:
    step, is_kept = ANSWERS[what]

    async def ask_twice(url: str) -> Any:
        async with AsyncClient(url, retry_seconds=0) as client:
            return (await client.get("/x")), (await client.request("POST", "/x", json={})).json()

    with scripted(step, answer(200, {"a": 2})) as server:
        if is_async:
            found = asyncio.run(ask_twice(server.url))
        else:
            with Client(server.url, retry_seconds=0) as client:
                found = client.get("/x"), client.request("POST", "/x", json={}).json()

    assert found == ({"a": 1}, {"a": 2})
    assert server.connections == (1 if is_kept else 2)


def test_a_connection_with_the_rest_of_an_answer_is_not_used_again() -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\none\n"
    with scripted(begun, answer(200, {"a": 2})) as server, Client(server.url) as client:
        lines = client.lines("/x")
        assert next(lines) == b"one"
        lines.close()  # type: ignore[attr-defined] # a generator

        assert client.get("/x") == {"a": 2}
        assert server.connections == 2


FORKING = """
import os, sys
from flowrunner.client import Client

client = Client(sys.argv[1])
client.get("/x")
if child := os.fork():
    os.waitpid(child, 0)
client.get("/x")
"""


def test_a_forked_process_has_connections_of_its_own() -> None:
    with scripted(*[answer(200, {})] * 3) as server:
        subprocess.run([sys.executable, "-c", FORKING, server.url], check=True, timeout=60)

        # On the same one, each of them would read answers to requests of the other.
        assert (len(server.requests), server.connections) == (3, 2)


def _is_closed(client: Client) -> bool:
    from flowrunner.client.sync_transport import _is_closed

    return _is_closed(client._transport._idle[0])


def test_a_certificate_of_somebody_unknown_is_refused(ask: Ask, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path, "issuer")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*issuer.issue("server", "localhost"))
    trusting = {"ca_file": str(issuer.file), "retry_seconds": 0}
    with scripted(answer(200, {}), context=context) as server:
        with pytest.raises(ServerUnreachable, match="certificate verify failed"):
            ask(f"https://localhost:{server.port}", "GET", "/x", settings={"retry_seconds": 0})
        with pytest.raises(ServerUnreachable, match="certificate"):
            ask(f"https://127.0.0.1:{server.port}", "GET", "/x", settings=trusting)
        assert server.requests == []

        assert ask(f"https://localhost:{server.port}", "GET", "/x", settings=trusting).status == 200


# Events


def test_lines_may_be_longer_together_than_one_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrunner.client.following.LONGEST_LINE_BYTES", 100)
    lines = Lines()

    found = [line for _ in range(10) for chunk in (b"x" * 60, b"y\n") for line in lines.of(chunk)]

    assert found == [b"x" * 60 + b"y"] * 10


def events(url: str, *, is_async: bool) -> list[int]:
    if not is_async:
        with Client(url, TOKEN) as client:
            return [event["seq"] for event in client.events("exec-1")]

    async def read() -> list[int]:
        async with AsyncClient(url, TOKEN) as client:
            return [event["seq"] async for event in client.events("exec-1")]

    return asyncio.run(read())


def stream(*lines: str, ends: bool) -> bytes:
    chunks = b"".join(f"{len(line) + 1:x}\r\n{line}\n\r\n".encode() for line in lines)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + (b"0\r\n\r\n" if ends else b"")


def cut(*lines: str) -> Callable[[Any], None]:
    def send(connection: Any) -> None:
        connection.sendall(stream(*lines, ends=False))

    return send


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_events_go_on_where_they_were_cut_off(is_async: bool) -> None:
    more, over = ({"events": events, "has_ended": True} for events in ([{"seq": 3}], []))
    with scripted(
        cut('{"seq": 1}', "", '{"seq": 2}'),
        error(503, "unavailable"),
        # It ends early and in order, as that of a server which stops.
        stream(ends=True),
        answer(200, more),
        stream('{"seq": 3}', '{"seq": 4}', ends=True),
        answer(200, over),
    ) as server:
        assert events(server.url, is_async=is_async) == [1, 2, 3, 4]

    asked = [head.split()[1].partition("?")[2] for head in server.heads()]
    assert asked == ["after=0", "after=2", "after=2", "after=2&limit=1", "after=2", "after=4&limit=1"]


def test_events_that_arrive_between_two_losses_begin_the_time_for_attempts_again() -> None:
    now = 0.0
    position = EventPosition("exec-1", 0, Retries(10.0), lambda: now)
    for seq in range(1, 4):
        position.after_loss(ServerUnreachable("cut off", was_sent=True))
        position.event(b'{"seq": %d}' % seq)
        now += 60.0

    position.after_loss(ServerUnreachable("cut off", was_sent=True))
    now += 60.0
    with pytest.raises(ServerUnreachable):
        position.after_loss(ServerUnreachable("cut off", was_sent=True))


def test_a_loss_after_a_long_quiet_stream_begins_the_time_for_attempts() -> None:
    now = 0.0
    position = EventPosition("exec-1", 0, Retries(10.0), lambda: now)
    position.event(b'{"seq": 1}')
    now += 3600.0

    assert position.after_loss(ServerUnreachable("cut off", was_sent=True)) < 10.0
    now += 60.0
    with pytest.raises(ServerUnreachable):
        position.after_loss(ServerUnreachable("cut off", was_sent=True))


def test_a_stream_that_stays_open_begins_the_time_for_attempts_again() -> None:
    now = 0.0
    position = EventPosition("exec-1", 0, Retries(10.0), lambda: now)
    for _ in range(3):
        position.after_loss(ServerUnreachable("cut off", was_sent=True))
        now += 60.0
        position.heard()

    position.after_loss(ServerUnreachable("cut off", was_sent=True))
    for _ in range(2):
        # It says something, and is cut off at once.
        now += 4.0
        position.heard()
        position.after_loss(ServerUnreachable("cut off", was_sent=True))
    now += 4.0
    position.heard()
    with pytest.raises(ServerUnreachable):
        position.after_loss(ServerUnreachable("cut off", was_sent=True))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_empty_lines_show_that_a_stream_stays_open(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = list[int]()
    monkeypatch.setattr(EventPosition, "heard", lambda position: heard.append(position.after))
    over = {"events": [], "has_ended": True}
    with scripted(stream("", '{"seq": 1}', "", ends=True), answer(200, over)) as server:
        assert events(server.url, is_async=is_async) == [1]

    assert heard


def test_a_server_that_ends_each_stream_at_once_is_not_asked_without_a_pause() -> None:
    position = EventPosition("exec-1", 0, Retries(10.0), lambda: 0.0)

    pauses = [position.after_end() for _ in range(10)]
    position.event(b'{"seq": 1}')

    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0
    assert position.after_end() == 0.0
    for page in ({}, {"has_ended": True}, {"has_ended": "no", "events": []}):
        with pytest.raises(UnreadableAnswer):
            position.is_last(page)


def test_a_wait_asks_no_longer_than_its_time_and_a_last_look() -> None:
    now = 100.0
    short, endless = (Waiting(timeout, check=True, now=lambda: now) for timeout in (60.0, None))

    assert (short.seconds(30.0), short.retries(Retries(90.0))) == (30.0, Retries(60.0))
    now += 50.0
    assert (short.seconds(30.0), short.retries(Retries(90.0))) == (10.0, Retries(10.0))
    now += 20.0
    assert (short.seconds(30.0), short.seconds(2.0), short.retries(Retries(90.0))) == (5.0, 2.0, Retries(0.0))
    assert (endless.seconds(30.0), endless.retries(Retries(90.0))) == (30.0, Retries(90.0))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_wait_does_not_repeat_a_lost_look_when_its_time_is_up(is_async: bool) -> None:
    async def wait_asynchronously(url: str) -> None:
        async with AsyncClient(url, TOKEN) as client:
            await client.wait("exec-1", timeout=0)

    def wait(url: str) -> None:
        if is_async:
            asyncio.run(wait_asynchronously(url))
        with Client(url, TOKEN) as client:
            client.wait("exec-1", timeout=0)

    with scripted(hang_up, hang_up) as server, pytest.raises(ServerUnreachable):
        wait(server.url)

    assert len(server.heads()) == 1


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_time_in_which_nothing_can_be_answered_is_rejected(kind: Any, timeout: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        kind("http://127.0.0.1:1", TOKEN, timeout=timeout)


def test_the_time_of_one_request_is_checked_too(ask: Ask) -> None:
    with pytest.raises(ValueError, match="above 0"):
        ask("http://127.0.0.1:1", "GET", "/flows", timeout=0)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_error_in_place_of_events_is_read_whole(is_async: bool) -> None:
    whole = error(403, "forbidden")

    def in_two_parts(connection: Any) -> None:
        connection.sendall(whole[:-10])
        time.sleep(0.05)
        connection.sendall(whole[-10:])

    with scripted(in_two_parts) as server, pytest.raises(ForbiddenError, match="No"):
        events(server.url, is_async=is_async)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("line", ["nonsense", "[]", '{"seq": "x"}', "1"])
def test_a_line_that_is_no_event_is_an_error(is_async: bool, line: str) -> None:
    with scripted(stream(line, ends=True)) as server, pytest.raises(UnreadableAnswer):
        events(server.url, is_async=is_async)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_line_has_a_largest_size(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrunner.client.following.LONGEST_LINE_BYTES", 100)

    with scripted(stream("x" * 99, "x" * 200, ends=False)) as server, pytest.raises(UnreadableAnswer, match="not an"):
        events(server.url, is_async=is_async)
    with scripted(stream("", ends=False) + b"ff\r\n" + b"x" * 255 + b"\r\n") as server:
        with pytest.raises(UnreadableAnswer, match="more than 100 bytes"):
            events(server.url, is_async=is_async)


# Addresses and tokens


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://x",
        "http://",
        "http://user:pass@x",
        "http://x/?a=b",
        "http://x/#a",
        "http://x/a b",
        "http://x/\u00e4",
        "http://a b",
        "http://a\x7fb",
        "http://flows.exam\nple.com",
        "http://flows..example",
        "http://" + "a" * 64,
    ],
)
def test_an_address_that_means_no_server_is_rejected(url: str) -> None:
    with pytest.raises(ValueError, match="URL of the server"):
        Client(url)


@pytest.mark.parametrize("url", ["http://[::1]:8080", "http://flüsse.example", " http://a_b \n"])
def test_an_address_of_a_host_is_taken(url: str) -> None:
    assert Client(url).url == url.strip()


def test_a_name_with_other_letters_is_sent_in_its_ascii_form(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **named: resolve("127.0.0.1", *more, **named))
    with scripted(answer(200, {})) as server:
        ask(server.url.replace("127.0.0.1", "Müller.example"), "GET", "/flows")

    assert server.header(0, "Host") == f"xn--mller-kva.example:{server.port}"


@pytest.mark.parametrize("id", ["", ".", "..", "../accounts"])
def test_an_id_stays_one_part_of_the_path(id: str) -> None:
    with scripted(answer(200, {})) as server, Client(server.url) as client:
        try:
            client.flows.get(id)
        except ValueError:
            assert server.requests == []
        else:
            assert server.heads() == ["GET /api/v1/flows/..%2Faccounts HTTP/1.1"]


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ü"])
def test_a_token_that_is_no_token_is_rejected_without_being_shown(token: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="The token is empty") as caught:
            kind("http://127.0.0.1:1", token)

        assert len(token) < 2 or token not in str(caught.value)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_has_fallen_silent_is_lost(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_client if is_async else sync_client, "SILENT_STREAM_SECONDS", 0.2)
    has_ended = threading.Event()

    def be_silent(connection: Any) -> None:
        connection.sendall(stream("x", ends=False))
        has_ended.wait(30)

    async def read(url: str) -> list[bytes]:
        async with asyncio.timeout(20), AsyncClient(url, TOKEN) as client:
            return [line async for line in client.lines("/x")]

    with scripted(be_silent) as server, Client(server.url, TOKEN) as client:
        with pytest.raises(ServerUnreachable):
            asyncio.run(read(server.url)) if is_async else list(client.lines("/x"))
        has_ended.set()
