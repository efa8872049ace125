"""Real HTTP server on the loopback address, and a client that may reach it."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from flowrunner.security.egress import EgressClient
from flowrunner.security.egress_policy import EgressPolicy
from support.networks import LOOPBACK


@cache
def bomb() -> bytes:
    """Return a fifth of a megabyte that unpacks to 200."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(1024 * 1024)) for _ in range(200)), packer.flush()])


@dataclass(frozen=True, slots=True)
class Seen:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """Server that receives the requests.

    Attributes:
        seen: Received requests in order.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, path: str, status: int = 200, body: bytes | str = b"", **headers: str) -> str:
        """Set the answer to requests for ``path``; return its URL."""
        content = body.encode() if isinstance(body, str) else body
        self.given[path] = (status, content, {k.replace("_", "-"): v for k, v in headers.items()})
        return self.url + path

    def give_bytes(self, path: str, answer: bytes) -> str:
        """Set the answer as it is sent, after which the connection ends; return the URL."""
        self.given[path] = answer
        return self.url + path

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            # A header that is sent twice is seen as a list (RFC 9110, 5.3).
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        self.seen.append(Seen(request.method, request.path, request.query_string, headers, body))
        self.was_asked.set()
        match request.path:
            case "/hang":
                await asyncio.sleep(30)
            case "/lost":
                assert request.transport is not None
                request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
                request.transport.close()
            case "/nothing":
                assert request.transport is not None
                request.transport.close()
            case "/garbage":
                assert request.transport is not None
                request.transport.write(b"this is not HTTP\r\n\r\n")
                request.transport.close()
            case "/bomb":
                return web.Response(body=bomb(), headers={"Content-Encoding": "gzip"})
            case "/endless":
                response = web.StreamResponse()
                await response.prepare(request)
                try:
                    while True:
                        await response.write(b"x" * 65536)
                except (ConnectionError, aiohttp.ClientError):
                    return response
        if isinstance(self.given.get(request.path), bytes):
            assert request.transport is not None
            request.transport.write(self.given[request.path])
            request.transport.close()
            return web.Response()
        status, content, extra = self.given.get(request.path, (200, b"", {}))
        return web.Response(status=status, body=content, headers=extra)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", peer.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield peer
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[EgressClient]:
    client = EgressClient(EgressPolicy([LOOPBACK]))
    yield client
    await client.close()
