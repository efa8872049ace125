"""Live events of an execution, and summaries of all that change, over WebSockets."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from starlette.routing import Match, WebSocketRoute
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from flowrunner.api.event_feed import CHARACTERS_AT_A_STRETCH, EventFeed
from flowrunner.api.execution_feed import ExecutionFeed
from flowrunner.api.http.authentication import Place, admit_socket
from flowrunner.api.http.errors import answer_to, record_refusal
from flowrunner.api.http.query_names import check_query_names
from flowrunner.api.open_streams import NORMAL_CLOSE, TRY_AGAIN, OpenStream, OpenStreams
from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.errors import FlowRunnerError, Unavailable, invalid
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.domain.whole_numbers import natural_number_of
from flowrunner.services.bundle import Services

# After this many, the sender yields to other tasks and lets the connection report that its buffer is full.
_MESSAGES_AT_A_STRETCH: Final = 10
# Time after which a subscriber that reads nothing is disconnected.
SEND_SECONDS: Final = 30.0
# The query parameters, each of which may be given once.
_OF_ONE: Final = {"after": False}
_OF_ALL: Final = {"after": False, "workspace": False}
_PLACE: Final = Place("execution", "execution_id")


class _Message(Protocol):
    @property
    def text(self) -> str: ...


# The subprotocol, the stream that is counted, and what to send.
_Admitted: TypeAlias = tuple[str | None, OpenStream, AsyncGenerator[Iterable[_Message], None]]


class _SocketRoute(WebSocketRoute):
    """A WebSocket route that puts itself into the request's scope, as HTTP routes do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


class Live:
    """The WebSocket routes of an execution's events, and of the summaries of all executions that the caller sees."""

    def __init__(self, services: Services, feed: EventFeed, executions: ExecutionFeed, streams: OpenStreams) -> None:
        self._services = services
        self._feed = feed
        self._executions = executions
        self._streams = streams

    def routes(self) -> Sequence[WebSocketRoute]:
        return (
            _SocketRoute("/ws/executions", self.serve_all),
            _SocketRoute("/ws/executions/{execution_id}", self.serve),
        )

    async def serve_all(self, websocket: WebSocket) -> None:
        """Authenticate, and send the summary of each execution that changes in a workspace that the caller reaches."""
        await self._serve(websocket, self._admit_to_all)

    async def _admit_to_all(self, websocket: WebSocket) -> _Admitted:
        caller, protocol = await admit_socket(websocket, Right.READ, None)
        check_query_names(websocket, _OF_ALL)
        workspaces = self._workspaces(websocket, caller)
        stream = await self._streams.admit(caller, workspaces)
        return protocol, stream, self._executions.follow(workspaces, websocket.query_params.get("after"))

    def _workspaces(self, websocket: WebSocket, caller: Caller) -> Sequence[WorkspaceId]:
        """Return the workspace that the request names, or all that the caller is admitted to.

        Raises: NotFound; SecondFactorMissing in the one that it names.
        """
        # Browsers cannot send headers.
        named = websocket.query_params.get("workspace")
        if named is not None:
            there = self._services.workspaces.at(caller, named)
            authorise(there, Right.READ)
            return (there.workspace_id,)
        return caller.admitted_to if caller.acts_in is None else (caller.acts_in,)

    async def serve(self, websocket: WebSocket) -> None:
        """Authenticate, send past events, then new ones, and close at the end of the execution."""
        await self._serve(websocket, self._admit_to_one)

    async def _admit_to_one(self, websocket: WebSocket) -> _Admitted:
        id = ExecutionId(websocket.path_params["execution_id"])
        caller, protocol = await admit_socket(websocket, Right.READ, _PLACE)
        check_query_names(websocket, _OF_ONE)
        after = parse_after(websocket.query_params.get("after"))
        execution = await self._services.executions.get(caller, id)
        check_after(after, execution.last_seq)
        stream = await self._streams.admit(caller)
        feed = self._feed.follow(caller.workspace_id, id, after, has_ended=execution.status.is_final)
        return protocol, stream, feed

    async def _serve(self, websocket: WebSocket, admit: Callable[[WebSocket], Awaitable[_Admitted]]) -> None:
        """Send a feed to a client that is admitted, and otherwise the reason why it is not."""
        try:
            protocol, stream, feed = await admit(websocket)
        except FlowRunnerError as error:
            await record_refusal(websocket, error)
            await websocket.send_denial_response(answer_to(websocket.scope["request_id"], error))
            return
        with self._streams.until_left(stream):
            await websocket.accept(subprotocol=protocol)
            code = await self._streams.serve(stream, send_feed(websocket, feed), _until_disconnected(websocket))
            if code is not None:
                with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                    async with asyncio.timeout(1.0):
                        await websocket.close(code)


async def send_feed(websocket: WebSocket, feed: AsyncGenerator[Iterable[_Message], None]) -> int:
    """Send each message once, up to the last one, and return the close code."""
    try:
        async with contextlib.aclosing(feed) as pages:
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
    after = natural_number_of(text)
    if after is None:
        raise invalid("after", "must be the seq of an event: a whole number from 0")
    return after


def check_after(after: int, last_seq: int) -> None:
    """Raise InvalidInput for an event that there is not, whose successors a client would await in vain."""
    if after > last_seq:
        raise invalid(
            "after", f"is beyond the last event, {last_seq}. Read from the beginning: a restore has undone later ones"
        )


async def _send_messages(websocket: WebSocket, messages: Iterable[_Message]) -> None:
    count = size = 0
    for message in messages:
        async with asyncio.timeout(SEND_SECONDS):
            await websocket.send_text(message.text)
        count, size = count + 1, size + len(message.text)
        if count >= _MESSAGES_AT_A_STRETCH or size >= CHARACTERS_AT_A_STRETCH:
            count = size = 0
            await asyncio.sleep(0)
