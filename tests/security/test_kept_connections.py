"""Requests on kept connections: as aiohttp sends its own, with the same limits and the same errors."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from flowrunner.plugin import HttpAnswer, NodeFailure
from flowrunner.ports.http import SentRequest
from flowrunner.security import bounded_answers, parsing_budget
from flowrunner.security.bounded_answers import MAX_ANSWER_BYTES, MAX_HEAD_BYTES
from flowrunner.security.egress import EgressClient
from flowrunner.security.egress_policy import EgressPolicy
from support.lazy import Lazy
from support.networks import LOOPBACK

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HANG_UP: Final = b""
SILENT: Final = b"..."
_PACKED: Final = gzip.compress(b"packed", mtime=0)


def _answer(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class ByteReceiver:
    """A server whose answers are bytes.

    Attributes:
        answers: The answers to come; `OK` after the last one.
        requests: Each request with the number of its connection.
        closed: The connections that the client has closed.
    """

    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)
    count: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        number = self.count
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, _, length = head.lower().partition(b"content-length: ")
                body = await reader.readexactly(int(length.split(b"\r\n")[0])) if length else b""
                self.requests.append((number, head + body))
                given = self.answers.pop(0) if self.answers else OK
                if given == HANG_UP:
                    break
                if given != SILENT:
                    writer.write(given)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.add(number)
        finally:
            writer.close()

    @property
    def connections(self) -> list[int]:
        """The connection of each request."""
        return [number for number, _ in self.requests]

    def lines(self, index: int) -> list[bytes]:
        """Return the lines of a request, of which only the first and the last have a place."""
        first, *headers = self.requests[index][1].split(b"\r\n")
        return [first, *sorted(headers)]


@pytest.fixture
async def receiver() -> AsyncIterator[ByteReceiver]:
    found = ByteReceiver()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield found
    server.close()


@pytest.fixture
async def client() -> AsyncIterator[EgressClient]:
    found = EgressClient(EgressPolicy([LOOPBACK]))
    yield found
    await found.close()


async def ask(client: EgressClient, url: str, method: str = "GET", **options: Any) -> HttpAnswer:
    return await client.request(method, url, **{"headers": {}, **options})


async def failure(client: EgressClient, url: str, method: str = "GET", **options: Any) -> str:
    with pytest.raises(NodeFailure) as raised:
        await ask(client, url, method, **options)
    return raised.value.type


@pytest.mark.parametrize(
    "sent",
    [
        ("GET", "/a%20b?q=%C3%A4#part", {}, None),
        ("GET", "/", {"accept": "text/html", "USER-AGENT": "other", "X-Text": "grün"}, None),
        ("get", "/", {"Accept-Encoding": "identity", "Cookie": "a=b", "x-a": "1", "X-A": "2"}, None),
        ("HEAD", "/", {}, None),
        ("GET", "/", {}, b"{}"),
        ("POST", "/", {}, b"\x00\xff"),
        ("POST", "/", {"content-type": "application/json"}, b"{}"),
        ("post", "/", {}, b"{}"),
        ("PUT", "/", {}, b""),
        ("POST", "/", {}, None),
        ("DELETE", "/", {}, None),
    ],
)
async def test_a_request_on_a_kept_connection_is_that_on_a_new_one(
    client: EgressClient, receiver: ByteReceiver, sent: tuple[str, str, Mapping[str, str], bytes | None]
) -> None:
    method, path, headers, body = sent
    if method == "HEAD":
        receiver.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"] * 2

    for _ in range(2):
        answer = await ask(client, receiver.url + path, method, headers=headers, body=body)

    assert receiver.connections == [1, 1]
    assert receiver.lines(0) == receiver.lines(1)
    assert answer.body == (b"" if method == "HEAD" else b"ok")


@pytest.mark.parametrize(
    ("user", "sent"), [("name:word", b"bmFtZTp3b3Jk"), ("name", b"bmFtZTo="), (":word", b"OndvcmQ=")]
)
async def test_a_user_in_the_url_is_sent_on_a_kept_connection_too(
    client: EgressClient, receiver: ByteReceiver, user: str, sent: bytes
) -> None:
    url = receiver.url.replace("//", f"//{user}@")

    await ask(client, url)
    await ask(client, url)

    assert receiver.connections == [1, 1]
    assert receiver.lines(0) == receiver.lines(1)
    assert b"Authorization: Basic " + sent in receiver.lines(1)


@pytest.mark.parametrize(
    ("given", "body"),
    [
        (_answer(_PACKED, "Content-Encoding: gzip"), b"packed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"ok"),
        (Lazy(lambda: _answer(b"x" * 500_000)), Lazy(lambda: b"x" * 500_000)),
    ],
)
async def test_answers_on_a_kept_connection_are_read_to_their_end(
    client: EgressClient, receiver: ByteReceiver, given: bytes, body: bytes
) -> None:
    receiver.answers = [OK, given]
    await ask(client, receiver.url)

    assert (await ask(client, receiver.url)).body == body
    assert (await ask(client, receiver.url)).body == b"ok"
    assert receiver.connections == [1, 1, 1]


async def test_each_answer_on_a_kept_connection_may_be_as_long_as_the_first(
    client: EgressClient, receiver: ByteReceiver
) -> None:
    receiver.answers = [_answer(b"x" * MAX_ANSWER_BYTES) for _ in range(4)]

    answers = [await ask(client, receiver.url) for _ in range(4)]

    assert [len(answer.body) for answer in answers] == [MAX_ANSWER_BYTES] * 4
    assert receiver.connections == [1] * 4


async def test_a_connection_that_the_answer_closes_is_not_kept(client: EgressClient, receiver: ByteReceiver) -> None:
    receiver.answers = [OK, _answer(b"last", "Connection: close")]

    bodies = [(await ask(client, receiver.url)).body for _ in range(3)]

    assert bodies == [b"ok", b"last", b"ok"]
    assert receiver.connections == [1, 1, 2]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_request_that_may_be_repeated_is_sent_again_after_a_kept_connection_was_closed(
    client: EgressClient, receiver: ByteReceiver, method: str
) -> None:
    receiver.answers = [OK, HANG_UP]
    await ask(client, receiver.url)

    assert (await ask(client, receiver.url, method, body=None if method == "GET" else b"{}")).body == b"ok"
    assert receiver.connections == [1, 1, 2]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_any_other_request_is_not_sent_again(client: EgressClient, receiver: ByteReceiver, method: str) -> None:
    receiver.answers = [OK, HANG_UP]
    await ask(client, receiver.url)

    assert await failure(client, receiver.url, method, body=b"{}") == "connection.lost"
    assert receiver.connections == [1, 1]


@pytest.mark.parametrize(
    ("given", "type"),
    [
        (b"no HTTP at all\r\n\r\n", "http.invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1), "http.invalid_answer"),
        (Lazy(lambda: _answer(b"x" * (MAX_ANSWER_BYTES + 1))), "http.too_large"),
        (
            Lazy(lambda: _answer(gzip.compress(bytes(64 * MAX_ANSWER_BYTES), mtime=0), "Content-Encoding: gzip")),
            "http.too_large",
        ),
        (_answer(b"not packed", "Content-Encoding: gzip"), "http.invalid_answer"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20 + OK, "http.invalid_answer"),
    ],
)
async def test_an_unfit_answer_on_a_kept_connection_is_the_error_that_it_is_on_a_new_one(
    client: EgressClient, receiver: ByteReceiver, given: bytes, type: str
) -> None:
    receiver.answers = [given, OK, given]

    on_new = await failure(client, receiver.url)
    await ask(client, receiver.url)
    on_kept = await failure(client, receiver.url)
    await ask(client, receiver.url)

    assert (on_new, on_kept) == (type, type)
    assert receiver.connections[1] == receiver.connections[2]


async def test_two_answers_to_one_request_close_a_kept_connection(client: EgressClient, receiver: ByteReceiver) -> None:
    receiver.answers = [OK, OK + _answer(b"of another request")]

    bodies = [(await ask(client, receiver.url)).body for _ in range(3)]

    assert bodies == [b"ok", b"ok", b"ok"]
    assert receiver.connections == [1, 1, 2]


async def test_a_second_answer_that_is_still_to_be_parsed_is_not_that_to_the_next_request(
    client: EgressClient, receiver: ByteReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One piece in each iteration of the event loop, as with many answers at the same time.
    monkeypatch.setattr(parsing_budget, "_BUDGET_SECONDS", 1e-9)
    padded = _answer(b"own", f"X-Padding: {'x' * bounded_answers._PIECE_OF_HEAD}")
    own = padded.replace(b"x" * (len(padded) - bounded_answers._PIECE_OF_HEAD), b"", 1)
    assert len(own) == bounded_answers._PIECE_OF_HEAD
    receiver.answers += [OK, own + _answer(b"foreign")]

    bodies = [(await ask(client, receiver.url)).body for _ in range(3)]

    assert bodies == [b"ok", b"own", b"ok"]
    assert receiver.connections == [1, 1, 2]


async def test_a_request_that_is_given_up_closes_its_kept_connection(
    client: EgressClient, receiver: ByteReceiver
) -> None:
    receiver.answers = [OK, SILENT]
    await ask(client, receiver.url)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ask(client, receiver.url)
    await ask(client, receiver.url)

    assert receiver.connections == [1, 1, 2]
    assert receiver.closed == {1}


async def test_a_header_that_cannot_be_sent_leaves_the_connection_as_it_was(
    client: EgressClient, receiver: ByteReceiver
) -> None:
    await ask(client, receiver.url)

    assert await failure(client, receiver.url, headers={"X-Text": "\ud800"}) == "http.invalid_request"
    await ask(client, receiver.url)
    assert receiver.connections == [1, 1]


async def test_a_long_body_is_sent_as_a_whole(client: EgressClient, receiver: ByteReceiver) -> None:
    await ask(client, receiver.url)
    await ask(client, receiver.url, "POST", body=b"x" * 1_000_000)

    assert receiver.connections == [1, 1]
    assert receiver.requests[1][1].endswith(b"\r\n\r\n" + b"x" * 1_000_000)


async def test_a_redirect_on_a_kept_connection_leads_to_checked_addresses_only(
    client: EgressClient, receiver: ByteReceiver
) -> None:
    receiver.answers = [OK, b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n"]
    await ask(client, receiver.url)

    assert await failure(client, receiver.url, max_redirects=3) == "egress.forbidden"


async def test_a_kept_connection_is_not_taken_for_another_host(client: EgressClient, receiver: ByteReceiver) -> None:
    await ask(client, receiver.url)

    assert (await ask(client, receiver.url.replace("127.0.0.1", "localhost"))).body == b"ok"
    assert receiver.connections == [1, 2]


class Trace:
    """Keeps the requests of a client."""

    def __init__(self) -> None:
        self.ended: list[SentRequest] = []
        self.parent: str | None = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def begin(self, request: SentRequest) -> str | None:
        return self.parent

    async def end(self, request: SentRequest) -> None:
        self.ended.append(request)


async def test_a_traced_request_ends_as_any_other_one_and_is_recorded() -> None:
    heads: list[bytes] = []
    is_asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        if head.startswith(b"GET /never "):
            is_asked.set()
            await reader.read()
        elif head.startswith(b"GET /here "):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    trace = Trace()
    client = EgressClient(EgressPolicy([LOOPBACK]), tracer=trace)
    try:
        assert (await ask(client, f"{url}/here")).status == 204
        assert await failure(client, f"{url}/lost") == "connection.lost"
        waiting = asyncio.create_task(ask(client, f"{url}/never"))
        await is_asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await ask(client, f"{url}/here", headers={"TraceParent": "mine"})
        trace.parent = None
        await ask(client, f"{url}/here")
    finally:
        await client.close()
        server.close()

    assert [(request.status, request.error_type) for request in trace.ended] == [
        (204, None), (None, "connection.lost"), (None, "CancelledError"), (204, None), (204, None),
    ]  # fmt: skip
    assert all(request.ended_at > request.began_at for request in trace.ended)
    assert all(b"traceparent: 00-0af" in head.lower() for head in heads[:-2])
    assert b"00-0af" not in heads[-2]
    assert b"traceparent" not in heads[-1].lower()
