"""Live events of an execution over a WebSocket."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

from starlette.routing import Match, WebSocketRoute
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from flowrunner.api.event_feed import CHARACTERS_AT_A_STRETCH, EventFeed, EventMessage
from flowrunner.api.http.errors import answer_to, record_refusal
from flowrunner.api.http.routing import admit_socket
from flowrunner.api.open_streams import NORMAL_CLOSE, TRY_AGAIN, OpenStreams
from flowrunner.domain.account import Right
from flowrunner.domain.errors import FlowRunnerError, Unavailable, invalid
from flowrunner.domain.values import ExecutionId
from flowrunner.services.bundle import Services

# After this many, the sender yields to other tasks and lets the connection report that its buffer is full.
_MESSAGES_AT_A_STRETCH: Final = 10
# Time after which a subscriber that reads nothing is disconnected.
SEND_SECONDS: Final = 30.0


class _SocketRoute(WebSocketRoute):
    """A WebSocket route that puts itself into the request's scope, as HTTP routes do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


class Live:
    """The WebSocket route of an execution's events."""

    def __init__(self, services: Services, feed: EventFeed, streams: OpenStreams) -> None:
        self._services = services
        self._feed = feed
        self._streams = streams

    def route(self) -> WebSocketRoute:
        return _SocketRoute("/ws/executions/{execution_id}", self.serve)

    async def serve(self, websocket: WebSocket) -> None:
        """Authenticate, send past events, then new ones, and close at the end of the execution."""
        id = ExecutionId(websocket.path_params["execution_id"])
        try:
            caller, protocol = await admit_socket(websocket, Right.READ)
            after = parse_after(websocket.query_params.get("after"))
            execution = await self._services.executions.get(caller, id)
            stream = await self._streams.admit(caller)
        except FlowRunnerError as error:
            await record_refusal(websocket, error)
            await websocket.send_denial_response(answer_to(websocket.scope["request_id"], error))
            return
        with self._streams.until_left(stream):
            await websocket.accept(subprotocol=protocol)
            sending = self._send(websocket, id, after, has_ended=execution.status.is_final)
            code = await self._streams.serve(stream, sending, _until_disconnected(websocket))
            if code is not None:
                with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                    async with asyncio.timeout(1.0):
                        await websocket.close(code)

    async def _send(self, websocket: WebSocket, id: ExecutionId, after: int, *, has_ended: bool) -> int:
        """Send each event once, up to the last one, and return the close code."""
        try:
            async with contextlib.aclosing(self._feed.follow(id, after, has_ended=has_ended)) as pages:
                async for messages in pages:
                    await _send_messages(websocket, messages)
            return NORMAL_CLOSE
        except (TimeoutError, Unavailable):
            return TRY_AGAIN
        except (WebSocketDisconnect, RuntimeError):
            return NORMAL_CLOSE


async def _until_disconnected(websocket: WebSocket) -> None:
    """Return when the client has disconnected. Its messages are ignored."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def parse_after(text: str | None) -> int:
    """Return the `seq` after which a client wants events. Raises: InvalidInput."""
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise invalid("after", "must be the seq of an event: a whole number from 0")
    return int(text)


async def _send_messages(websocket: WebSocket, messages: Iterable[EventMessage]) -> None:
    count = size = 0
    for message in messages:
        async with asyncio.timeout(SEND_SECONDS):
            await websocket.send_text(message.text)
        count, size = count + 1, size + len(message.text)
        if count >= _MESSAGES_AT_A_STRETCH or size >= CHARACTERS_AT_A_STRETCH:
            count = size = 0
            await asyncio.sleep(0)
