"""Live events of an execution over a WebSocket."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never
from weakref import WeakValueDictionary

import msgspec
from starlette.routing import Match, WebSocketRoute
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from flowrunner.api.http.errors import answer_to, record_refusal
from flowrunner.api.http.routing import admit_socket
from flowrunner.domain.account import Caller, Right
from flowrunner.domain.errors import FlowRunnerError, Unavailable, invalid
from flowrunner.domain.events import (
    Admitted,
    Cancelled,
    Completed,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
    StepEvent,
)
from flowrunner.domain.execution import Status
from flowrunner.domain.limits import check_account_sockets, check_all_sockets
from flowrunner.domain.values import AccountId, ExecutionId, WorkspaceId, rfc3339
from flowrunner.domain.waits import parse_signal_key
from flowrunner.ports.clock import Clock
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES, JournalReader, Recorded
from flowrunner.ports.live import LiveEvents
from flowrunner.services.bundle import Services

# Most executions fit into the first page. Few subscribers read further pages at the same time, so that many
# subscribers with a long history do not block other requests.
_FIRST_PAGE: Final = 20
_PAGE: Final = 50
_FIRST_PAGES_AT_ONCE: Final = 8
_PAGES_AT_ONCE: Final = 2
# After this much, the sender yields to other tasks and lets the connection report that its buffer is full.
_MESSAGES_AT_A_STRETCH: Final = 10
_CHARACTERS_AT_A_STRETCH: Final = 64 * 1024
_KEPT_MESSAGES: Final = 256
_KEPT_CHARACTERS: Final = 4 * 1024
# Time after which a subscriber that reads nothing is disconnected.
_SEND_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 2.0

NORMAL_CLOSE: Final = 1000
GOING_AWAY: Final = 1012
TRY_AGAIN: Final = 1013
SESSION_ENDED: Final = 4401


class _SocketRoute(WebSocketRoute):
    """A WebSocket route that puts itself into the request's scope, as HTTP routes do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


class Live:
    """The open sockets of this process.

    Args:
        most: The maximum number of sockets over all accounts.
        most_of_account: The maximum number of sockets of an account; None is no limit.
    """

    def __init__(
        self,
        services: Services,
        journal: JournalReader,
        events: LiveEvents,
        clock: Clock,
        *,
        most: int,
        most_of_account: int | None,
    ) -> None:
        self._services = services
        self._most = most
        self._most_of_account = most_of_account
        self._journal = journal
        self._events = events
        self._clock = clock
        self._beginning = asyncio.Semaphore(_FIRST_PAGES_AT_ONCE)
        self._catching_up = asyncio.Semaphore(_PAGES_AT_ONCE)
        # A message is kept while a subscriber has to send it. The latest short ones are kept for slower subscribers.
        self._messages: WeakValueDictionary[tuple[ExecutionId, int], _Message] = WeakValueDictionary()
        self._latest: deque[_Message] = deque(maxlen=_KEPT_MESSAGES)
        self._sockets: dict[AccountId, set[_Socket]] = {}
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    def route(self) -> WebSocketRoute:
        return _SocketRoute("/ws/executions/{execution_id}", self.serve)

    @property
    def open_sockets(self) -> int:
        return sum(map(len, self._sockets.values()))

    async def serve(self, websocket: WebSocket) -> None:
        """Authenticate, send past events, then new ones, and close at the end of the execution."""
        id = ExecutionId(websocket.path_params["execution_id"])
        try:
            caller, protocol = await admit_socket(websocket, Right.READ)
            after = _after(websocket.query_params.get("after"))
            execution = await self._services.executions.get(caller, id)
            family = await self._services.identity.family_of(caller)
            # Checked last, because other sockets may open during an await. From here on this socket counts.
            self._check_socket_limits(caller.account_id)
        except FlowRunnerError as error:
            await record_refusal(websocket, error)
            await websocket.send_denial_response(answer_to(websocket.scope["request_id"], error))
            return
        socket = _Socket(websocket, caller, family)
        self._sockets.setdefault(caller.account_id, set()).add(socket)
        self._all_closed.clear()
        try:
            await websocket.accept(subprotocol=protocol)
            # The session may have ended before this socket was registered.
            await self._end_unless_alive(socket)
            await self._until_closed(socket, id, after, has_ended=execution.status.is_final)
        finally:
            sockets = self._sockets[caller.account_id]
            sockets.discard(socket)
            if not sockets:
                del self._sockets[caller.account_id]
            if not self._sockets:
                self._all_closed.set()

    def _check_socket_limits(self, account_id: AccountId) -> None:
        check_account_sockets(len(self._sockets.get(account_id, ())), self._most_of_account)
        check_all_sockets(self.open_sockets, self._most)

    async def _until_closed(self, socket: "_Socket", id: ExecutionId, after: int, *, has_ended: bool) -> None:
        seconds = (socket.caller.expires_at - self._clock.now()).total_seconds()
        sending = asyncio.create_task(self._send(socket, id, after, has_ended=has_ended))
        receiving = asyncio.create_task(socket.receive())
        ending = asyncio.create_task(socket.ending.wait())
        tasks = (sending, receiving, ending)
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if receiving in done and sending not in done:
                return
            code = socket.close_code if ending in done else SESSION_ENDED
            if sending in done:
                code = sending.result()
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(1.0):
                    await socket.websocket.close(code)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, socket: "_Socket", id: ExecutionId, after: int, *, has_ended: bool) -> int:
        """Send each event once, up to the last one, and return the close code."""
        subscription = self._events.subscribe(id)
        try:
            # Events recorded before the subscription, or missed by it, are in the journal.
            page = await self._read(id, after, limit=_FIRST_PAGE, at_once=self._beginning)
            while True:
                while page is not None:
                    await _send_messages(socket.websocket, page.messages)
                    after = page.last_seq
                    if page.has_end:
                        return NORMAL_CLOSE
                    if not page.is_full:
                        break
                    page = await self._next_page(id, after)
                if has_ended:
                    # The subscriber already knows the last event.
                    return NORMAL_CLOSE
                while (taken := await subscription.take()) is not None:
                    fresh = [recorded for recorded in taken if recorded.seq > after]
                    if fresh and fresh[-1].seq != after + len(fresh):
                        # The missing events were recorded by a process that died before it could notify.
                        break
                    if fresh:
                        await _send_messages(socket.websocket, (self._message(id, recorded) for recorded in fresh))
                        after = fresh[-1].seq
                    if _is_last(taken[-1]):
                        return NORMAL_CLOSE
                page = await self._next_page(id, after)
        except (TimeoutError, Unavailable):
            return TRY_AGAIN
        except (WebSocketDisconnect, RuntimeError):
            return NORMAL_CLOSE
        finally:
            self._events.unsubscribe(id, subscription)

    async def _next_page(self, id: ExecutionId, after: int) -> "_Page | None":
        return await self._read(id, after, limit=_PAGE, at_once=self._catching_up)

    async def _read(self, id: ExecutionId, after: int, *, limit: int, at_once: asyncio.Semaphore) -> "_Page | None":
        async with at_once:
            records = await self._journal.events(id, after=after, limit=limit)
            if not records:
                return None
            messages = []
            # Decoded events take up to twenty times the memory of their text, and a slow subscriber keeps a page long.
            for recorded in records:
                messages.append(self._message(id, recorded))
                if len(recorded.data) >= _CHARACTERS_AT_A_STRETCH:
                    await asyncio.sleep(0)
            size = sum(len(recorded.data) for recorded in records)
            is_full = len(records) == limit or size >= PAGE_OF_EVENTS_BYTES
            return _Page(messages, records[-1].seq, has_end=_is_last(records[-1]), is_full=is_full)

    def _message(self, id: ExecutionId, recorded: Recorded) -> "_Message":
        """Return the message of an event, encoded once for all subscribers."""
        found = self._messages.get((id, recorded.seq))
        if found is None:
            found = _Message(msgspec.json.encode(message(id, recorded)).decode())
            self._messages[id, recorded.seq] = found
            if len(found.text) <= _KEPT_CHARACTERS:
                self._latest.append(found)
        return found

    async def end_sessions(self, account_id: AccountId) -> None:
        """Close the account's sockets whose session has ended."""
        for socket in list(self._sockets.get(account_id, ())):
            await self._end_unless_alive(socket)

    def end_workspace(self, id: WorkspaceId) -> None:
        """Close all sockets of a workspace that was deleted."""
        for sockets in self._sockets.values():
            for socket in sockets:
                if socket.caller.workspace_id == id:
                    socket.end(SESSION_ENDED)

    async def revalidate_sessions(self) -> None:
        """Close every socket whose session has ended in any process."""
        for account_id in list(self._sockets):
            await self.end_sessions(account_id)

    async def _end_unless_alive(self, socket: "_Socket") -> None:
        if not (
            await self._services.identity.is_alive(socket.family)
            and await self._services.workspaces.may_read(socket.caller)
        ):
            socket.end(SESSION_ENDED)

    async def close(self) -> None:
        """Close all sockets because the server shuts down."""
        sockets = [socket for sockets in self._sockets.values() for socket in sockets]
        for socket in sockets:
            socket.end(GOING_AWAY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._all_closed.wait()


class _Socket:
    def __init__(self, websocket: WebSocket, caller: Caller, family: str) -> None:
        self.websocket = websocket
        self.caller = caller
        self.family = family
        self.ending = asyncio.Event()
        self.close_code = NORMAL_CLOSE

    def end(self, code: int) -> None:
        self.close_code = code
        self.ending.set()

    async def receive(self) -> None:
        """Return when the client has disconnected. Its messages are ignored."""
        while (await self.websocket.receive())["type"] != "websocket.disconnect":
            pass


def _after(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise invalid("after", "must be the seq of an event: a whole number from 0")
    return int(text)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Message:
    text: str


@dataclass(frozen=True, slots=True)
class _Page:
    """Messages of recorded events. Args: is_full: There may be more pages."""

    messages: Sequence[_Message]
    last_seq: int
    has_end: bool
    is_full: bool


async def _send_messages(websocket: WebSocket, messages: Iterable[_Message]) -> None:
    count = size = 0
    for message in messages:
        async with asyncio.timeout(_SEND_SECONDS):
            await websocket.send_text(message.text)
        count, size = count + 1, size + len(message.text)
        if count >= _MESSAGES_AT_A_STRETCH or size >= _CHARACTERS_AT_A_STRETCH:
            count = size = 0
            await asyncio.sleep(0)


def _is_last(recorded: Recorded) -> bool:
    return isinstance(recorded.event, Completed | Failed | Cancelled)


def message(id: ExecutionId, recorded: Recorded) -> Mapping[str, Any]:
    """Return the message for an event: one of the reference's five types, with its ``seq``."""
    body = {"type": "", "execution_id": id, "seq": recorded.seq, **_body(recorded)}
    body["timestamp"] = rfc3339(recorded.at)
    return {name: value for name, value in body.items() if value is not None or name == "result"}


def _body(recorded: Recorded) -> dict[str, Any]:
    match recorded.event:
        case Started() as event:
            return _update(Status.RUNNING) | {"node_id": event.node, "node_type": event.node_type}
        case Admitted():
            return _update(Status.RUNNING)
        case NodeStarted() as event:
            return _update(Status.RUNNING) | _of_step(event) | {"attempt": event.attempt}
        case NodeFailed() as event:
            return (
                _update(Status.RUNNING)
                | _of_step(event)
                | {
                    "attempt": event.attempt,
                    "error": event.error.message,
                    "retry_at": rfc3339(event.retry_at) if event.retry_at else None,
                }
            )
        case NodeWaiting() as event:
            until = None if event.due_at is None else rfc3339(event.due_at)
            status = Status.WAITING if event.is_external else Status.RUNNING
            return _update(status) | _of_step(event) | {"until": until, "waiting_for": event.wait_for.describe()}
        case NodeCompleted() as event:
            body = {"type": "node_completed", **_of_step(event), "action": event.action, "result": event.result}
            return body if event.collected is None else body | {"collected": True}
        case ScopesOpened() as event:
            return _update(Status.RUNNING) | _of_step(event) | {"scopes": len(event.keys)}
        case ScopeEnded() as event:
            outcome = {"scope": event.scope or None, "scope_outcome": event.outcome}
            return _update(Status.RUNNING) | outcome | {"error": event.error.message if event.error else None}
        case SignalReceived() as event:
            return _update(Status.RUNNING) | {"received": _received(event)}
        case Logged() as event:
            return {
                "type": "log",
                "level": event.level,
                "message": event.message,
                "node_id": event.node,
                "node_type": event.node_type,
                "step": event.step,
                "scope": event.scope or None,
                "data": event.data,
            }
        case Completed() as event:
            return {"type": "execution_completed", "status": Status.COMPLETED.value, "result": event.result}
        case Failed() as event:
            return {
                "type": "execution_failed",
                "status": Status.FAILED.value,
                "error": event.error.message,
                "error_type": event.error.type,
                "node_id": event.error.node,
                "node_type": event.node_type,
            }
        case Cancelled():
            return _update(Status.CANCELLED)
        case _:
            assert_never(recorded.event)


def _update(status: Status) -> dict[str, Any]:
    return {"type": "execution_update", "status": status.value}


def _of_step(event: StepEvent) -> dict[str, Any]:
    return {
        "node_id": event.node,
        "node_type": event.node_type,
        "step": str(Step(event.node, event.iteration, event.scope)),
        # The iteration or branch that the step belongs to; None for the flow's own nodes.
        "scope": event.scope or None,
    }


def _received(event: SignalReceived) -> dict[str, Any]:
    """Return the received input: a signal with its key, the answer to an approval, or the end of a sub-flow."""
    kind, name = parse_signal_key(event.key)
    field = {"approval": "step", "flow": "execution_id"}.get(kind, "key")
    return {"type": kind, field: name} | ({} if event.by is None else {"by": event.by})
