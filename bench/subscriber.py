"""A client's end of `/ws/executions/{id}`: as much of the protocol as a measurement needs, and little memory."""

import asyncio
import base64
import os
from collections.abc import Callable
from typing import Final, cast

from bench.processes import HOST, BenchFailed

_TEXT: Final = 1
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 0x8A
_SHORT: Final = 126
_LONG: Final = 127


def upgrade(port: int, execution_id: str, token: str) -> bytes:
    """The request that asks for a WebSocket."""
    lines = [
        f"GET /ws/executions/{execution_id} HTTP/1.1",
        f"Host: {HOST}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {token}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Subscriber(asyncio.Protocol):
    """Reads what comes, answers pings, and tells of each message.

    Attributes:
        opened: Done when the server has agreed to the WebSocket.
        ended: Done when it is over.
    """

    def __init__(self, request: bytes, on_message: Callable[[bytes], None] = lambda text: None) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._on_message = on_message
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(BenchFailed(f"a WebSocket was refused: {self._pending[:300]!r}"))
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._pending += data
        if not self.opened.done():
            head, separator, rest = self._pending.partition(b"\r\n\r\n")
            if not separator:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.close()
                return
            self.opened.set_result(None)
            self._pending = rest
        while self._take_frame():
            continue

    def _take_frame(self) -> bool:
        pending = self._pending
        if len(pending) < 2:
            return False
        size, start = pending[1], 2
        if size == _SHORT:
            size, start = int.from_bytes(pending[2:4], "big"), 4
        elif size == _LONG:
            size, start = int.from_bytes(pending[2:10], "big"), 10
        if len(pending) < start + size:
            return False
        kind, text = pending[0] & 0xF, pending[start : start + size]
        self._pending = pending[start + size :]
        if kind == _TEXT:
            self._on_message(text)
        elif kind == _PING:
            assert self._transport is not None, "connected"
            # Masked with zeros, the content stays as it is.
            self._transport.write(bytes([_PONG, 0x80 | len(text), 0, 0, 0, 0]) + text)
        elif kind == _CLOSE:
            self.close()
        return True


async def subscribe(
    port: int, execution_id: str, token: str, on_message: Callable[[bytes], None] = lambda text: None
) -> Subscriber:
    request = upgrade(port, execution_id, token)
    _, subscriber = await asyncio.get_running_loop().create_connection(
        lambda: Subscriber(request, on_message), HOST, port
    )
    await subscriber.opened
    return subscriber
