"""Nothing that a request is made of makes two of it, or adds a header: as a raw socket sees it."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from flowrunner.plugin import NodeFailure
from flowrunner.security.egress import EgressClient
from flowrunner.security.egress_policy import EgressPolicy
from support.scoreboard import Scoreboard

SECOND: Final = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
BREAKS: Final = (
    "\r\n", "\n", "\r", "\n\r", "\r\r\n", "\x00", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x7f", "\x85",
    "\u2028", "\u2029", "\u560d\u560a", "\u010d\u010a", "\ufe0d\ufe0a", "%0d%0a", "%0D%0A", "%250d%250a", "\\r\\n",
    "\\u000d\\u000a", "&#13;&#10;", "\x1b", "\x08", "\u200b\r\n", "\ufeff\n", "\u2424",
)  # fmt: skip
PAYLOADS: Final = (
    *(f"a{text}X-Injected: 1" for text in BREAKS),
    *(f"a{text}{text}{SECOND}" for text in BREAKS),
    f"a HTTP/1.1\r\nX-Injected: 1\r\n\r\n{SECOND}",
    "a HTTP/1.0",
    "a\r\n X-Injected: 1",
    "a\tb",
    "\ud800",
)
PLACES: Final = ("method", "value", "name", "path", "query", "fragment", "user", "host", "authorization")


class Counter:
    """Keeps all that arrives on each connection."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while b"\r\n\r\n" not in data:
                async with asyncio.timeout(5):
                    piece = await reader.read(65536)
                if not piece:
                    break
                data += piece
            # Whatever comes without being asked for.
            async with asyncio.timeout(0.02):
                while piece := await reader.read(65536):
                    data += piece
        self.received.append(data)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
async def counter() -> AsyncIterator[tuple[Counter, int]]:
    found = Counter()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    async with server:
        yield found, server.sockets[0].getsockname()[1]


def request_of(place: str, payload: str, port: int) -> tuple[str, str, dict[str, str]]:
    method, url, headers = "GET", f"http://127.0.0.1:{port}/one", {"X-Given": "x"}
    match place:
        case "method":
            method = payload
        case "value":
            headers = {"X-Given": payload}
        case "name":
            headers = {payload: "x"}
        case "authorization":
            headers = {"Authorization": f"Bearer {payload}"}
        case "path":
            url = f"http://127.0.0.1:{port}/{payload}"
        case "query":
            url += f"?q={payload}"
        case "fragment":
            url += f"#{payload}"
        case "user":
            url = f"http://{payload}@127.0.0.1:{port}/one"
        case "host":
            url = f"http://127.0.0.1{payload}:{port}/one"
    return method, url, headers


def wrong_in(data: bytes) -> list[str]:
    """What is not as one request with the headers that were meant."""
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    names = [header.partition(b":")[0].lower() for header in headers]
    meant = {b"host", b"user-agent", b"accept", b"accept-encoding", b"x-given", b"authorization", b"content-length"}
    return [
        what
        for what, is_wrong in {
            "more than one request": rest != b"" or data.count(b" HTTP/1.1\r\n") != 1,
            "a bent request line": line.count(b" ") != 2 or not line.endswith(b" HTTP/1.1"),
            "an added header": b"x-injected" in names or not set(names) <= meant or len(set(names)) != len(names),
            "a lone line break": b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""),
            "a NUL": b"\x00" in head,
        }.items()
        if is_wrong
    ]


@pytest.mark.parametrize("place", PLACES)
async def test_s37_a_payload_makes_one_request_or_none(
    counter: tuple[Counter, int], scoreboard: Scoreboard, place: str
) -> None:
    found, port = counter
    client = EgressClient(EgressPolicy([ipaddress.ip_network("127.0.0.1/32")]))
    wrong: list[Any] = []
    try:
        for payload in PAYLOADS:
            before = len(found.received)
            method, url, headers = request_of(place, payload, port)
            with contextlib.suppress(NodeFailure):
                await client.request(method, url, headers=headers)
            arrived = found.received[before:]
            problems = [problem for data in arrived for problem in wrong_in(data)]
            if len(arrived) > 1 or problems:
                wrong.append((payload, problems, arrived))
    finally:
        await client.close()

    scoreboard.count("requests bent by what they are made of", cases=len(PAYLOADS), failures=len(wrong))
    assert wrong == []


async def test_a_second_request_would_be_seen(counter: tuple[Counter, int]) -> None:
    found, port = counter
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /one HTTP/1.1\r\nHost: x\r\nX-Injected: 1\r\n\r\n" + SECOND.encode())
    await reader.read()
    writer.close()

    assert wrong_in(found.received[0]) == ["more than one request", "an added header"]


def test_there_are_sixty_payloads() -> None:
    assert len(set(PAYLOADS)) >= 60
