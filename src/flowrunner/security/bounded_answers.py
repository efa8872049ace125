"""Limits on answers of called servers, enforced before they are parsed."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from flowrunner.domain.values import WorkspaceId
from flowrunner.security.parsing_budget import ParsingBudget

MAX_ANSWER_BYTES: Final = 1024 * 1024
# Maximum of interim answers (1xx) to one request.
MAX_INTERIM_ANSWERS: Final = 10
# Limit for all bytes up to the end of the final answer's head.
MAX_HEAD_BYTES: Final = 64 * 1024
# Limit for a body with its chunk headers, trailers and content encoding.
MAX_RECEIVED_BYTES: Final = MAX_HEAD_BYTES + 2 * MAX_ANSWER_BYTES
# Bytes per call of the parser, which cannot be interrupted. Heads are the most expensive to parse.
_PIECE_OF_HEAD: Final = 4 * 1024
_PIECE_OF_BODY: Final = 16 * 1024


class UnfitAnswer(aiohttp.ClientError):
    """An answer that exceeds a limit. Args: type: The error type of the node."""

    def __init__(self, type: str, reason: str) -> None:
        super().__init__(reason)
        self.type = type
        self.reason = reason


class BoundedResponseHandler(ResponseHandler):
    """A connection to a called server.

    Args:
        budget: The parsing time per iteration of the event loop, shared by all connections.
            workspace_id: The owner of its requests.
            on_change: Called with 1 when it opens and with -1 when it closes.
            is_crowded: Returns True if too many connections are open to keep this one for another request.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        budget: ParsingBudget,
        workspace_id: WorkspaceId,
        on_change: Callable[[int], None],
        is_crowded: Callable[[], bool],
    ) -> None:
        super().__init__(loop)
        self._budget = budget
        self._workspace_id = workspace_id
        self._on_change = on_change
        self._is_crowded = is_crowded
        self._unparsed = b""
        self._is_queued = False
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._interim_answers = 0
        self._received_bytes = 0
        self._has_head = False
        self._has_surplus_answer = False

    @property
    def should_close(self) -> bool:
        return bool(self._unparsed) or super().should_close or self._is_crowded()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._on_change(1)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._on_change(-1)
        self._unparsed = b""
        super().connection_lost(exc)

    def set_response_params(self, **options: Any) -> None:
        # A request is about to be sent.
        self._begin_answer()
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        if not data:
            # The reader wants data that the parser has held back.
            self._budget.parse(self._resume)
            return
        self._unparsed += data
        if self._is_queued:
            self._pause_transport_reading()
        else:
            self._parse()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp calls this after each piece of a body that is read.
        if self._reading_paused or self._unparsed:
            super().resume_reading(resume_parser)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Accept a parsed answer."""
        status = data[0].code
        if self._has_head:
            self._has_surplus_answer = True
        elif 100 <= status < 200 and status != 101:
            self._interim_answers += 1
        else:
            self._has_head = True
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        # aiohttp gives a fault of the parser to whoever waits for a head. One at the end of a body would leave its
        # reader waiting until the timeout.
        payload = self._payload
        if payload is None or payload.is_eof() or payload.exception() is not None:
            return
        if isinstance(exc, HttpProcessingError):
            failure = aiohttp.ClientPayloadError(str(exc))
            failure.__cause__ = next(iter(cause), exc)
            payload.set_exception(failure)

    def _resume(self) -> None:
        super().data_received(b"")
        if self._unparsed and not self._is_queued:
            self._parse()

    def _parse(self) -> None:
        self._is_queued = False
        while self._unparsed and not self._reading_paused and self.transport is not None:
            if self._budget.is_spent:
                self._is_queued = True
                self._pause_transport_reading()
                self._budget.defer(self._workspace_id, self._parse_deferred)
                return
            self._budget.parse(self._parse_piece)

    def _parse_deferred(self) -> None:
        self._parse()
        if not (self._is_queued or self._reading_paused or self._buffer_paused):
            self._resume_transport_reading()

    def _parse_piece(self) -> None:
        length = _PIECE_OF_BODY if self._has_head else _PIECE_OF_HEAD
        piece, self._unparsed = self._unparsed[:length], self._unparsed[length:]
        self._received_bytes += len(piece)
        super().data_received(piece)
        if self._interim_answers > MAX_INTERIM_ANSWERS:
            self._fail("http.invalid_answer", f"more than {MAX_INTERIM_ANSWERS} interim answers (1xx) came first")
        elif not self._has_head and self._received_bytes > MAX_HEAD_BYTES:
            self._fail("http.invalid_answer", f"its head has more than {MAX_HEAD_BYTES} bytes")
        elif self._received_bytes > MAX_RECEIVED_BYTES:
            self._fail("http.too_large", f"more than {MAX_RECEIVED_BYTES} bytes came")
        elif self._has_surplus_answer and self.transport is not None:
            # The connection is not reused: the surplus answer would be taken for that of the next request.
            self.transport.abort()

    def _fail(self, type: str, reason: str) -> None:
        error = UnfitAnswer(type, reason)
        self._unparsed = b""
        if self._payload is not None:
            self._payload.set_exception(error)
        self.set_exception(error)
        if self.transport is not None:
            self.transport.abort()
