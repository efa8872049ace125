"""The HTTP protocol with size limits for all input and a deadline for every state of a connection."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from flowrunner.api.http.connections import Connection, Connections
from flowrunner.api.http.turns import HANDSHAKE, PIECE, REQUEST
from flowrunner.domain.whole_numbers import natural_number_of

# Limit for the request line and headers, and for any input that is neither head nor body.
MAX_HEAD_BYTES: Final = 64 * 1024
# The bytes of ": " and of the line end.
_BYTES_A_HEADER: Final = 4
# Parsing takes time for each header, parameter and escape, and reading them takes it again.
MAX_HEADERS: Final = 500
MAX_URL_BYTES: Final = 16 * 1024
MAX_PARAMETERS: Final = 1000
# Requests with longer heads, or with more headers, begin one at a time.
_LONG_HEAD_BYTES: Final = 4 * 1024
_MANY_HEADERS: Final = 100
_IS_LONG: Final = "is_long"
# Pieces that a body may have, whatever their size. More have this many bytes on average.
_MOST_SMALL_PIECES: Final = 1000
_BYTES_A_PIECE: Final = 64
# Time from the first byte of a head (or from the connection's start) to its last byte.
HEAD_SECONDS: Final = 5.0
# Time for a body, plus one second for every `_SLOWEST_BODY_BYTES` received.
BODY_SECONDS: Final = 60.0
_SLOWEST_BODY_BYTES: Final = 4 * 1024
# Partial requests up to this size are not counted towards the memory limit.
_SMALL_BYTES: Final = 4 * 1024
# Pipelined requests of a connection that wait for earlier answers. For one that waits, besides its head, more is
# counted than it takes: each is many objects, all of which the garbage collector visits.
MAX_PIPELINED: Final = 16
_REQUEST_BYTES: Final = 16 * 1024
_HEADER_BYTES: Final = 192
# Headers that take as long to parse as a piece of input.
_HEADERS_A_PIECE: Final = 16
# Time for which a rejected connection is still read, so that a reset does not overtake the answer.
_LINGER_SECONDS: Final = 1.0
# The WebSocket library parses lists character by character.
_MAX_UPGRADE_LIST_BYTES: Final = 4 * 1024
_MAX_UPGRADE_LIST_ITEMS: Final = 64
_LISTS: Final = (b"sec-websocket-", b"connection", b"upgrade")
# Limits of the WebSocket library, which sends no answer when they are exceeded.
_MAX_UPGRADE_HEADERS: Final = 128
_MAX_UPGRADE_LINE_BYTES: Final = 8 * 1024 - 2

_UNREADABLE: Final = "This is not an HTTP request that can be read"
_HEAD_TOO_LARGE: Final = f"The request's line and headers have more than {MAX_HEAD_BYTES} bytes"
_TOO_MANY: Final = (
    f"The request has more than {MAX_HEADERS} headers, an address of more than {MAX_URL_BYTES} bytes, or more than "
    f"{MAX_PARAMETERS} query parameters"
)
_CRUMBS: Final = f"The request's body comes in too many pieces: send chunks of at least {_BYTES_A_PIECE} bytes"
_ENCODED: Final = "The request's Transfer-Encoding can only be 'chunked': send the body as it is"
_UPGRADE_WITH_BODY: Final = "A WebSocket handshake is a GET request of HTTP/1.1 without a body"
_OTHER_PROTOCOL: Final = "A request with chunks cannot ask for another protocol: send it without the header 'Upgrade'"
_UPGRADE_TOO_LARGE: Final = (
    f"The WebSocket handshake has more than {_MAX_UPGRADE_HEADERS} headers, or a line of more than "
    f"{_MAX_UPGRADE_LINE_BYTES} bytes, or lists of more than {_MAX_UPGRADE_LIST_ITEMS} entries"
)
_BUSY: Final = "The server holds as many requests as it has memory for: try again in a moment"


# In place of that of a request which has been answered.
_NO_SCOPE: Final[Any] = MappingProxyType({})
# Called with the scope of a request and the headers of all answers.
RefuseEarly: TypeAlias = Callable[[Any, Iterable[tuple[bytes, bytes]]], bytes | None]


def _nothing() -> None:
    """Do nothing, for the response of a connection that is closed."""


class _Refused(Exception):
    """Raised to stop the parser."""


class JoinedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, hardened for unauthenticated clients.

    The parser buffers a header of any length. Therefore bytes are counted on arrival, and the exact size is
    computed only when the count is high.

    Args:
        open_connections: All connections of the server.
        refuse_early: Returns the answer to a request that is refused by its head alone.
        options: The options that uvicorn passes to its protocols.
    """

    transport: Connection  # type: ignore[assignment] # walks like one

    # One timer for all deadlines, which is set again and again: setting one for each request takes longer.
    _deadline_timer: asyncio.TimerHandle | None = None
    # Start of the wait for the end of a head, or deadline for the end of a body. Both are None when idle.
    _head_since: float | None = None
    _is_in_head = False
    _body_until: float | None = None
    # End of the wait for the next request; None while there is one.
    _idle_until: float | None = None
    # Bytes received since the end of the last head or piece of a body, without those that came in one piece with it.
    _loose_bytes = 0
    # The last bytes received, and the most bytes that the head to come can have by now: it may have begun in the same
    # piece as the end of the message before.
    _piece_bytes = 0
    _most_head_bytes = 0
    _body_bytes = 0
    # Bytes of a body that the parser does not read, because the request asks for a protocol that is ignored.
    _unparsed_bytes = 0
    # Memory of pipelined requests, and of a long head.
    _waiting_bytes = 0
    _pieces = 0
    _is_refused = False
    # Input that is read in a later iteration of the event loop.
    _deferred = b""
    # The request that is being answered. Pipelined requests may wait behind it.
    _answering: RequestResponseCycle | None = None
    # The request with a long head that begins a moment later, and its application.
    _begins_later: tuple[RequestResponseCycle, Any] | None = None
    # The request that is refused a moment later, and whose body nobody reads.
    _refused_later: RequestResponseCycle | None = None

    def __init__(
        self, *, open_connections: Connections, refuse_early: RefuseEarly = lambda scope, headers: None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._refuse_early = refuse_early
        self._open_connections = open_connections
        self._turns = open_connections.turns

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # only narrower
        connection = Connection(transport, self.loop, self._open_connections)
        super().connection_made(connection)  # type: ignore[arg-type] # walks like one
        self._head_since = self.loop.time()
        self._look_seconds = min(HEAD_SECONDS, self.timeout_keep_alive)
        self._deadline_timer = self.loop.call_later(self._look_seconds, self._check_deadline)
        connection.awaits_data(True)
        self._address = self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self.transport.lost()
        super().connection_lost(exc)
        # With pipelined requests, uvicorn notifies only the last one.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self._turns.leave(self._address, self._read_deferred)
        if self._begins_later is not None:
            self._open_connections.long_heads.leave(self._address, self._begin_long)
            self._begins_later = None
        # Without reference cycles all is freed at once. The garbage collector would take long for that of a crowd.
        self.pipeline.clear()
        for cycle in filter(None, (self.cycle, self._answering)):
            cycle.on_response = _nothing

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        refusal = None
        # The usual way waits until the client reads its answers.
        if cycle.keep_alive and not cycle.waiting_for_100_continue and not self.flow.write_paused:
            refusal = self._refuse_early(cycle.scope, self.server_state.default_headers)
        if refusal is None:
            # An answer to the request before, in the same data, has begun to wait for this one.
            self._idle_until = None
            if _IS_LONG in cycle.scope:
                # Meanwhile the connection may be dropped like an idle one.
                self._begins_later = cycle, app
                self._open_connections.long_heads.add(self._address, self._begin_long)
                self.transport.awaits_data(True)
            else:
                super()._start_asgi_task(cycle, app)
            return
        # Clients that repeat refused requests at once would take the processor from those that are served. A long head
        # would be kept meanwhile.
        is_short = _IS_LONG not in cycle.scope
        if is_short and self._open_connections.delays.delay(partial(self._send_refusal, cycle, refusal)):
            self._refused_later = cycle
        else:
            self._send_refusal(cycle, refusal)

    def _begin_long(self) -> None:
        if self._begins_later is not None:
            (cycle, app), self._begins_later = self._begins_later, None
            self.transport.awaits_data(cycle.more_body)
            super()._start_asgi_task(cycle, app)

    def _send_refusal(self, cycle: RequestResponseCycle, refusal: bytes) -> None:
        self._refused_later = None
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.response_started = cycle.response_complete = True
        self.transport.write(refusal)
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

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
        # From here on the WebSocket protocol sets the deadline. The connection stays in the list of waiting ones.
        self._cancel_deadline()
        super().handle_websocket_upgrade()
        # The connection's end is not reported here any more. The parser holds this protocol, which would then be left
        # to the garbage collector.
        self.parser = None  # type: ignore[assignment] # as uvicorn does at the end

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._deferred or self._turns.are_over:
            self._defer(data)
            return
        self._turns.count(PIECE)
        self._piece_bytes = len(data)
        self._loose_bytes += len(data)
        self._most_head_bytes += len(data)
        if self._body_until is None and self._head_since is None:
            self._head_since = self.loop.time()
        self._idle_until = None
        self._parse(data)
        if self._loose_bytes > MAX_HEAD_BYTES:
            self._refuse(431, _HEAD_TOO_LARGE)
        self._hold()

    def _parse(self, data: bytes) -> None:
        while data and not self._is_refused:
            try:
                if self._unparsed_bytes:
                    data = self._take_body(data)
                    continue
                self.parser.feed_data(data)
                return
            except _Refused:
                return
            except httptools.HttpParserError:
                self.send_400_response(_UNREADABLE)
                return
            except httptools.HttpParserUpgrade as error:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                # Every other protocol is ignored: what follows is the body, if there is one, or the next request.
                data = data[error.args[0] :]

    def _take_body(self, data: bytes) -> bytes:
        """Read a body that the parser does not; return the data after it."""
        body, data = data[: self._unparsed_bytes], data[self._unparsed_bytes :]
        self._unparsed_bytes -= len(body)
        self.on_body(body)
        if not self._unparsed_bytes:
            self.on_message_complete()
        return data

    def _defer(self, data: bytes) -> None:
        """Read the data in a later iteration, as much has been read in this one."""
        if not self._deferred:
            self._idle_until = None
            self.transport.pause_reading()
            self._turns.wait(self._address, self._read_deferred)
        self._deferred += data
        self._hold()

    def _hold(self) -> None:
        """Count the memory of the requests; refuse them if all connections together need too much."""
        # Loose bytes leave out a head that begins in the same piece as the message before it.
        head = self._most_head_bytes if self._is_in_head else self._loose_bytes
        held = head + self._body_bytes + self._waiting_bytes + len(self._deferred)
        if held <= _SMALL_BYTES or self.transport.holds_request(held):
            return
        if self.pipeline and self._answering is not None:
            # The one that is being answered is the last.
            self._is_refused, self._answering.keep_alive = True, False
            self.pipeline.clear()
            self.cycle, self._deferred = self._answering, b""
            self._cancel_deadline()
            self.transport.holds_request(0)
        else:
            self._refuse(503, _BUSY)

    def _read_deferred(self) -> None:
        data, self._deferred = self._deferred, b""
        if self.transport.is_closing():
            return
        if not self.flow.read_paused:
            self.transport.resume_reading()
        self.data_received(data)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        self._turns.count(REQUEST + len(self.headers) // _HEADERS_A_PIECE)
        size = 0
        if self._most_head_bytes > _LONG_HEAD_BYTES and (size := self._size_of_head()) > _LONG_HEAD_BYTES:
            if size > MAX_HEAD_BYTES:
                self._stop(431, _HEAD_TOO_LARGE)
            self._check_head()
            self.scope[_IS_LONG] = True  # type: ignore[typeddict-unknown-key] # for `_start_asgi_task`
        elif len(self.headers) > _MANY_HEADERS:
            self.scope[_IS_LONG] = True  # type: ignore[typeddict-unknown-key] # as above
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(400, _UNREADABLE)
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._stop(400, _ENCODED)
        if self.parser.should_upgrade():
            if self._should_upgrade():
                self._turns.count(HANDSHAKE)
                self._check_upgrade()
            elif self._has_body():
                # The parser takes the body for the other protocol, which begins after the head.
                self._unparsed_bytes = self._length_of_body()
        self._loose_bytes = self._pieces = 0
        self._head_since = None
        self._is_in_head = False
        self._body_until = self.loop.time() + BODY_SECONDS
        super().on_headers_complete()
        if self.pipeline or _IS_LONG in self.scope:
            self._waiting_bytes += _REQUEST_BYTES + size + _HEADER_BYTES * len(self.headers)

    def _check_head(self) -> None:
        """Reject a head that takes long to read."""
        is_long = len(self.headers) > MAX_HEADERS or len(self.url) > MAX_URL_BYTES
        if is_long or self.url.count(b"&") >= MAX_PARAMETERS:
            self._stop(431, _TOO_MANY)

    def _size_of_head(self) -> int:
        of_headers = sum([len(name) + len(value) for name, value in self.headers])
        return len(self.url) + of_headers + _BYTES_A_HEADER * len(self.headers)

    def _check_upgrade(self) -> None:
        """Reject handshakes that the WebSocket library would not answer."""
        lines = [len(name) + len(value) + 2 for name, value in self.headers]
        lines.append(len(self.url) + len("GET  HTTP/1.1"))
        if len(self.headers) > _MAX_UPGRADE_HEADERS or max(lines) > _MAX_UPGRADE_LINE_BYTES:
            self._stop(431, _UPGRADE_TOO_LARGE)
        lists = b",".join(value for name, value in self.headers if name.startswith(_LISTS))
        items = lists.count(b",") + lists.count(b";")
        if len(lists) > _MAX_UPGRADE_LIST_BYTES or items > _MAX_UPGRADE_LIST_ITEMS:
            self._stop(431, _UPGRADE_TOO_LARGE)
        is_get = self.parser.get_method() == b"GET" and self.parser.get_http_version() == "1.1"
        if self._has_body() or not is_get or (self.cycle is not None and not self.cycle.response_complete):
            self._stop(400, _UPGRADE_WITH_BODY)

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t0"))
            for name, value in self.headers
        )

    def _length_of_body(self) -> int:
        """Return the length of the body, which is above 0. Chunks are refused."""
        found = [value.strip(b" \t") for name, value in self.headers if name == b"content-length"]
        length = natural_number_of(found[0].decode("latin-1")) if len(found) == 1 else None
        if length is None or any(name == b"transfer-encoding" for name, _ in self.headers):
            self._stop(400, _OTHER_PROTOCOL)
        return length

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        if self._body_until is not None:
            self._body_until += len(body) / _SLOWEST_BODY_BYTES
        self._pieces += 1
        is_read = self.cycle is not self._refused_later and not self.cycle.response_complete
        if is_read:
            self._body_bytes += len(body)
        if self._pieces > _MOST_SMALL_PIECES and self._pieces * _BYTES_A_PIECE > self._body_bytes:
            self._stop(400, _CRUMBS)
        if is_read:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._unparsed_bytes:
            # For the parser, the message ends with its head.
            return
        self._loose_bytes = 0
        self._most_head_bytes = self._piece_bytes
        self._body_until = None
        super().on_message_complete()
        is_answered = self.cycle is not None and self.cycle.response_complete
        # A connection whose answer is delayed may be dropped like an idle one.
        is_delayed = self._begins_later is not None or self.cycle is self._refused_later
        self.transport.awaits_data(is_answered or is_delayed)
        if is_answered and not self.transport.is_closing():
            # The answer came before the end of the body, whose arrival has ended the wait for the next request.
            self._idle_until = self.loop.time() + self.timeout_keep_alive

    def on_response_complete(self) -> None:
        # As uvicorn's method, without its timer.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            else:
                self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self.cycle.response_complete:
            self._body_bytes = self._waiting_bytes = 0
            self.transport.holds_request(0)
            self._hold()
            self.cycle.scope = _NO_SCOPE
            # An idle connection keeps no head, unless a part of the next one is there.
            if not self._is_in_head:
                self.headers, self.scope = [], _NO_SCOPE
        # The last request is answered, or has not arrived completely.
        if not self.transport.is_closing() and (self.cycle.response_complete or self.cycle.more_body):
            self.transport.awaits_data(True)

    # Rejections

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, _UNREADABLE)

    def _stop(self, status: int, message: str) -> NoReturn:
        self._refuse(status, message)
        raise _Refused

    def _refuse(self, status: int, message: str) -> None:
        if self._is_refused or self.transport is None or self.transport.is_closing():
            return
        self._is_refused = True
        self._cancel_deadline()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                # An earlier request is being answered: the connection closes after that answer.
                cycle.keep_alive = False
                return
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
            # The body of the current request is faulty: its handler must not answer it.
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.refuse(status, message)
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    # Deadlines

    def _check_deadline(self) -> None:
        now = self.loop.time()
        is_answering = self.cycle is not None and not self.cycle.response_complete
        deadline = now + HEAD_SECONDS
        if self._head_since is not None:
            if is_answering or self._deferred:
                # The deadline starts after the answer to the previous request, and when the input is read.
                self._head_since = now
            deadline = self._head_since + HEAD_SECONDS
        elif self._body_until is not None:
            if self.flow.read_paused:
                # The server itself has paused reading.
                self._body_until = max(self._body_until, now + BODY_SECONDS)
            deadline = self._body_until
        elif self._idle_until is not None:
            deadline = self._idle_until
        if deadline <= now:
            self.transport.close()
        else:
            self._deadline_timer = self.loop.call_at(min(deadline, now + self._look_seconds), self._check_deadline)

    def _cancel_deadline(self) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
