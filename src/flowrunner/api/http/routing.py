"""Route classes: limits, authentication and authorisation before a route's function is called.

Every route requires a caller with a right unless it is declared as a `PublicRoute`, so a forgotten declaration
leaves the route closed. Only `domain.account.authorise` decides which rights a caller has.
"""

import asyncio
import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

from fastapi import Request
from fastapi._compat import ModelField
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from flowrunner.api.http.answers import Answer, answer_of, content_of
from flowrunner.api.http.conditions import IF_NONE_MATCH, tagged, with_etag_of_answer
from flowrunner.api.http.errors import InvalidRequest
from flowrunner.api.http.idempotency import Handler, once, repeats_of
from flowrunner.api.http.queries import query_reader_of
from flowrunner.api.http.query_names import check_query_names, query_names_of
from flowrunner.api.http.rate_headers import RATES, count
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain import strict_json
from flowrunner.domain.account import Caller, Right, Session, authorise
from flowrunner.domain.errors import Forbidden, NotFound, Unauthorized
from flowrunner.domain.values import JSON, memory_of_json, personal_workspace
from flowrunner.ports.memory import BodyRoom
from flowrunner.ports.workspaces import ObjectKind
from flowrunner.tasks import begin

MAX_BODY_BYTES: Final = 1024 * 1024
# A definition of 1 MiB can be more than twice as long when it is escaped as JSON.
MAX_FLOW_BODY_BYTES: Final = 3 * 1024 * 1024
# Bodies of unauthenticated callers are short: no field exceeds this limit, even fully escaped.
MAX_ANONYMOUS_BODY_BYTES: Final = 32 * 1024

# In the scope of a request that does not take the usual way: see `Caller.surface`.
SURFACE: Final = "surface"

_LONG_BYTES: Final = 64 * 1024

SECURITY_SCHEME: Final = "token"

T = TypeVar("T")


# The media types of a flow document: RFC 9512, and two that are older.
_YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
_TAKES_YAML: Final = "x-takes-yaml"


def takes_yaml() -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose body may also be a flow document, instead of its `definition`."""
    content = {"application/yaml": {"schema": {"type": "string", "description": "The flow document itself."}}}
    return {_TAKES_YAML: True, "requestBody": {"content": content}}


MAX_BATCH_BODY_BYTES: Final = 16 * 1024 * 1024
_ZIP: Final = "application/zip"
_TAKES_ZIP: Final = "x-takes-zip"


def takes_zip() -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose body is an archive, which the route's function reads."""
    content = {_ZIP: {"schema": {"type": "string", "format": "binary"}}}
    return {_TAKES_ZIP: True, "requestBody": {"required": True, "content": content}}


class StrictRequest(Request):
    """A request with a bounded body of strict JSON, or of YAML where the route takes flow documents.

    Attributes:
        is_document: The body is a flow document.
        room: The memory for long bodies.
    """

    most_bytes = MAX_BODY_BYTES
    takes_yaml = False
    takes_zip = False
    is_document = False
    room: BodyRoom
    # Of an empty body.
    _value: Any = None

    @contextlib.asynccontextmanager
    async def parsed(self) -> AsyncIterator[Self]:
        """Read the body. The memory of a long one is reserved until the request has been answered.

        Raises:
            InvalidRequest: 413 if it is too large, 415 if its headers do not declare JSON, 400 if its content is not
                JSON.
        """
        self._body = await self.read_bounded()
        if self.takes_zip:
            _check_is_zip(self.headers)
            # As much as it may hold, whatever its size: a short archive can be of long documents.
            async with self.room.hold(caller_of(self).workspace_id, 2 * MAX_BATCH_BODY_BYTES):
                yield self
            return
        if len(self._body) <= _LONG_BYTES:
            await self._parse(self._body)
            yield self
            return
        # Only authenticated callers can send this much. The share is the account's, which may have many workspaces.
        share = personal_workspace(caller_of(self).account_id)
        # An estimate for JSON is none too small for a text.
        async with self.room.hold(share, memory_of_json(self._body)):
            await self._parse(self._body)
            yield self

    async def _parse(self, data: bytes) -> None:
        if not data:
            return
        self.is_document = _is_document(self.headers, takes_yaml=self.takes_yaml)
        if self.is_document:
            self._value = {"definition": _text_of(data)}
            return
        try:
            self._value = await self._read_long(data) if len(data) > _LONG_BYTES else strict_json.loads(data)
        except strict_json.InvalidJson as error:
            raise InvalidRequest(f"The request body cannot be read: {error}") from None

    async def _read_long(self, data: bytes) -> JSON:
        """Parse a long body on a thread, because the longest ones take a third of a second."""
        # There are few threads, so an account uses one at a time.
        async with state_of(self).long_bodies.of(caller_of(self).account_id):
            return await asyncio.to_thread(strict_json.loads, data)

    async def read_bounded(self) -> bytes:
        """Return the body, of any type. Raises: InvalidRequest if it is too large."""
        length = self.headers.get("content-length")
        if length is not None and (not length.isdigit() or int(length[:20]) > self.most_bytes):
            raise self._too_large()
        chunks, size = [], 0
        try:
            async for chunk in self.stream():
                size += len(chunk)
                if size > self.most_bytes:
                    raise self._too_large()
                chunks.append(chunk)
        except ClientDisconnect:
            raise InvalidRequest("The request body was cut off") from None
        return b"".join(chunks)

    def _too_large(self) -> InvalidRequest:
        return InvalidRequest(f"The request body has more than {self.most_bytes} bytes", status=413)

    async def json(self) -> Any:
        return self._value


def is_document(request: Request) -> bool:
    """Return True if the body is a flow document, and not JSON with a `definition`."""
    return isinstance(request, StrictRequest) and request.is_document


def _is_document(headers: Headers, *, takes_yaml: bool) -> bool:
    """Return True if the headers declare YAML, and False if they declare JSON. Raises: InvalidRequest."""
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    media_type, charset = media_type.strip().lower(), parameters.replace(" ", "").lower()
    is_yaml = takes_yaml and media_type in _YAML
    if not (is_yaml or media_type == "application/json") or charset not in ("", "charset=utf-8"):
        wanted, or_yaml = ("JSON or YAML", ", or application/yaml") if takes_yaml else ("JSON", "")
        hint = f"send it with 'Content-Type: application/json'{or_yaml}"
        raise InvalidRequest(f"The request body must be {wanted}", status=415, hint=hint)
    _check_is_not_compressed(headers)
    return is_yaml


def _check_is_zip(headers: Headers) -> None:
    """Raises: InvalidRequest."""
    if headers.get("content-type", "").strip().lower() != _ZIP:
        hint = f"send it with 'Content-Type: {_ZIP}'"
        raise InvalidRequest("The request body must be a zip archive", status=415, hint=hint)
    _check_is_not_compressed(headers)


def _check_is_not_compressed(headers: Headers) -> None:
    """Raises: InvalidRequest."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest("The request body must not be compressed", status=415)


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request body is not UTF-8: byte {error.start + 1} is none of it") from None


class BoundedRoute(APIRoute, ABC):
    """A route with a bounded body, which admits each request before anything of it is read.

    Attributes:
        is_direct: It needs nothing of the framework when it serves a request.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = dict(options.pop("openapi_extra", None) or {})
        self._repeats = repeats_of(extra)
        options["openapi_extra"] = extra
        self.answer = answer_of(endpoint)
        self.answers = set[type[Answer]]()
        if self.answer is not None:
            responses = {options.get("status_code") or 200: {}} | (options.get("responses") or {})
            options["responses"] = {
                status: self._described(response, self.answer) if status < 300 and status != 204 else response
                for status, response in responses.items()
            }
        # The framework neither encodes nor validates answers.
        super().__init__(path, endpoint, **{**options, "response_model": None})
        self.is_direct = self._direct() is not None
        if self.is_direct:
            self.app = _answering(self.get_route_handler())

    def _described(self, response: Mapping[str, Any], usual: type[Answer]) -> dict[str, Any]:
        """Return the description of a response, with the answer that it names or the usual one.

        It may have content of other types besides.
        """
        described = dict(response)
        kind = described.pop("answer", usual)
        self.answers.add(kind)
        return {**described, "content": content_of(kind)["content"] | described.get("content", {})}

    def get_route_handler(self) -> Handler:
        handle = self._direct() or super().get_route_handler()
        extra = self.openapi_extra or {}
        most_bytes, may_be_yaml = extra.get("x-max-bytes", MAX_BODY_BYTES), extra.get(_TAKES_YAML, False)
        takes_zip = extra.get(_TAKES_ZIP, False)
        takes_body = takes_zip or self.body_field is not None
        if self._repeats is not None:
            handle = once(handle, self._repeats, takes_body=takes_body)

        query_names = query_names_of(self)

        async def handler(request: Request) -> Response:
            await self.admit(request)
            if request.scope["query_string"] and query_names is not None:
                check_query_names(request, query_names)
            if not takes_body:
                return await handle(request)
            strict = StrictRequest(request.scope, request.receive)
            strict.most_bytes, strict.takes_yaml, strict.takes_zip = most_bytes, may_be_yaml, takes_zip
            strict.room = self.body_room(request)
            async with strict.parsed():
                await self.admit_again(strict)
                return await handle(strict)

        return handler

    def body_room(self, request: Request) -> BodyRoom:
        """Return the memory for long bodies of requests."""
        return state_of(request).body_room

    def _direct(self) -> Handler | None:
        """Return a direct call of the function if it takes only the request, a body, and parameters of path and query.

        Little is converted or validated then, and bypassing the framework's machinery saves a quarter of the
        time of such a request, and half of that of a list.
        """
        takes = self.dependant
        if takes.header_params or takes.cookie_params or len(takes.body_params) > 1 or takes.request_param_name is None:
            return None
        if any(param.field_info.annotation is not str for param in takes.path_params):
            return None
        read_query = query_reader_of(takes)
        if read_query is None:
            return None
        function, name = self.endpoint, takes.request_param_name
        body = takes.body_params[0] if takes.body_params else None

        async def call(request: Request) -> Response:
            values: dict[str, Any] = {name: request, **request.path_params, **await read_query(request)}
            if body is not None:
                values[body.name] = await _validated(request, body)
            response: Response = await function(**values)
            return response

        return call

    @abstractmethod
    async def admit(self, request: Request) -> None:
        """Admit the request, or raise an error."""
        ...

    async def admit_again(self, request: Request) -> None:
        """Repeat the admission if it may be outdated, because the body may have taken long to arrive."""


def _answering(handler: Handler) -> ASGIApp:
    """Return an ASGI application without the framework's exit stacks, which only dependencies need."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    return app


class PublicRoute(BoundedRoute):
    """A route for unauthenticated callers."""

    async def admit(self, request: Request) -> None:
        count(request.scope, services_of(request).rates.anonymous(address_of(request)))


class ProbeRoute(BoundedRoute):
    """A public route without a rate limit, so that monitoring always gets an answer."""

    async def admit(self, request: Request) -> None:
        pass


async def until_disconnected(receive: Receive) -> None:
    """Return when the client has disconnected. What it sends is ignored."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``, and cancel it when the client disconnects. The body must have been read.

    Raises:
        InvalidRequest: The client has disconnected.
    """
    doing = begin(work)
    if doing.done():
        return await doing
    listening = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({doing, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done() and listening.result()["type"] == "http.disconnect":
            raise InvalidRequest("The client has disconnected")
        return await doing
    finally:
        doing.cancel()
        listening.cancel()
        await asyncio.gather(doing, listening, return_exceptions=True)


def needs(right: Right, *, is_change: bool = False) -> dict[str, Any]:
    """Return the `openapi_extra` that makes a route require this right.

    Without it, `GET` and `HEAD` require `Right.READ` and other methods `Right.WRITE`.

    Args:
        is_change: Each request adds an audit entry, which other requests that require this right do not.
    """
    return {_RIGHT: right.value, _IS_CHANGE: is_change}


WORKSPACE_HEADER: Final = "Flowrunner-Workspace"
_PlaceKind: TypeAlias = ObjectKind | Literal["workspace", "account"]
# Where the routes below a path act: in the workspace of the object that the path names, or in the one it names itself.
_PLACES: Final[Mapping[str, _PlaceKind]] = {
    "/api/v1/flows/{id}": "flow",
    "/api/v1/executions/{id}": "execution",
    "/api/v1/jobs/{id}": "job",
    "/api/v1/triggers/{id}": "trigger",
    "/api/v1/callbacks/{id}": "callback",
    "/api/v1/workspaces/{id}": "workspace",
    "/api/v1/accounts/{account_id}/secrets": "account",
}


def kind_of_place(path: str) -> _PlaceKind | None:
    """Return what decides where a route with this path acts; None if its path does not."""
    return next((kind for prefix, kind in _PLACES.items() if path.startswith(prefix)), None)


async def place(connection: HTTPConnection, caller: Caller, kind: _PlaceKind | None) -> Caller:
    """Return the caller acting in the workspace that the path names, or else the header, or else the credential.

    Args:
        kind: What the path names: see `kind_of_place`.

    Raises:
        NotFound: The credential does not reach the workspace that the header or the path names.
    """
    named = connection.headers.get(WORKSPACE_HEADER)
    if named is None and kind is None:
        return caller
    workspaces = services_of(connection).workspaces
    if named is not None:
        caller = workspaces.at(caller, named)
    if kind is None:
        return caller
    id = next(iter(connection.path_params.values()))
    if kind in ("flow", "execution", "trigger", "job", "callback"):
        return caller if named is not None else await workspaces.at_object(caller, kind, id)
    found = workspaces.at(caller, id) if kind == "workspace" else workspaces.at_account(caller, id)
    if named is not None and found.workspace_id != caller.workspace_id:
        raise NotFound(kind)
    return found


_RIGHT: Final = "x-right"
_IS_CHANGE: Final = "x-is-change"
_ACCOUNT: Final = re.compile(r"/api/v1/accounts/\{(\w+)\}")
# Stands for the caller's own account in a path.
OWN_ACCOUNT: Final = "me"
_ADMITTED_AT: Final = "admitted_at"
_READING: Final = frozenset({"GET", "HEAD"})
_CHANGING: Final = frozenset({
    Right.WRITE, Right.ACCOUNT, Right.TOKENS, Right.MEMBERS, Right.INVITE, Right.CREATE_WORKSPACE,
    Right.DELETE_WORKSPACE,
})  # fmt: skip


class ProtectedRoute(BoundedRoute):
    """A route for accounts that have a right where the request acts."""

    acts_in_workspace = True

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = dict(options.pop("openapi_extra", None) or {})
        by_method = Right.READ if set(options.get("methods") or ("GET",)) <= _READING else Right.WRITE
        self.right = Right(extra.get(_RIGHT, by_method))
        self._is_change = extra.pop(_IS_CHANGE, False) or (by_method is not Right.READ and self.right in _CHANGING)
        extra |= {_RIGHT: self.right.value, "security": [{SECURITY_SCHEME: []}]}
        # A route that describes a 304 compares the state of its object itself.
        self._is_tagged = (
            by_method is Right.READ and answer_of(endpoint) is not None and 304 not in options.get("responses", {})
        )
        if self._is_tagged:
            extra["parameters"] = [*extra.get("parameters", ()), IF_NONE_MATCH]
            options["responses"] = with_etag_of_answer(options.get("responses", {}))
        super().__init__(path, endpoint, openapi_extra=extra, **options)
        self._kind_of_place = kind_of_place(self.path_format)
        # The parameter that names an account.
        found = _ACCOUNT.match(self.path_format)
        self._account_parameter = None if found is None else found[1]

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if not self._is_tagged:
            return handle

        async def handler(request: Request) -> Response:
            return tagged(request, await handle(request))

        return handler

    async def admit(self, request: Request) -> None:
        request.scope[_ADMITTED_AT] = services_of(request).identity.changes
        with counted_unless_known(request):
            caller = await authenticate(request, is_safe=request.method in _READING)
        request.scope["caller"] = caller
        if self._account_parameter is not None and request.path_params[self._account_parameter] == OWN_ACCOUNT:
            request.path_params[self._account_parameter] = caller.account_id
        rates = services_of(request).rates
        count(request.scope, rates.known(caller.account_id))
        # Who may do this nowhere does not learn what exists.
        authorise(caller, self.right)
        if self.acts_in_workspace:
            placed = await place(request, caller, self._kind_of_place)
            if placed is not caller:
                caller = request.scope["caller"] = placed
                authorise(caller, self.right)
        # Each change adds an audit entry, which is kept for long. Executions are limited by their stored bytes.
        if self._is_change:
            count(request.scope, rates.change(caller.account_id))

    async def admit_again(self, request: Request) -> None:
        if request.scope[_ADMITTED_AT] != services_of(request).identity.changes:
            request.scope.pop(RATES, None)
            await self.admit(request)


class AdminRoute(ProtectedRoute):
    """A route for admins of the installation.

    It requires `Right.ADMIN` unless it names another right that only admins have, and acts in no workspace.
    """

    acts_in_workspace = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = {**needs(Right.ADMIN), **(options.pop("openapi_extra", None) or {})}
        super().__init__(path, endpoint, openapi_extra=extra, **options)


async def _validated(request: Request, body: ModelField) -> Any:
    """Return the validated body, or its default if none was sent. Raises: RequestValidationError."""
    if not await request.body():
        if body.field_info.is_required():
            raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
        return body.get_default()
    value, errors = body.validate(await request.json(), {}, loc=("body",))
    if errors:
        raise RequestValidationError(errors)
    return value


async def authenticate(connection: HTTPConnection, *, is_safe: bool) -> Caller:
    """Authenticate a request or a WebSocket by its `Authorization` header or else by its cookie.

    Args:
        is_safe: The request changes nothing, and foreign pages cannot read its answer, so they may cause it.

    Raises:
        Unauthorized: The token is missing or not valid.
        Forbidden: The request has a cookie and comes from a foreign page.
    """
    token, is_cookie = token_of(connection)
    if token is None:
        raise Unauthorized("Authentication is required: send 'Authorization: Bearer <token>'")
    if is_cookie and not is_safe:
        state_of(connection).browser.check_is_own(connection.headers)
    caller = await services_of(connection).identity.authenticate(token, address=address_of(connection))
    if (surface := connection.scope.get(SURFACE)) is not None:
        caller = replace(caller, surface=surface)
    if is_cookie:
        if not isinstance(caller.credential, Session):
            raise Unauthorized("An API token is not a session: send it as 'Authorization: Bearer <token>'")
        connection.scope[_BY_COOKIE] = True
    return caller


def token_of(connection: HTTPConnection) -> tuple[str | None, bool]:
    """Return the token, and True if it came as a cookie. An `Authorization` header takes precedence."""
    authorization = connection.headers.get("authorization")
    if authorization is None:
        return state_of(connection).browser.token_of(connection), True
    scheme, _, token = authorization.partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None, False


PROTOCOL: Final = "flowrunner.v1"
_TICKET: Final = "ticket."


async def admit_socket(websocket: WebSocket, right: Right, kind: _PlaceKind | None) -> tuple[Caller, str | None]:
    """Authenticate a WebSocket by header, ticket or cookie; return the caller and the subprotocol to accept.

    Args:
        kind: What the path names: see `kind_of_place`.

    Raises: Unauthorized, Forbidden, TooManyRequests.
    """
    offered: list[str] = websocket.scope.get("subprotocols", [])
    protocol = PROTOCOL if PROTOCOL in offered else None
    ticket = next((p.removeprefix(_TICKET) for p in offered if p.startswith(_TICKET)), None)
    with counted_unless_known(websocket):
        state_of(websocket).browser.check_is_not_foreign(websocket.headers)
        if ticket is not None:
            caller = replace(await services_of(websocket).identity.redeem_ticket(ticket), address=address_of(websocket))
        else:
            caller = await authenticate(websocket, is_safe=False)
    websocket.scope["caller"] = caller
    count(websocket.scope, services_of(websocket).rates.known(caller.account_id))
    authorise(caller, right)
    caller = websocket.scope["caller"] = await place(websocket, caller, kind)
    authorise(caller, right)
    return caller, protocol


_BY_COOKIE: Final = "by_cookie"


def is_by_cookie(request: Request) -> bool:
    """Return True if the cookie authenticated the caller."""
    return _BY_COOKIE in request.scope


@contextlib.contextmanager
def counted_unless_known(connection: HTTPConnection) -> Iterator[None]:
    """Count the request against its address if authentication fails.

    Raises: TooManyRequests, in place of the original error.
    """
    try:
        yield
    except (Unauthorized, Forbidden):
        count(connection.scope, services_of(connection).rates.anonymous(address_of(connection)))
        raise


def address_of(connection: HTTPConnection) -> str:
    """Return the client's address: the peer of the connection, or the one that a trusted proxy reports."""
    return connection.client.host if connection.client is not None else ""


def caller_of(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller
