"""HTTP on the wire: an answer leaves in one piece, and what comes in has bounds.

The server writes the head of an answer and its body one after the other, and each write is a
system call that wakes the other side. Joined, the two cost what the first one did.
"""

import asyncio
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from flowrunner.api.edge import SECURITY_HEADERS
from flowrunner.api.errors import error_answer

# Of a request's line and headers; also of anything else that is neither a head nor a body.
MAX_HEAD_BYTES: Final = 64 * 1024
# ": " and the end of the line.
_BYTES_A_HEADER: Final = 4
# From the first byte of a head (or from the connection's start) to its last.
HEAD_SECONDS: Final = 5.0
# Between two pieces of a body.
BODY_SECONDS: Final = 60.0
# Of what is sent over a WebSocket, so much waits in the system for the other side to take it.
SOCKET_SEND_BYTES: Final = 128 * 1024
# How long a connection that was refused is still read, so that its end does not overtake the answer.
_LINGER_SECONDS: Final = 1.0


class JoinedWrites:
    """A transport that sends at once what was written within one turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._pending:
            self._loop.call_soon(self._send)
        self._pending.append(data)

    def _send(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._transport.write(data)

    def write_eof(self) -> None:
        self._send()
        self._transport.write_eof()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._pending))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connections:
    """The open connections of a server, WebSockets included, and which of them keep it waiting.

    Nobody has to say who they are before they connect, so there may always be more than the server can hold.
    Then the one that has kept it waiting for longest, for a request or the rest of one, is closed: whoever
    sends a request at once is served, whatever others do.

    Args:
        most: How many there may be.
        on_drop: Is called for each that is closed.
    """

    def __init__(self, most: int, *, on_drop: Callable[[], None]) -> None:
        self._most = most
        self._on_drop = on_drop
        self._waiting: OrderedDict[JoinedHttpProtocol, None] = OrderedDict()

    def waits(self, connection: "JoinedHttpProtocol", *, open_ones: int) -> None:
        """A request is waited for from now on. Args: open_ones: Connections that are open."""
        self._waiting[connection] = None
        self._waiting.move_to_end(connection)
        if open_ones > self._most:
            slowest, _ = self._waiting.popitem(last=False)
            slowest.transport.abort()
            self._on_drop()

    def waits_no_more(self, connection: "JoinedHttpProtocol") -> None:
        self._waiting.pop(connection, None)


class _HeadTooLarge(Exception):
    """Makes the parser stop."""


class JoinedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol on such a transport, for callers that nobody knows yet.

    The parser gathers a header until it ends, however long it is. So bytes are counted where they
    come in, and looked at more closely only if they are many.

    Args:
        open_connections: The server's.
        options: What uvicorn gives its protocols.
    """

    _patience: asyncio.TimerHandle | None = None
    # What is waited for: the end of a head since then, the next piece of a body since then, or nothing.
    _head_since: float | None = None
    _body_since: float | None = None
    # Bytes since the last head or piece of a body ended.
    _loose_bytes = 0
    _is_refused = False
    # The request that is being answered; further ones may have come behind it.
    _answering: RequestResponseCycle | None = None

    def __init__(self, *, open_connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # only narrower
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type] # walks like one
        self._head_since = self.loop.time()
        self._patience = self.loop.call_later(HEAD_SECONDS, self._look_at_time)
        self._open_connections.waits(self, open_ones=len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_patience()
        self._open_connections.waits_no_more(self)
        super().connection_lost(exc)
        # Of several requests on the connection, uvicorn tells only the last one.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        # The system would take megabytes for a subscriber that reads none of it.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_SEND_BYTES)
        self._lose_patience()
        self._open_connections.waits_no_more(self)
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._loose_bytes += len(data)
        if self._body_since is not None:
            self._body_since = self.loop.time()
        elif self._head_since is None:
            self._head_since = self.loop.time()
        super().data_received(data)
        if self._loose_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    # What the parser finds

    def on_headers_complete(self) -> None:
        if self._loose_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            self._refuse_head()
            raise _HeadTooLarge
        self._loose_bytes = 0
        self._head_since = None
        self._body_since = self.loop.time()
        super().on_headers_complete()

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + _BYTES_A_HEADER for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = 0
        self._body_since = None
        self._open_connections.waits_no_more(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._open_connections.waits(self, open_ones=len(self.connections))

    # What is refused

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "This is not an HTTP request that can be read")

    def _refuse_head(self) -> None:
        self._refuse(431, f"The request's line and headers have more than {MAX_HEAD_BYTES} bytes")

    def _refuse(self, status: int, message: str) -> None:
        if self._is_refused or self.transport is None or self.transport.is_closing():
            return
        self._is_refused = True
        self._lose_patience()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                # Another request is being answered: the connection ends with that answer.
                cycle.keep_alive = False
                return
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
            # It is the body of this request: nothing else is to be answered to it.
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(_refusal(status, message))
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    # What takes too long

    def _look_at_time(self) -> None:
        now = self.loop.time()
        is_answering = self.cycle is not None and not self.cycle.response_complete
        deadline = now + HEAD_SECONDS
        if self._head_since is not None:
            if is_answering:
                # The answer to the request before comes first.
                self._head_since = now
            deadline = self._head_since + HEAD_SECONDS
        elif self._body_since is not None:
            if self.flow.read_paused:
                # It is the server that does not read.
                self._body_since = now
            deadline = self._body_since + BODY_SECONDS
        if deadline <= now:
            self.transport.close()
        else:
            self._patience = self.loop.call_at(min(deadline, now + HEAD_SECONDS), self._look_at_time)

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _refusal(status: int, message: str) -> bytes:
    """An answer in the shape of all others, to what never became a request."""
    request_id = secrets.token_hex(8)
    answer = error_answer(request_id, status, message)
    headers = [
        *answer.raw_headers,
        (b"x-request-id", request_id.encode()),
        *SECURITY_HEADERS,
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[status] + lines + b"\r\n" + bytes(answer.body)
