"""The open connections of a server: how many, how much memory they hold, and which of them keep it waiting."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

# Of all connections together: bodies under way, and answers that are not taken.
MOST_HELD_BYTES: Final = 128 * 2**20
# Of an answer, so much waits in the system for the client to take it. The system itself would give it megabytes.
SEND_BYTES: Final = 128 * 1024
# A client that has not taken that much of its answer in that time, nor all of it, is not waited for any longer.
READ_SECONDS: Final = 30.0
_SLOWEST_READ_BYTES: Final = 16 * 1024


class Connections:
    """What the open connections take, WebSockets included.

    Anybody may connect, so there can always be more connections than the server can hold. Then the one that has kept
    it waiting for longest is closed: for a request, for the rest of one, for a handshake, or for an answer to be
    taken. A client that sends a request at once and reads the answer is served, whatever others do.

    Args:
        most: How many there may be.
        most_bytes: How much memory they may hold in all.
        on_drop: Called for each that is closed.
    """

    def __init__(self, most: int, *, on_drop: Callable[[], None], most_bytes: int = MOST_HELD_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._on_drop = on_drop
        self._open = 0
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        self._held: dict[Connection, int] = {}
        self._held_bytes = 0

    def opened(self) -> None:
        self._open += 1

    def lost(self, connection: "Connection") -> None:
        self._open -= 1
        self._forget(connection)

    def waits(self, connection: "Connection") -> None:
        """The client is waited for from now on."""
        self._waiting[connection] = None
        self._waiting.move_to_end(connection)
        if self._open > self._most:
            self._drop(next(iter(self._waiting)))

    def waits_no_more(self, connection: "Connection") -> None:
        self._waiting.pop(connection, None)

    def hold(self, connection: "Connection", size: int) -> bool:
        """Set how many bytes are kept for the connection; False if there is no room for them."""
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
    """The transport of a connection: sends at once what is written within one turn of the event loop.

    The server writes the head of an answer and its body one after the other, and each write is a system call that
    wakes the other side. Joined, the two cost what the first one did.

    A protocol on it reports what the client is waited for. What the client has not taken of an answer is looked at
    here, as it may outlast the protocol's own interest.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, connections: Connections) -> None:
        self._transport = transport
        self._loop = loop
        self._connections = connections
        self._pending: list[bytes] = []
        self._sent_bytes = 0
        self._awaits_data = self._awaits_reader = False
        self._request_bytes = 0
        self._patience: asyncio.TimerHandle | None = None
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        connections.opened()

    # What the client is waited for

    def awaits_data(self, does: bool) -> None:
        """A request, the rest of one, or the end of a handshake is waited for, or is not any more."""
        self._awaits_data = does
        self._tell()

    def holds_request(self, size: int) -> bool:
        """Set how many bytes of requests are kept; False if there is no room for them."""
        if size == self._request_bytes:
            return True
        self._request_bytes = size
        return self._hold()

    def pause_writing(self) -> None:
        """The system takes no more of an answer, as the client does not."""
        self._awaits_reader = True
        self._tell()
        self._hold()
        self._expect_reader()

    def resume_writing(self) -> None:
        self._awaits_reader = False
        self._tell()
        self._hold()
        if not self._transport.is_closing():
            self._lose_patience()

    def lost(self) -> None:
        self._lose_patience()
        self._connections.lost(self)

    def _tell(self) -> None:
        if self._awaits_data or self._awaits_reader:
            self._connections.waits(self)
        else:
            self._connections.waits_no_more(self)

    def _hold(self) -> bool:
        unread = SEND_BYTES + self._transport.get_write_buffer_size() if self._awaits_reader else 0
        return self._connections.hold(self, self._request_bytes + unread)

    def _expect_reader(self) -> None:
        if self._patience is None:
            taken = self._sent_bytes - self._transport.get_write_buffer_size()
            self._patience = self._loop.call_later(READ_SECONDS, self._look_at_reader, taken)

    def _look_at_reader(self, taken_before: int) -> None:
        self._patience = None
        unread = self._transport.get_write_buffer_size()
        if unread and self._sent_bytes - unread - taken_before < _SLOWEST_READ_BYTES:
            self._transport.abort()
        elif unread:
            self._expect_reader()

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    # A transport

    def write(self, data: bytes) -> None:
        if not self._pending:
            self._loop.call_soon(self._send)
        self._pending.append(data)

    def _send(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            # Once it is closed, nobody reads this.
            if not self._transport.is_closing():
                self._sent_bytes += len(data)
                self._transport.write(data)

    def write_eof(self) -> None:
        self._send()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Close it once the client has taken everything, or takes no more."""
        self._send()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._expect_reader()

    def abort(self) -> None:
        self._transport.abort()

    def pause_reading(self) -> None:
        # Of one that is closed, uvloop raises.
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._pending))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
