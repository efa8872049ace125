"""The addresses of webhook triggers, which other servers call."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import PlainTextResponse, Response

from flowrunner.api.http.answers import (
    Answer,
    ErrorDetails,
    answer,
    content_of,
    errors,
)
from flowrunner.api.http.authentication import address_of
from flowrunner.api.http.bodies import MAX_BODY_BYTES, memory_to_reserve, read_bounded
from flowrunner.api.http.errors import error_answer
from flowrunner.api.http.routing import BoundedRoute, until_disconnected
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.triggers import HOOKS_PATH
from flowrunner.domain.errors import HookNotFound, NotFound, Unavailable
from flowrunner.domain.events import Completed, Failed
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.hooks import HookDeliveryId
from flowrunner.ports.journal import Recorded
from flowrunner.ports.live import Subscription
from flowrunner.services.executions import StartedExecution
from flowrunner.services.hook_requests import HookRequest
from flowrunner.services.hook_senders import Challenge, HookRefused
from flowrunner.services.hook_starts import HookOutcome, OpenHook
from flowrunner.tasks import cancel_all
from flowrunner.threads import LONG_BYTES

# Refusals take this long, whatever their reason, so that their time tells nothing.
REFUSAL_SECONDS: Final = 0.05
_STRANGERS: Final = WorkspaceId("hooks")
# The first one may meet a move of the flow.
_ATTEMPTS: Final = 2


class HookRoute(BoundedRoute):
    """A route for other servers. A request counts for its address unless it proves its sender."""

    async def admit(self, request: Request) -> None:
        services_of(request).rates.anonymous(address_of(request))


router = APIRouter(tags=["Webhooks"], route_class=HookRoute)


class HookAnswer(Answer, frozen=True, kw_only=True):
    started: Annotated[bool, Meta(description="Whether this request has started an execution.")]
    execution_id: Annotated[
        str | UnsetType, Meta(description="The execution, or that of an earlier request with the same key.")
    ] = UNSET
    status: Literal["running", "waiting", "completed", "failed", "cancelled"] | UnsetType = UNSET


_CHALLENGE: Final = {"text/plain; charset=utf-8": {"schema": {"type": "string", "description": "A challenge."}}}
_HOOK_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A repeat; or `when` is false; or, with `respond.mode: result`, the result of the flow",
        "content": {"application/json": {"schema": {}}, **_CHALLENGE},
    },
    202: {
        "description": "Started; or stored, to be started once a pause of the installation or an outage ends",
        **content_of(HookAnswer),
    },
    **errors(400, 404, 409, 413, 422, 502),
}


@router.post(
    HOOKS_PATH + "{token}",
    status_code=202,
    responses=_HOOK_RESPONSES,
    response_class=Response,
)
async def receive_hook(request: Request, token: str) -> Response:
    """Start a flow by a request of another server, with a body of any type. The trigger says how it is verified."""
    return await _serve(request, token)


@router.post(HOOKS_PATH + "{token}/{rest:path}", status_code=202, include_in_schema=False)
async def receive_decorated_hook(request: Request, token: str, rest: str) -> Response:
    return await _serve(request, token)


@router.get(
    HOOKS_PATH + "{token}",
    responses={200: {"description": "The challenge", "content": _CHALLENGE}, **errors(400, 404, 413)},
    response_class=Response,
)
async def verify_hook(request: Request, token: str) -> Response:
    """Answer the challenge with which some servers verify an address before they use it."""
    return await _serve(request, token)


@router.get(HOOKS_PATH + "{token}/{rest:path}", include_in_schema=False)
async def verify_decorated_hook(request: Request, token: str, rest: str) -> Response:
    return await _serve(request, token)


async def _serve(request: Request, token: str) -> Response:
    received = await _received(request)
    hooks, executions = services_of(request).hooks, services_of(request).executions
    ids = _Ids(executions.new_execution_id(), hooks.new_delivery_id())
    for _ in range(_ATTEMPTS):
        try:
            return await _serve_once(request, token, received, ids)
        except HookNotFound:
            raise
        except NotFound:
            # The flow was moved to another workspace after its trigger was read, or deleted: the next attempt tells.
            continue
    raise HookNotFound


async def _serve_once(request: Request, token: str, received: HookRequest, ids: "_Ids") -> Response:
    """Raises: NotFound if the flow is no longer where its trigger was found."""
    services, loop = services_of(request), asyncio.get_running_loop()
    began_at = loop.time()
    try:
        # Anybody can send a long body; all that is not verified yet shares one limit.
        length = len(received.body)
        async with _room(request, _STRANGERS, length if length > LONG_BYTES else 0):
            opened = await services.hook_senders.open(token, received)
    except HookRefused:
        await asyncio.sleep(max(0.0, began_at + REFUSAL_SECONDS - loop.time()))
        raise HookNotFound from None
    if isinstance(opened, Challenge):
        # It counts for its address, as no limit of the trigger applies to it.
        return PlainTextResponse(opened.text)
    services.rates.verified(address_of(request))
    services.rates.hook(opened.trigger.id)
    async with _room(request, opened.trigger.workspace_id, memory_to_reserve(received.body)):
        return await _start(request, opened, received, ids)


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of what a request creates, the same in each attempt: it starts one execution."""

    execution: ExecutionId
    delivery: HookDeliveryId


async def _received(request: Request) -> HookRequest:
    """Read a body of any type. Raises: InvalidRequest if it is too large, before anything else is looked at."""
    body = await read_bounded(request, MAX_BODY_BYTES)
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query = request.scope["query_string"].decode(errors="replace")
    return HookRequest(method=request.method, headers=headers, query=query, body=body)


def _room(request: Request, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
    """Reserve memory for a body; 0 needs no room."""
    if not size:
        return nullcontext()
    return state_of(request).body_room.hold(workspace_id, size)


async def _start(request: Request, hook: OpenHook, received: HookRequest, ids: _Ids) -> Response:
    services, state = services_of(request), state_of(request)
    respond, id = hook.spec.respond, ids.execution
    slots, workspace_id = state.hooks_waiting, hook.trigger.workspace_id
    if respond.mode == "accepted" or not slots.take_at_once(workspace_id):
        return _accepted(await services.hooks.receive(hook, received, id, ids.delivery))
    try:
        with state.feed.subscribed(id) as subscription:
            # Before the start, so that nothing has to be read until the end.
            outcome = await services.hooks.receive(hook, received, id, ids.delivery)
            if outcome.started is None:
                return _accepted(outcome)
            started = outcome.started
            if not started.is_repeat:
                end = await _end_of(request, hook, id, subscription, look=False)
        if started.is_repeat:
            with state.feed.subscribed(started.id) as subscription:
                end = await _end_of(request, hook, started.id, subscription, look=True)
    finally:
        slots.give_back(workspace_id)
    return _accepted(outcome) if end is None else _result(request, started, end)


@dataclass(frozen=True, slots=True)
class _End:
    """The end of an execution. Args: result: Its JSON text."""

    status: Status
    result: bytes | None


async def _end_of(
    request: Request, hook: OpenHook, id: ExecutionId, subscription: Subscription[Recorded], *, look: bool
) -> _End | None:
    """Wait for the end of an execution.

    Return None if it does not come in time, the sender leaves, or the server stops.
    """
    end = asyncio.ensure_future(_until_end(request, hook, id, subscription, look=look))
    left = asyncio.ensure_future(until_disconnected(request.receive))
    # The execution goes on after the restart. A sender whose connection were cut off would start one more.
    closed = asyncio.ensure_future(state_of(request).streams.closed.wait())
    try:
        await asyncio.wait({end, left, closed}, return_when=asyncio.FIRST_COMPLETED)
        return end.result() if end.done() else None
    finally:
        await cancel_all(end, left, closed)


async def _until_end(
    request: Request, hook: OpenHook, id: ExecutionId, subscription: Subscription[Recorded], *, look: bool
) -> _End | None:
    try:
        async with asyncio.timeout(hook.spec.respond.timeout_seconds):
            last = await state_of(request).feed.until_end(id, subscription, look=look)
    except (TimeoutError, Unavailable, NotFound):
        # It has started, also if it is being deleted by now.
        return None
    match last.event:
        case Completed(result=result):
            return _End(Status.COMPLETED, msgspec.json.encode(result))
        case Failed():
            return _End(Status.FAILED, None)
        case _:
            return _End(Status.CANCELLED, None)


def _accepted(outcome: HookOutcome) -> Response:
    started = outcome.started
    if started is None:
        return answer(HookAnswer(started=False), 202 if outcome.is_left else 200)
    body = HookAnswer(started=not started.is_repeat, execution_id=started.id, status=started.status.value)
    return answer(body, 200 if started.is_repeat else 202)


def _result(request: Request, started: StartedExecution, end: _End) -> Response:
    if end.status is Status.COMPLETED:
        # As it is: the sender may expect exactly this JSON.
        return Response(end.result or b"null", media_type="application/json")
    message = f"The execution {'failed' if end.status is Status.FAILED else 'was cancelled'}"
    return error_answer(request.scope["request_id"], 502, message, details=ErrorDetails(execution_id=started.id))
