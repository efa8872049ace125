"""Who sends a request or opens a WebSocket, and the workspace in which they act."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from flowrunner.api.http.headers import header_of, is_repeated
from flowrunner.api.http.rate_headers import count
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.account import Caller, Right, Session, authorise
from flowrunner.domain.errors import Forbidden, NotFound, Unauthorized
from flowrunner.ports.read_turns import READS_FOR
from flowrunner.ports.workspaces import ObjectKind

# In the scope of a request that does not take the usual way: see `Caller.surface`.
SURFACE: Final = "surface"

WORKSPACE_HEADER: Final = "Flowrunner-Workspace"
_WORKSPACE_HEADER: Final = WORKSPACE_HEADER.lower().encode()
PlaceKind: TypeAlias = ObjectKind | Literal["workspace", "account"]


@dataclass(frozen=True, slots=True)
class Place:
    """The place where a route acts: the workspace of the object that its path names, or the one it names itself.

    Attributes:
        parameter: The parameter of the path that has the id.
    """

    kind: PlaceKind
    parameter: str


# By the path that they and the routes below it have.
_PLACES: Final[Mapping[str, Place]] = {
    "/api/v1/flows/{id}": Place("flow", "id"),
    "/api/v1/executions/{id}": Place("execution", "id"),
    "/api/v1/jobs/{id}": Place("job", "id"),
    "/api/v1/triggers/{id}": Place("trigger", "id"),
    "/api/v1/callbacks/{id}": Place("callback", "id"),
    "/api/v1/workspaces/{id}": Place("workspace", "id"),
    "/api/v1/accounts/{account_id}/secrets": Place("account", "account_id"),
}
# Routes whose ids are those of accounts, and of what an account has everywhere: their paths decide nothing.
_EVERYWHERE: Final = (
    "/api/v1/accounts/{id}",
    "/api/v1/identities/{id}",
    "/api/v1/second-factors/{id}",
    "/api/v1/sessions/{id}",
    "/api/v1/tokens/{id}",
)
_API: Final = "/api/v1/"
_ID: Final = re.compile(r"\{(?:\w+_)?id\}")


def place_of(path: str) -> Place | None:
    """Return what decides where a route with this path acts; None if its path does not.

    Raises:
        ValueError: The path has an id, and nothing is declared about it.
    """
    for above, place in _PLACES.items():
        if _is_at_or_below(path, above):
            return place
    if path.startswith(_API) and _ID.search(path) and not any(_is_at_or_below(path, above) for above in _EVERYWHERE):
        raise ValueError(f"Where does {path} act? Declare it in _PLACES or _EVERYWHERE")
    return None


def _is_at_or_below(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}/")


async def act_at(connection: HTTPConnection, caller: Caller, place: Place | None) -> Caller:
    """Return the caller acting in the workspace that the path names, or else the header, or else the credential.

    Args:
        place: What the path names: see `place_of`.

    Raises:
        NotFound: The credential does not reach the workspace that the header or the path names.
    """
    named = header_of(connection.scope, _WORKSPACE_HEADER)
    if named is None and place is None:
        return caller
    workspaces = services_of(connection).workspaces
    if named is not None:
        # Several are one list (RFC 9110, 5.3), which names no workspace.
        if is_repeated(connection.scope, _WORKSPACE_HEADER):
            raise NotFound("workspace")
        caller = workspaces.at(caller, named)
    if place is None:
        return caller
    kind, id = place.kind, connection.path_params[place.parameter]
    if kind in ("flow", "execution", "trigger", "job", "callback"):
        return caller if named is not None else await workspaces.at_object(caller, kind, id)
    found = workspaces.at(caller, id) if kind == "workspace" else workspaces.at_account(caller, id)
    if named is not None and found.workspace_id != caller.workspace_id:
        raise NotFound(kind)
    return found


# In the scope of a request: the workspaces that it acts in besides that of its caller.
ALSO_IN: Final = "also_in"


def act_also_at(request: Request, caller: Caller, named: str) -> Caller:
    """Return the caller acting in the workspace with this id or slug, where the request needs its role until its end.

    Raises:
        NotFound: The credential does not reach it.
    """
    found = services_of(request).workspaces.at(caller, named)
    request.scope[ALSO_IN] = (found.workspace_id,)
    return found


async def authenticate(connection: HTTPConnection, *, is_safe: bool, before: Caller | None = None) -> Caller:
    """Authenticate a request or a WebSocket by its `Authorization` header or else by its cookie.

    Args:
        is_safe: The request changes nothing, and foreign pages cannot read its answer, so they may cause it.
        before: The caller when the request arrived, if it is admitted once more.

    Raises:
        Unauthorized: The token is missing or not valid.
        Forbidden: The request has a cookie and comes from a foreign page.
    """
    token, is_cookie = token_of(connection)
    if token is None:
        raise Unauthorized("Authentication is required: send 'Authorization: Bearer <token>'")
    if is_cookie and not is_safe:
        state_of(connection).browser.check_is_own(connection.headers)
    sessions = services_of(connection).sessions
    if before is None:
        caller = await sessions.authenticate(token, address=address_of(connection))
    else:
        caller = await sessions.authenticate_again(token, before)
    READS_FOR.set(caller.account_id)
    if (surface := connection.scope.get(SURFACE)) is not None:
        caller = replace(caller, surface=surface)
    if is_cookie:
        if not isinstance(caller.credential, Session):
            raise Unauthorized("An API token is not a session: send it as 'Authorization: Bearer <token>'")
        connection.scope[_BY_COOKIE] = True
    return caller


def token_of(connection: HTTPConnection) -> tuple[str | None, bool]:
    """Return the token, and True if it came as a cookie. An `Authorization` header takes precedence."""
    authorization = header_of(connection.scope, b"authorization")
    if authorization is None:
        return state_of(connection).browser.token_of(connection), True
    scheme, _, token = authorization.partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None, False


PROTOCOL: Final = "flowrunner.v1"
_TICKET: Final = "ticket."


async def admit_socket(websocket: WebSocket, right: Right, place: Place | None) -> tuple[Caller, str | None]:
    """Authenticate a WebSocket by header, ticket or cookie; return the caller and the subprotocol to accept.

    Args:
        place: What the path names: see `place_of`.

    Raises: Unauthorized, Forbidden, TooManyRequests.
    """
    offered: list[str] = websocket.scope.get("subprotocols", [])
    protocol = PROTOCOL if PROTOCOL in offered else None
    ticket = next((p.removeprefix(_TICKET) for p in offered if p.startswith(_TICKET)), None)
    try:
        state_of(websocket).browser.check_is_not_foreign(websocket.headers)
        if ticket is not None:
            caller = replace(await services_of(websocket).sessions.redeem_ticket(ticket), address=address_of(websocket))
        else:
            caller = await authenticate(websocket, is_safe=False)
    except (Unauthorized, Forbidden):
        count_unknown(websocket)
        raise
    websocket.scope["caller"] = caller
    READS_FOR.set(caller.account_id)
    count(websocket.scope, services_of(websocket).rates.known(caller.account_id))
    authorise(caller, right)
    caller = websocket.scope["caller"] = await act_at(websocket, caller, place)
    authorise(caller, right)
    return caller, protocol


_BY_COOKIE: Final = "by_cookie"


def is_by_cookie(request: Request) -> bool:
    """Return True if the cookie authenticated the caller."""
    return _BY_COOKIE in request.scope


def count_unknown(connection: HTTPConnection) -> None:
    """Count a request whose caller is not known against its address. Raises: TooManyRequests."""
    count(connection.scope, services_of(connection).rates.anonymous(address_of(connection)))


def address_of(connection: HTTPConnection) -> str:
    """Return the client's address: the peer of the connection, or the one that a trusted proxy reports."""
    client = connection.scope.get("client")
    return "" if client is None else str(client[0])


def caller_of(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller
