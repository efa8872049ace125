"""The address of the MCP server: Streamable HTTP, without sessions and streams."""

import asyncio
import importlib
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi import Body as BodyOf
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from flowrunner.api.http.authentication import SURFACE, count_unknown
from flowrunner.api.http.bodies import MAX_FLOW_BODY_BYTES
from flowrunner.api.http.errors import InvalidRequest, answer_of_error
from flowrunner.api.http.idempotency import Handler
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.routing import ProtectedRoute, until_disconnected
from flowrunner.api.http.state import state_of
from flowrunner.api.mcp.calls import AgentCall, manual_of
from flowrunner.api.mcp.errors import InvalidMessage, refusal
from flowrunner.api.mcp.inner_requests import InnerRequests
from flowrunner.domain.account import Right
from flowrunner.domain.errors import FlowRunnerError, Forbidden, Unauthorized, Unavailable, UnknownAgent
from flowrunner.ports.memory import BodyRoom
from flowrunner.tasks import alongside

_PROTOCOL: Final = "flowrunner.api.mcp.protocol"
_MOST_METHOD_CHARACTERS: Final = 100
_MOST_ID_CHARACTERS: Final = 200
_MOST_MEMBERS: Final = 100


class McpRoute(ProtectedRoute):
    """The route of the MCP server, which takes API tokens for it and no other credential.

    A request that is refused before a method sees it gets an error of JSON-RPC, which clients show to their users.
    """

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except (FlowRunnerError, InvalidRequest, RequestValidationError) as error:
                return refusal(request, error, await answer_of_error(request, error))

        return handler

    async def admit(self, request: Request) -> None:
        request.scope[SURFACE] = "mcp"
        try:
            # A page that has rebound its own name to this address says so in Origin.
            state_of(request).browser.check_is_not_foreign(request.headers)
        except Forbidden:
            count_unknown(request)
            raise
        try:
            await super().admit(request)
        except Unauthorized as error:
            raise UnknownAgent(str(error)) from None

    def body_room(self, request: Request) -> BodyRoom:
        # A separate room: the inner requests must not wait for memory that this message holds.
        return state_of(request).message_room


router = APIRouter(route_class=McpRoute)


@router.post(
    "/mcp",
    # The protocol describes its messages itself, and its tools with `tools/list`.
    include_in_schema=False,
)
@RoutePolicy(right=Right.MCP, most_bytes=MAX_FLOW_BODY_BYTES)
async def mcp(request: Request, message: Annotated[dict[str, Any], BodyOf()]) -> Response:
    """Answer a message of the Model Context Protocol."""
    _check(message)
    serve = await state_of(request).mcp.get(_load)
    gone = asyncio.Event()
    call = AgentCall(request, InnerRequests(request, gone), await manual_of(request))
    async with alongside(_tell(request, gone)):
        response: Response = await serve(call, await request.body())
        return response


def _check(message: dict[str, Any]) -> None:
    """Raises: InvalidMessage unless it is a message of JSON-RPC 2.0."""
    id, method, params = message.get("id", 0), message.get("method"), message.get("params", {})
    is_one = (
        message.keys() <= {"jsonrpc", "id", "method", "params"}
        and message.get("jsonrpc") == "2.0"
        and isinstance(method, str)
        and len(method) <= _MOST_METHOD_CHARACTERS
        # A boolean is an integer of Python, and the SDK takes a message with such an id for a notification.
        and (
            (isinstance(id, int) and not isinstance(id, bool))
            or (isinstance(id, str) and len(id) <= _MOST_ID_CHARACTERS)
        )
        and isinstance(params, dict)
        # The SDK looks at each member on the event loop, those that it does not know too.
        and len(params) <= _MOST_MEMBERS
        and (isinstance(meta := params.get("_meta", {}), dict) and len(meta) <= _MOST_MEMBERS)
    )
    if not is_one:
        hint = 'send one request or notification: {"jsonrpc": "2.0", "id": 1, "method": …, "params": {…}}'
        raise InvalidMessage("The body is not a JSON-RPC 2.0 message", hint=hint)


async def _load() -> Any:
    """Raises: Unavailable."""
    try:
        # On a thread: it takes half a second.
        module = await asyncio.to_thread(importlib.import_module, _PROTOCOL)
    except ImportError:
        raise Unavailable("The MCP server needs the package 'mcp': install FlowRunner with the extra 'mcp'") from None
    return module.serve


async def _tell(request: Request, gone: asyncio.Event) -> None:
    await until_disconnected(request.receive)
    gone.set()
