"""WebSockets on the wire: a handshake that ends, and clients of which nothing is kept that they send."""

import asyncio
from collections import deque
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from flowrunner.api.http.connections import Connection
from flowrunner.api.http.refusals import refusal

# From the end of its head until the server has accepted or refused it.
HANDSHAKE_SECONDS: Final = 60.0
# A ping has six bytes, so that a few kilobytes of frames take milliseconds to read.
_SLICE_BYTES: Final = 512
_SLICES_A_TURN: Final = 16
# Messages of more characters are sent one after the other, whatever number of sockets has one to send.
_LONG_CHARACTERS: Final = 64 * 1024
UNREADABLE_HANDSHAKE: Final = "This is not a WebSocket handshake that can be read"


class FrameReading:
    """Reads what WebSockets have sent: a slice of each in turn, and few slices in a turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[SocketProtocol] = deque()

    def add(self, protocol: "SocketProtocol") -> None:
        if not self._waiting:
            protocol.loop.call_soon(self._read)
        self._waiting.append(protocol)

    def _read(self) -> None:
        for _ in range(min(_SLICES_A_TURN, len(self._waiting))):
            protocol = self._waiting.popleft()
            if protocol.read_slice():
                self._waiting.append(protocol)
        if self._waiting:
            self._waiting[0].loop.call_soon(self._read)


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol for clients that need not be who they say, nor read what they are sent.

    Clients have nothing to say over a WebSocket: their messages are checked for their size, and dropped.

    Args:
        reading: The server's.
        long_sends: The server's, held by the socket that sends a long message.
        options: What uvicorn gives its protocols.
    """

    transport: Connection  # type: ignore[assignment] # walks like one

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

    def eof_received(self) -> None:
        self.transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        text = message.get("text")
        if isinstance(text, str) and len(text) > _LONG_CHARACTERS:
            await self._send_long(message)
            return
        await super().send(message)
        if self._handshake is not None and (self.handshake_complete or self.close_sent):
            self._end_handshake()

    async def _send_long(self, message: ASGISendEvent) -> None:
        """Send a message whose copies take milliseconds to make: one in each turn of the event loop."""
        while True:
            # Who does not read keeps nobody waiting.
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

    # What the client sends

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            if self.conn.handshake_exc is not None:
                self.close_sent = True
                self.transport.write(refusal(400, UNREADABLE_HANDSHAKE))
                self.transport.close()
            return
        self._unread += data
        self.transport.pause_reading()
        self._queue()

    def read_slice(self) -> bool:
        """Read a little of what has come; True if there is more to be read now."""
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

    def handle_text(self, event: Frame) -> None:
        pass

    def handle_bytes(self, event: Frame) -> None:
        pass

    def handle_cont(self, event: Frame) -> None:
        pass

    # What it does not take

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_write_paused = True
        # What it asks for is answered, so nothing more is read before it has taken the answers.
        self.transport.pause_reading()
        self.transport.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_write_paused = False
        self.transport.resume_writing()
        self._queue()
