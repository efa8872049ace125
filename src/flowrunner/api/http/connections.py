"""Limits on the open connections of a server: their number, their memory, and slow clients."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from flowrunner.api.http.delays import Delays
from flowrunner.api.http.paced_starts import PacedStarts
from flowrunner.api.http.refusals import refusal
from flowrunner.api.http.turns import Turns

# Memory of all connections together: partial bodies, and answers that clients have not read.
MOST_HELD_BYTES: Final = 128 * 2**20
# Size of the kernel's send buffer. Its default would grow to megabytes.
SEND_BYTES: Final = 128 * 1024
# A client must read its answer completely, or this many bytes of it, within this time.
READ_SECONDS: Final = 30.0
_SLOWEST_READ_BYTES: Final = 16 * 1024


class Connections:
    """The open connections, WebSockets included.

    Any client can connect, so there can be more connections than the server can hold. Then the connection whose client
    has been waited for longest is closed, whether the server waits for a request, the rest of one, a handshake, or for
    an answer to be read. A client that sends its request at once and reads the answer is served regardless of others.

    Args:
        most: The maximum number of connections.
        most_bytes: The maximum memory of all connections.
        on_open: Called for each new connection.
        on_drop: Called for each connection that is closed.
        on_refusal: Called with the status of each answer to input that never becomes a request.

    Attributes:
        turns: The input that is read in later iterations of the event loop.
        long_heads: The requests with long heads, which begin one at a time.
        delays: Where answers to repeated requests wait to be sent.
    """

    def __init__(
        self,
        most: int,
        *,
        on_open: Callable[[], None] = lambda: None,
        on_drop: Callable[[], None],
        on_refusal: Callable[[int], None] = lambda status: None,
        most_bytes: int = MOST_HELD_BYTES,
    ) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._on_open = on_open
        self._on_drop = on_drop
        self.on_refusal = on_refusal
        self.turns = Turns()
        self.long_heads = PacedStarts()
        self.delays = Delays()
        self._open = 0
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        self._held: dict[Connection, int] = {}
        self._held_bytes = 0

    def opened(self) -> None:
        self._open += 1
        self._on_open()

    def lost(self, connection: "Connection") -> None:
        self._open -= 1
        self._forget(connection)

    def waits(self, connection: "Connection") -> None:
        """Note that the server waits for this client from now on."""
        self._waiting[connection] = None
        self._waiting.move_to_end(connection)
        if self._open > self._most:
            self._drop(next(iter(self._waiting)))

    def waits_no_more(self, connection: "Connection") -> None:
        self._waiting.pop(connection, None)

    def hold(self, connection: "Connection", size: int) -> bool:
        """Set the number of bytes kept for the connection; return False if they exceed the limit."""
        self._held_bytes += size - self._held.get(connection, 0)
        if not size:
            self._held.pop(connection, None)
            return True
        self._held[connection] = size
        while self._held_bytes > self._most_bytes:
            slowest = next((one for one in self._held if one in self._waiting), None)
            if slowest is None:
                return False
            self._drop(slowest)
        return True

    def _drop(self, connection: "Connection") -> None:
        self._forget(connection)
        connection.abort()
        self._on_drop()

    def _forget(self, connection: "Connection") -> None:
        self._waiting.pop(connection, None)
        self._held_bytes -= self._held.pop(connection, 0)


class Connection:
    """A transport that joins all writes within one iteration of the event loop.

    The server writes the head and the body of an answer separately, and each write is a system call that wakes the
    other side. Joined, both cost one call.

    The protocol reports when it waits for the client. Unread answers are tracked here, because they can outlive the
    protocol's own interest.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, connections: Connections) -> None:
        self._transport = transport
        self._loop = loop
        self._connections = connections
        self._pending: list[bytes] = []
        self._sent_bytes = 0
        self._awaits_data = self._awaits_reader = False
        self._request_bytes = 0
        self._reader_timer: asyncio.TimerHandle | None = None
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        connections.opened()

    # Waiting for the client

    def awaits_data(self, does: bool) -> None:
        """Set whether the server waits for a request, the rest of one, or the end of a handshake."""
        self._awaits_data = does
        self._report_waiting()

    def holds_request(self, size: int) -> bool:
        """Set the number of bytes of buffered requests; return False if they exceed the limit."""
        if size == self._request_bytes:
            return True
        self._request_bytes = size
        return self._hold()

    def pause_writing(self) -> None:
        """Note that the client does not read its answer, so the kernel's buffer is full."""
        self._awaits_reader = True
        self._report_waiting()
        self._hold()
        self._expect_reader()

    def resume_writing(self) -> None:
        self._awaits_reader = False
        self._report_waiting()
        self._hold()
        if not self._transport.is_closing():
            self._cancel_reader_timer()

    def lost(self) -> None:
        self._cancel_reader_timer()
        self._connections.lost(self)

    def _report_waiting(self) -> None:
        if self._awaits_data or self._awaits_reader:
            self._connections.waits(self)
        else:
            self._connections.waits_no_more(self)

    def _hold(self) -> bool:
        unread = SEND_BYTES + self._transport.get_write_buffer_size() if self._awaits_reader else 0
        return self._connections.hold(self, self._request_bytes + unread)

    def _expect_reader(self) -> None:
        if self._reader_timer is None:
            taken = self._sent_bytes - self._transport.get_write_buffer_size()
            self._reader_timer = self._loop.call_later(READ_SECONDS, self._check_reader, taken)

    def _check_reader(self, taken_before: int) -> None:
        self._reader_timer = None
        unread = self._transport.get_write_buffer_size()
        if unread and self._sent_bytes - unread - taken_before < _SLOWEST_READ_BYTES:
            self._transport.abort()
        elif unread:
            self._expect_reader()

    def _cancel_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    # Methods of a transport

    def write(self, data: bytes) -> None:
        if not self._pending:
            self._loop.call_soon(self._send)
        self._pending.append(data)

    def refuse(self, status: int, message: str) -> None:
        """Answer input that cannot become a request."""
        self.write(refusal(status, message))
        self._connections.on_refusal(status)

    def _send(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            # The data is dropped if the transport is closing.
            if not self._transport.is_closing():
                self._sent_bytes += len(data)
                self._transport.write(data)

    def write_eof(self) -> None:
        self._send()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Close the connection once the client has read everything or has stopped reading."""
        self._send()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._expect_reader()

    def abort(self) -> None:
        self._transport.abort()

    def pause_reading(self) -> None:
        # uvloop raises if the transport is closed.
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._pending))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
