"""What reaches another origin when a server redirects there: a request, and nothing that was meant for the first."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from flowrunner.nodes.http_request import HttpRequest
from flowrunner.security.egress import EgressClient
from flowrunner.security.egress_policy import EgressPolicy
from support.contexts import PlainContext
from support.networks import LOOPBACK
from support.scoreboard import Scoreboard

STATUSES: Final = (301, 302, 303, 307, 308)
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# Every value holds this word, which must not arrive anywhere else.
MARK: Final = "meant-for-the-first"
USUAL: Final = (
    "Accept", "Accept-Language", "Cache-Control", "Content-Language", "Content-Type", "Idempotency-Key", "User-Agent",
    "Referer", "Origin", "If-Match", "Range",
)  # fmt: skip
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "a bearer token": {"auth": {"token": MARK}},
    "a password": {"auth": {"username": MARK, "password": MARK}},
    "a key": {"auth": {"api_key": MARK}},
    "a key under a name of its own": {"auth": {"api_key": MARK, "key_name": "Accept-Language"}},
    "cookies": {"headers": {"Cookie": f"session={MARK}"}},
    "usual headers": {"headers": dict.fromkeys(USUAL, MARK)},
    "headers of its own": {"headers": {"X-Tenant": MARK, "x-amz-security-token": MARK, "apikey": MARK}},
    "a query": {"query": {"key": MARK}},
    "a body": {"body": {"text": MARK}},
    "text": {"body": MARK},
    "a form": {"form": {"text": MARK}},
}
# Every header that may arrive: what the client itself says of every request.
OF_THE_CLIENT: Final = {
    "host", "accept", "accept-encoding", "user-agent", "content-length", "content-type", "flowrunner-depth"
}  # fmt: skip


@dataclass
class Origin:
    """A server that keeps what it gets as bytes, and redirects to ``location`` while there is one."""

    host: str
    port: int = 0
    status: int = 200
    location: str | None = None
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lengths = [
                    line.partition(":")[2] for line in head.split("\r\n") if line.lower().startswith("content-le")
                ]
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(lengths[0]) if lengths else 0))
                location = "" if self.location is None else f"Location: {self.location}\r\n"
                writer.write(f"HTTP/1.1 {self.status} X\r\n{location}Content-Length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def origins() -> AsyncIterator[tuple[Origin, Origin]]:
    first, other = Origin("127.0.0.1"), Origin("127.0.0.9")
    servers = []
    for origin in (first, other):
        server = await asyncio.start_server(origin.answer, origin.host, 0)
        origin.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    yield first, other
    for server in servers:
        server.close()


@pytest.fixture
async def context() -> AsyncIterator[PlainContext]:
    client = EgressClient(EgressPolicy([LOOPBACK]))
    yield PlainContext(client)
    await client.close()


async def request(context: PlainContext, origin: Origin, **params: Any) -> Any:
    node_type = HttpRequest()
    return await node_type.run(node_type.read({"url": f"{origin.url}/x", "follow_redirects": True, **params}), context)


async def test_s68_another_origin_gets_nothing_that_was_meant_for_the_first(
    context: PlainContext, origins: tuple[Origin, Origin], scoreboard: Scoreboard
) -> None:
    first, other = origins
    leaks, cases = [], 0
    for status, method, (shape, params) in itertools.product(STATUSES, METHODS, SHAPES.items()):
        first.status, first.location = status, f"{other.url}/there"
        other.heads.clear()
        other.bodies.clear()
        cases += 1

        await request(context, first, method=method, **params)

        (head,), (body,) = other.heads, other.bodies
        names = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if line}
        if MARK in head or body or context.idempotency_key in head or not names <= OF_THE_CLIENT:
            leaks.append((status, method, shape, head, body))
    scoreboard.count("redirects: headers and bodies that reach another origin", cases=cases, failures=len(leaks))
    assert leaks == []


async def test_s68_what_was_left_behind_does_not_come_back(
    context: PlainContext, origins: tuple[Origin, Origin]
) -> None:
    """The other origin leads back to the first, by a path of its choice."""
    first, other = origins
    first.status, first.location = 307, f"{other.url}/there"
    other.status, other.location = 307, f"{first.url}/chosen-by-the-other"

    with pytest.raises(Exception, match="redirects"):
        await request(context, first, method="POST", auth={"token": MARK}, body=MARK)

    assert MARK in first.heads[0]
    assert [MARK in head for head in (*first.heads[1:], *other.heads)] == [False] * 5
    assert (first.bodies[0], set(first.bodies[1:] + other.bodies)) == (MARK.encode(), {b""})


@pytest.mark.parametrize("authority", ["127.0.0.1:{other}", "localhost:{first}", "user:pass@127.0.0.9:{other}"])
async def test_s68_another_port_or_name_is_another_origin(
    context: PlainContext, origins: tuple[Origin, Origin], authority: str
) -> None:
    first, other = origins
    server = await asyncio.start_server(other.answer, "127.0.0.1", other.port)
    first.status, first.location = 308, f"http://{authority.format(first=first.port, other=other.port)}/"

    try:
        # A name of the first that leads to it again ends only when there were too many.
        with pytest.raises(Exception, match="redirects") if "localhost" in authority else contextlib.nullcontext():
            await request(context, first, method="PUT", headers={"X-Key": MARK}, body=MARK)
    finally:
        server.close()

    heads = (*first.heads[1:], *other.heads)
    assert heads
    assert not any(MARK in head for head in heads)
    assert set(first.bodies[1:] + other.bodies) == {b""}


async def test_the_log_says_that_a_redirect_was_followed_without_the_body(
    context: PlainContext, origins: tuple[Origin, Origin]
) -> None:
    first, other = origins
    first.status, first.location = 307, f"{other.url}/there"

    await request(context, first, method="POST", body=MARK)

    level, message, _ = context.lines[0]
    assert (level, "without the node's headers and body" in message) == ("warn", True)
    assert f"{other.host}:{other.port}" in message


async def test_the_log_says_nothing_where_nothing_was_left_behind(
    context: PlainContext, origins: tuple[Origin, Origin]
) -> None:
    first, other = origins
    first.status, first.location = 303, f"{other.url}/there"

    await request(context, first, method="POST", body={"a": 1})

    assert [level for level, _, _ in context.lines] == ["info"]


async def test_within_one_origin_a_redirect_carries_everything(
    context: PlainContext, origins: tuple[Origin, Origin]
) -> None:
    first, _ = origins
    first.status, first.location = 307, "/again"

    with pytest.raises(Exception, match="redirects"):
        await request(context, first, method="POST", headers={"X-Key": MARK}, body=MARK)

    assert all(MARK in head for head in first.heads)
    assert set(first.bodies) == {MARK.encode()}
