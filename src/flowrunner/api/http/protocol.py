"""HTTP on the wire: what comes in has bounds, and every connection a deadline in every state."""

import asyncio
from typing import Any, Final, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from flowrunner.api.http.connections import Connection, Connections
from flowrunner.api.http.refusals import refusal

# Of a request's line and headers; also of anything else that is neither a head nor a body.
MAX_HEAD_BYTES: Final = 64 * 1024
# ": " and the end of the line.
_BYTES_A_HEADER: Final = 4
# From the first byte of a head (or from the connection's start) to its last.
HEAD_SECONDS: Final = 5.0
# For a body, and a second more for so many bytes of it.
BODY_SECONDS: Final = 60.0
_SLOWEST_BODY_BYTES: Final = 4 * 1024
# Of a request that has come in part, not worth to be counted.
_SMALL_BYTES: Final = 4 * 1024
# Requests that wait on a connection for the answers to the ones before.
MAX_PIPELINED: Final = 16
# How long a connection that was refused is still read, so that its end does not overtake the answer.
_LINGER_SECONDS: Final = 1.0
# What the WebSocket library takes, which says nothing where there is more.
_MAX_UPGRADE_HEADERS: Final = 128
_MAX_UPGRADE_LINE_BYTES: Final = 8 * 1024 - 2

_UNREADABLE: Final = "This is not an HTTP request that can be read"
_HEAD_TOO_LARGE: Final = f"The request's line and headers have more than {MAX_HEAD_BYTES} bytes"
_ENCODED: Final = "The request's Transfer-Encoding can only be 'chunked': send the body as it is"
_UPGRADE_WITH_BODY: Final = "A WebSocket handshake is a GET request of HTTP/1.1 without a body"
_UPGRADE_TOO_LARGE: Final = (
    f"The WebSocket handshake has more than {_MAX_UPGRADE_HEADERS} headers, or a line of more than "
    f"{_MAX_UPGRADE_LINE_BYTES} bytes"
)
_BUSY: Final = "The server holds as many requests as it has memory for: try again in a moment"


class _Refused(Exception):
    """Makes the parser stop."""


class JoinedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol for callers that nobody knows yet.

    The parser gathers a header until it ends, however long it is. So bytes are counted where they
    come in, and looked at more closely only if they are many.

    Args:
        open_connections: The server's.
        options: What uvicorn gives its protocols.
    """

    transport: Connection  # type: ignore[assignment] # walks like one

    _patience: asyncio.TimerHandle | None = None
    # What is waited for: the end of a head since then, the end of a body until then, or nothing.
    _head_since: float | None = None
    _body_until: float | None = None
    # Bytes since the last head or piece of a body ended.
    _loose_bytes = 0
    _body_bytes = 0
    _is_refused = False
    # The request that is being answered; further ones may have come behind it.
    _answering: RequestResponseCycle | None = None

    def __init__(self, *, open_connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # only narrower
        connection = Connection(transport, self.loop, self._open_connections)
        super().connection_made(connection)  # type: ignore[arg-type] # walks like one
        self._head_since = self.loop.time()
        self._patience = self.loop.call_later(HEAD_SECONDS, self._look_at_time)
        connection.awaits_data(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_patience()
        self.transport.lost()
        super().connection_lost(exc)
        # Of several requests on the connection, uvicorn tells only the last one.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def eof_received(self) -> None:
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.resume_writing()

    def handle_websocket_upgrade(self) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        # Its deadline is the other protocol's from here on, and it keeps its place among those that are waited for.
        self._lose_patience()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._loose_bytes += len(data)
        if self._body_until is None and self._head_since is None:
            self._head_since = self.loop.time()
        super().data_received(data)
        if self._loose_bytes > MAX_HEAD_BYTES:
            self._refuse(431, _HEAD_TOO_LARGE)
        if (held := self._loose_bytes + self._body_bytes) > _SMALL_BYTES and not self.transport.holds_request(held):
            self._refuse(503, _BUSY)

    # What the parser finds

    def on_headers_complete(self) -> None:
        if self._loose_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            self._stop(431, _HEAD_TOO_LARGE)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(400, _UNREADABLE)
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._stop(400, _ENCODED)
        if self.parser.should_upgrade() and self._should_upgrade():
            self._check_upgrade()
        self._loose_bytes = 0
        self._head_since = None
        self._body_until = self.loop.time() + BODY_SECONDS
        super().on_headers_complete()

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + _BYTES_A_HEADER for name, value in self.headers)

    def _check_upgrade(self) -> None:
        """Refuse here what the WebSocket library would leave without an answer."""
        lines = [len(name) + len(value) + 2 for name, value in self.headers]
        lines.append(len(self.url) + len("GET  HTTP/1.1"))
        if len(self.headers) > _MAX_UPGRADE_HEADERS or max(lines) > _MAX_UPGRADE_LINE_BYTES:
            self._stop(431, _UPGRADE_TOO_LARGE)
        has_body = any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" 0"))
            for name, value in self.headers
        )
        is_get = self.parser.get_method() == b"GET" and self.parser.get_http_version() == "1.1"
        if has_body or not is_get or (self.cycle is not None and not self.cycle.response_complete):
            self._stop(400, _UPGRADE_WITH_BODY)

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        if self._body_until is not None:
            self._body_until += len(body) / _SLOWEST_BODY_BYTES
        if not self.cycle.response_complete:
            self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = 0
        self._body_until = None
        self.transport.awaits_data(False)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._body_bytes = 0
            self.transport.holds_request(0)
        # The last of the requests is answered, or has not all come yet.
        if not self.transport.is_closing() and (self.cycle.response_complete or self.cycle.more_body):
            self.transport.awaits_data(True)

    # What is refused

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, _UNREADABLE)

    def _stop(self, status: int, message: str) -> NoReturn:
        self._refuse(status, message)
        raise _Refused

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
        self.transport.write(refusal(status, message))
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
        elif self._body_until is not None:
            if self.flow.read_paused:
                # It is the server that does not read.
                self._body_until = max(self._body_until, now + BODY_SECONDS)
            deadline = self._body_until
        if deadline <= now:
            self.transport.close()
        else:
            self._patience = self.loop.call_at(min(deadline, now + HEAD_SECONDS), self._look_at_time)

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
