"""The events of an execution over HTTP: pages, a long poll, server-sent events and lines of JSON."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from flowrunner.api.event_feed import CHARACTERS_AT_A_STRETCH, EventFeed, EventMessage, EventPage
from flowrunner.api.http.answers import Answer, Reply, answer, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.negotiation import preferred
from flowrunner.api.http.requests import DIGITS
from flowrunner.api.http.routing import ProtectedRoute, until_disconnected
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.live import SEND_SECONDS, check_after, parse_after
from flowrunner.api.open_streams import NORMAL_CLOSE, SESSION_ENDED, TRY_AGAIN, OpenStream, OpenStreams
from flowrunner.api.waiting import raise_present_refusal
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.tasks import cancel_all

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)

_EVENT_STREAM: Final = "text/event-stream"
_LINES: Final = "application/x-ndjson"
# A comment or an empty line, so that proxies keep a silent connection open.
_SILENT_SECONDS: Final = 15.0


class EventAnswer(Answer, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """An event as a message of the WebSocket; further members depend on its type."""

    type: Annotated[
        str,
        Meta(description="execution_update, node_completed, log, execution_completed or execution_failed."),
    ]
    execution_id: str
    seq: int
    timestamp: str


class EventList(Answer, frozen=True, kw_only=True):
    events: list[EventAnswer]
    after: Annotated[int, Meta(description="Send it as `after` for the events that follow.")]
    has_ended: Annotated[bool, Meta(description="The last event of the execution is among these, or before them.")]


def _as_event(message: EventMessage) -> bytes:
    return f"id: {message.seq}\ndata: {message.text}\n\n".encode()


def _as_line(message: EventMessage) -> bytes:
    return f"{message.text}\n".encode()


# How a message is written, and what is sent while there is none.
_FORMS: Final[Mapping[str, tuple[Callable[[EventMessage], bytes], bytes]]] = {
    _EVENT_STREAM: (_as_event, b": \n\n"),
    _LINES: (_as_line, b"\n"),
}


@router.get(
    "/executions/{id}/events",
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in _FORMS}},
        204: {"description": "The execution has ended, and the last event was before: do not connect again"},
        **errors(401, 403, 404, 422),
    },
)
async def get_events(
    request: Request,
    id: str,
    *,
    after: Annotated[str | None, Query(max_length=20, description="Only events with a higher `seq`.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The maximum number of events of a page."), DIGITS] = 100,
    wait: Annotated[
        int,
        Query(ge=0, le=60, description="Seconds to wait for an event if there is none yet; only for a page."),
        DIGITS,
    ] = 0,
) -> Reply[EventList]:
    """Return events, as the WebSocket sends them.

    With `Accept: text/event-stream` or `application/x-ndjson` the answer goes on until the last event; such a stream
    continues after the event that `Last-Event-ID` names.
    """
    caller, execution_id, feed = caller_of(request), ExecutionId(id), state_of(request).feed
    media_type = preferred(request.headers.get("accept", ""), _FORMS)
    last_id = request.headers.get("last-event-id") if media_type is not None else None
    seq = parse_after(last_id or after)
    execution = await services_of(request).executions.get(caller, execution_id)
    check_after(seq, execution.last_seq)
    has_ended = execution.status.is_final
    if media_type is not None:
        return await _streamed(request, execution_id, seq, media_type, has_ended=has_ended)
    page = await feed.page(caller.workspace_id, execution_id, seq, limit=limit)
    if page is None and wait and not has_ended:
        await _wait_for_more(request, execution_id, seq, seconds=wait)
        page = await feed.page(caller.workspace_id, execution_id, seq, limit=limit)
    return _listed(page, seq, has_ended=has_ended)


async def _streamed(
    request: Request, id: ExecutionId, after: int, media_type: str, *, has_ended: bool
) -> Reply[EventList]:
    workspace_id, feed, streams = caller_of(request).workspace_id, state_of(request).feed, state_of(request).streams
    if has_ended and await feed.page(workspace_id, id, after, limit=1) is None:
        return Reply(status_code=204)
    stream = await streams.admit(caller_of(request))
    return _StreamedEvents(streams, stream, feed.follow(workspace_id, id, after, has_ended=has_ended), media_type)


async def _wait_for_more(request: Request, id: ExecutionId, after: int, *, seconds: float) -> None:
    """Return when there are more events, the time is over or the client is gone. Raises: as `raise_present_refusal`."""
    feed, streams = state_of(request).feed, state_of(request).streams
    stream = await streams.admit(caller_of(request))
    with streams.until_left(stream):
        more = _more(feed, id, after, seconds=seconds)
        code = await streams.serve(stream, more, until_disconnected(request.receive))
    if code == SESSION_ENDED:
        await raise_present_refusal(request, id)


async def _more(feed: EventFeed, id: ExecutionId, after: int, *, seconds: float) -> int:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await feed.until_more(id, after)
    return NORMAL_CLOSE


def _listed(page: EventPage | None, after: int, *, has_ended: bool) -> Reply[EventList]:
    if page is None:
        return answer(EventList(events=[], after=after, has_ended=has_ended))
    events = msgspec.Raw(f"[{','.join(message.text for message in page.messages)}]".encode())
    # The messages are encoded already.
    return answer(EventList(events=events, after=page.last_seq, has_ended=page.has_end))  # type: ignore[arg-type]


class _StreamedEvents(Reply[EventList]):
    """The events of an execution, sent as they become durable, up to the last one."""

    ends_with_access = True

    def __init__(
        self,
        streams: OpenStreams,
        stream: OpenStream,
        pages: AsyncGenerator[Iterable[EventMessage], None],
        media_type: str,
    ) -> None:
        # Proxies pass each event on at once.
        super().__init__(media_type=media_type, headers={"X-Accel-Buffering": "no"})
        # The length is not known.
        del self.headers["content-length"]
        self._streams = streams
        self._stream = stream
        self._pages = pages
        self._encode, self._silence = _FORMS[media_type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.until_left(self._stream):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            code = await self._streams.serve(self._stream, self._send_all(send), until_disconnected(receive))
            if code is not None:
                with contextlib.suppress(OSError, TimeoutError):
                    await _send_body(send, b"", more=False)

    async def _send_all(self, send: Send) -> int:
        pages, reading = self._pages, None
        try:
            while True:
                reading = reading or asyncio.ensure_future(_next_of(pages))
                done, _ = await asyncio.wait({reading}, timeout=_SILENT_SECONDS)
                if not done:
                    await _send_body(send, self._silence)
                    continue
                messages, reading = reading.result(), None
                if messages is None:
                    return NORMAL_CLOSE
                await self._send_messages(send, messages)
        except (TimeoutError, Unavailable, OSError):
            return TRY_AGAIN
        finally:
            if reading is not None:
                await cancel_all(reading)
            await pages.aclose()

    async def _send_messages(self, send: Send, messages: Iterable[EventMessage]) -> None:
        portion: list[bytes] = []
        size = 0
        for message in messages:
            portion.append(self._encode(message))
            size += len(portion[-1])
            if size >= CHARACTERS_AT_A_STRETCH:
                await _send_body(send, b"".join(portion))
                portion, size = [], 0
                await asyncio.sleep(0)
        if portion:
            await _send_body(send, b"".join(portion))


async def _next_of(pages: AsyncGenerator[Iterable[EventMessage], None]) -> Iterable[EventMessage] | None:
    return await anext(pages, None)


async def _send_body(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": more})
