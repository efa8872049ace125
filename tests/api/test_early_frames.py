"""Frames that a client sends before its WebSocket is accepted: they end its connection, and no other."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, Final, cast

import pytest
import uvicorn

from flowrunner.api.http.connections import Connections
from flowrunner.api.http.protocol import JoinedHttpProtocol
from flowrunner.api.http.websockets import FrameReading, SocketProtocol
from support.waiting import PATIENCE_SECONDS

_UPGRADE: Final = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# A client's frames, masked with zeros.
_PING: Final = b"\x89\x80\x00\x00\x00\x00"
_CLOSE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
# A continuation of nothing, an unknown kind, one that is not masked, and a close without half of its code.
_FAULTY: Final = (b"\x80\x80\x00\x00\x00\x00", b"\xff" * 20, b"\x81\x02hi", b"\x88\x81\x00\x00\x00\x00\x03")


class Served:
    """A server whose sockets at `/late` are not accepted.

    Attributes:
        late: The sockets that wait.
        ended: Set when a socket that was accepted has ended.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.late = 0
        self.ended = asyncio.Event()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/late":
            self.late += 1
        else:
            await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        if scope["path"] == "/late":
            self.late -= 1
        else:
            self.ended.set()

    async def connect(self, path: bytes) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=PATIENCE_SECONDS)
        connection.sendall(_UPGRADE % path)
        if path != b"/late":
            await asyncio.to_thread(connection.recv, 4096)
        return connection


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        serving = Served(listener.getsockname()[:2])
        connections = Connections(100, on_drop=lambda: None)
        server = uvicorn.Server(
            uvicorn.Config(
                serving.app,
                http=partial(JoinedHttpProtocol, open_connections=connections),  # type: ignore[arg-type] # makes one
                ws=partial(SocketProtocol, reading=FrameReading(), long_sends=asyncio.Lock()),  # type: ignore[arg-type]
                interface="asgi3",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
            )
        )
        running = asyncio.create_task(server._serve([listener]))
        yield serving
        server.should_exit = True
        await running


@pytest.mark.parametrize("faulty", _FAULTY)
async def test_a_faulty_frame_before_the_end_of_the_handshake_keeps_no_other_socket_from_being_read(
    faulty: bytes,
) -> None:
    async with served() as serving, asyncio.timeout(PATIENCE_SECONDS):
        with closing(await serving.connect(b"/good")) as good, closing(await serving.connect(b"/late")) as late:
            while not serving.late:  # noqa: ASYNC110 # the server has another task
                await asyncio.sleep(0.01)
            # Both arrive in the same iteration of the event loop; the first one takes several.
            good.sendall(_PING * 2000 + _CLOSE)
            late.sendall(faulty)

            await serving.ended.wait()
            while serving.late:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(late.recv, 4096) == b""


async def test_frames_are_read_in_turns_and_leave_four_fifths_of_the_time_to_others() -> None:
    reading, order, used = FrameReading(), list[str](), 0.0

    class Flooding:
        """Stands for a socket that always has something to read. A slice of it takes a millisecond of the processor."""

        loop = asyncio.get_running_loop()

        def __init__(self, name: str) -> None:
            self.name = name

        def read_slice(self) -> bool:
            nonlocal used
            begun = now = time.thread_time()
            while now - begun < 0.001:
                now = time.thread_time()
            used += now - begun
            order.append(self.name)
            return len(order) < 128

    for name in "abcd":
        reading.add(cast("SocketProtocol", Flooding(name)))
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(order) < 128:  # noqa: ASYNC110 # the reader has callbacks of its own
            await asyncio.sleep(0.001)
    took = time.monotonic() - begun

    assert "".join(order[:128]) == "abcd" * 32
    # A slow machine makes it a smaller part. After the last of the passes there is no pause.
    assert used * (1 - 4 / 128) < took / 4
