"""Waiting for the end of an execution in the request that starts it: `Prefer: wait=30`."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from fastapi import Request

from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.headers import header_of
from flowrunner.api.http.routing import ADMITTED_AT, BoundedRoute, until_disconnected
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.open_streams import NORMAL_CLOSE, SESSION_ENDED, TRY_AGAIN
from flowrunner.domain.errors import NotFound, TooManyRequests, Unauthorized, Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from flowrunner.ports.live import Subscription
from flowrunner.services.executions import StartedExecution

MOST_SECONDS: Final = 60
PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": f"`wait=30` waits up to 30 seconds for the end of the execution; {MOST_SECONDS} at most.",
    "schema": {"type": "string", "maxLength": 200},
}
_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,30})\"?\s*(?:$|[,;])", re.IGNORECASE)


def wait_preferred(request: Request) -> int:
    """Return the seconds that the client wants to wait; 0 if it does not, or asks in a form that is not known."""
    text = header_of(request.scope, b"prefer")
    found = None if text is None else _WAIT.search(text)
    return 0 if found is None else min(int(found[1]), MOST_SECONDS)


async def start_and_wait(
    request: Request, start: Callable[[ExecutionId], Awaitable[StartedExecution]], *, seconds: int
) -> tuple[StartedExecution, Recorded | None]:
    """Start an execution, and return it with its last event; None if it has not ended in time.

    Args:
        start: Starts it, under the given id unless a repeated request has started it before.

    Raises: as ``start``; as `raise_present_refusal` if the access has ended meanwhile.
    """
    services, feed = services_of(request), state_of(request).feed
    # A subscription before the start misses nothing, so nothing has to be read until the end.
    id = services.executions.new_execution_id()
    with feed.subscribed(id) as subscription:
        started = await start(id)
        if not started.is_repeat:
            return started, await _end_of(request, id, subscription, look=False, seconds=seconds)
    with feed.subscribed(started.id) as subscription:
        return started, await _end_of(request, started.id, subscription, look=True, seconds=seconds)


async def _end_of(
    request: Request, id: ExecutionId, subscription: Subscription[Recorded], *, look: bool, seconds: int
) -> Recorded | None:
    """Return the last event of the execution; None if it has not ended in time. Raises: as `raise_present_refusal`."""
    state, ends = state_of(request), list[Recorded]()

    async def wait() -> int:
        try:
            async with asyncio.timeout(seconds):
                ends.append(await state.feed.until_end(id, subscription, look=look))
            return NORMAL_CLOSE
        except (TimeoutError, Unavailable, NotFound):
            # It has started, which neither an outage nor its deletion must hide: the client can ask for its end.
            return TRY_AGAIN

    try:
        stream = await state.streams.admit(caller_of(request), since=request.scope[ADMITTED_AT])
    except (TooManyRequests, Unavailable):
        return None
    with state.streams.until_left(stream):
        code = await state.streams.serve(stream, wait(), until_disconnected(request.receive))
    if code == SESSION_ENDED:
        with contextlib.suppress(Unavailable):
            await raise_present_refusal(request, id)
    return ends[0] if code == NORMAL_CLOSE else None


async def raise_present_refusal(request: Request, id: ExecutionId) -> NoReturn:
    """Raise the error that a request for an execution gets now that the server has ended its wait.

    Raises:
        Unauthorized: The session or token has ended.
        NotFound: The account no longer has a role in the workspace of the execution.
    """
    route: BoundedRoute = request.scope["route"]
    await route.admit(request)
    await services_of(request).executions.get(caller_of(request), id)
    raise Unauthorized("The session has ended: log in again")
