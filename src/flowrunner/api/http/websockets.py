"""The WebSocket protocol, with a deadline for handshakes and without a buffer for client messages."""

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from flowrunner.api.http.connections import Connection

# Time from the end of the request head until the server accepts or rejects the handshake.
HANDSHAKE_SECONDS: Final = 60.0
# A ping takes six bytes, so a few kilobytes of frames take milliseconds to parse.
_SLICE_BYTES: Final = 512
_SLICES_PER_PASS: Final = 16
# The pause after a pass, by the processor time that it took.
_PAUSE_SHARE: Final = 4
# Longer messages are sent one at a time over all sockets.
_LONG_CHARACTERS: Final = 64 * 1024
UNREADABLE_HANDSHAKE: Final = "This is not a WebSocket handshake that can be read"


class FrameReading:
    """Reads input of WebSockets round-robin, in small slices, for at most a fifth of the event loop's time."""

    def __init__(self) -> None:
        self._waiting: deque[SocketProtocol] = deque()

    def add(self, protocol: "SocketProtocol") -> None:
        if not self._waiting:
            protocol.loop.call_soon(self._read)
        self._waiting.append(protocol)

    def _read(self) -> None:
        begun = time.thread_time()
        try:
            for _ in range(min(_SLICES_PER_PASS, len(self._waiting))):
                protocol = self._waiting.popleft()
                if protocol.read_slice():
                    self._waiting.append(protocol)
        finally:
            # One that fails keeps no other from being read.
            if self._waiting:
                pause = _PAUSE_SHARE * (time.thread_time() - begun)
                self._waiting[0].loop.call_later(pause, self._read)


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, hardened against clients that do not read and clients that send too much.

    The API expects no messages from clients: their size is checked, and they are dropped.

    Args:
        reading: The reader of all sockets of the server.
        long_sends: A lock for the whole server, held by the socket that sends a long message.
        options: The options that uvicorn passes to its protocols.
    """

    transport: Connection  # type: ignore[assignment] # has the same methods

    def __init__(self, *, reading: FrameReading, long_sends: asyncio.Lock, **options: Any) -> None:
        super().__init__(**options)
        self._reading = reading
        self._long_sends = long_sends
        self._unread = bytearray()
        self._is_queued = self._is_write_paused = False
        self._handshake: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._handshake = self.loop.call_later(HANDSHAKE_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_handshake()
        self._unread.clear()
        self.transport.lost()
        super().connection_lost(exc)
        # Without reference cycles all is freed at once. The garbage collector would take long for that of a crowd.
        self.conn.parser.close()

    def eof_received(self) -> None:
        self.transport.close()

    def handle_connect(self, event: Request) -> None:
        if self.conn.accept(event).status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            # `data_received` answers. The library would do so in a shape of its own, and quote the faulty header.
            self.handshake_initiated = self.handshake_complete = True
            return
        super().handle_connect(event)

    async def send(self, message: ASGISendEvent) -> None:
        text = message.get("text")
        if isinstance(text, str) and len(text) > _LONG_CHARACTERS:
            await self._send_long(message)
            return
        await super().send(message)
        if self._handshake is not None and (self.handshake_complete or self.close_sent):
            self._end_handshake()

    async def _send_long(self, message: ASGISendEvent) -> None:
        """Send a message that takes milliseconds to copy; one such message per iteration of the event loop."""
        while True:
            # Wait before taking the lock: a client that does not read must not block the others.
            await self.writable.wait()
            async with self._long_sends:
                if self.writable.is_set():
                    await super().send(message)
                    await asyncio.sleep(0)
                    return

    def _end_handshake(self) -> None:
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None
            self.transport.awaits_data(False)

    # Input from the client

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            if (error := self.conn.handshake_exc) is not None:
                self.close_sent = True
                self.transport.refuse(400, UNREADABLE_HANDSHAKE)
                self.transport.close()
                # The frames of the tracebacks hold this protocol, which holds the exception.
                for one in filter(None, (error, error.__cause__)):
                    one.__traceback__ = one.__context__ = None
            return
        self._unread += data
        self.transport.pause_reading()
        self._queue()

    def read_slice(self) -> bool:
        """Parse one slice of the received bytes; return True if more can be parsed now."""
        if self.transport.is_closing():
            self._unread.clear()
        data = bytes(self._unread[:_SLICE_BYTES])
        del self._unread[:_SLICE_BYTES]
        if data:
            super().data_received(data)
        if self._unread and not self._is_write_paused:
            return True
        self._is_queued = False
        if not self._unread and not self._is_write_paused:
            self.transport.resume_reading()
        return False

    def _queue(self) -> None:
        if not self._is_queued and not self._is_write_paused:
            self._is_queued = True
            self._reading.add(self)

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
            return
        # Before the end of the handshake no close frame is sent, which uvicorn expects.
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.transport.close()

    def handle_text(self, event: Frame) -> None:
        pass

    def handle_bytes(self, event: Frame) -> None:
        pass

    def handle_cont(self, event: Frame) -> None:
        pass

    # Backpressure

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_write_paused = True
        # Pings are answered, so reading stops until the client has read the answers.
        self.transport.pause_reading()
        self.transport.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_write_paused = False
        self.transport.resume_writing()
        self._queue()
