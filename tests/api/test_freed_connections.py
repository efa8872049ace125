"""Connections that have ended are freed at once, not by the garbage collector, which would take long for a crowd."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final

import pytest
import uvicorn
from websockets.server import ServerProtocol

from flowrunner.api.http.connections import Connections
from flowrunner.api.http.protocol import JoinedHttpProtocol
from flowrunner.api.http.websockets import FrameReading, SocketProtocol
from support.waiting import PATIENCE_SECONDS

GET: Final = b"GET /http HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE: Final = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CLOSE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
KINDS: Final = (JoinedHttpProtocol, SocketProtocol, ServerProtocol)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] == "/http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
    elif scope["path"] == "/answered":
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
        await send({"type": "websocket.http.response.body", "body": b"no"})
    elif scope["path"] == "/closed":
        await send({"type": "websocket.close"})
    elif scope["path"] == "/late":
        # The client leaves before it is accepted.
        await receive()
    else:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass


def alive() -> list[str]:
    return sorted(type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS))


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    # What there is before is not looked through again and again.
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "data",
    [
        GET, b"nonsense\r\n\r\n", UPGRADE % b"/answered", UPGRADE % b"/closed", UPGRADE % b"/late",
        UPGRADE % b"/accepted", UPGRADE % b"/accepted" + CLOSE, UPGRADE % b"/accepted" + b"\xff" * 20,
        (UPGRADE % b"/accepted").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x"),
        (UPGRADE % b"/accepted").replace(b"Sec-WebSocket-Key", b"X"),
        (UPGRADE % b"/accepted").replace(b"Version: 13", b"Version: 7"),
        (UPGRADE % b"/accepted").replace(b"GET", b"POST"),
    ],
    ids=[
        "request", "unreadable", "answered", "closed", "left early",
        "accepted", "closed by its client", "faulty frame", "wrong key", "no key", "other version", "other method",
    ],
)  # fmt: skip
async def test_a_connection_that_has_ended_is_freed_without_the_garbage_collector(data: bytes) -> None:
    connections = Connections(100, on_drop=lambda: None)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=partial(JoinedHttpProtocol, open_connections=connections),  # type: ignore[arg-type] # makes one
                ws=partial(SocketProtocol, reading=FrameReading(), long_sends=asyncio.Lock()),  # type: ignore[arg-type]
                interface="asgi3", lifespan="off", log_config=None, proxy_headers=False,
            )
        )  # fmt: skip
        running = asyncio.create_task(server._serve([listener]))
        async with asyncio.timeout(PATIENCE_SECONDS):
            with no_collection():
                before = alive()
                reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
                writer.write(data)
                if b"/late" in data:
                    while alive() == before:  # noqa: ASYNC110 # the server has other tasks
                        await asyncio.sleep(0.01)
                else:
                    assert await reader.read(10_000)
                writer.close()
                while alive() != before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        server.should_exit = True
        await running
