"""Route classes: limits, authentication and authorisation before a route's function is called.

Every route requires a caller with a right unless it is declared as a `PublicRoute`, so a forgotten declaration
leaves the route closed. Only `domain.account.authorise` decides which rights a caller has.
"""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar
from weakref import ref

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowrunner.api.http.answers import Answer, answer_of, content_of
from flowrunner.api.http.authentication import (
    ALSO_IN,
    act_at,
    address_of,
    authenticate,
    caller_of,
    count_unknown,
    place_of,
)
from flowrunner.api.http.bodies import MAX_ANONYMOUS_BODY_BYTES, MAX_BODY_BYTES, StrictRequest, validated
from flowrunner.api.http.conditions import IF_NONE_MATCH, tagged, with_etag_of_answer
from flowrunner.api.http.errors import InvalidRequest
from flowrunner.api.http.idempotency import REPEATABLE, Handler, once
from flowrunner.api.http.policies import policy_of
from flowrunner.api.http.queries import query_reader_of
from flowrunner.api.http.query_names import check_query_names, query_names_of
from flowrunner.api.http.rate_headers import count
from flowrunner.api.http.requests import DRY_RUN, is_dry_run
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.errors import Forbidden, NotFound, SecondFactorMissing, Unauthorized
from flowrunner.domain.values import WorkspaceId
from flowrunner.domain.workspace import includes
from flowrunner.ports.memory import BodyRoom
from flowrunner.services.readmission import READMIT, readmit
from flowrunner.tasks import begin, cancel_all

T = TypeVar("T")


class BoundedRoute(APIRoute, ABC):
    """A route with a bounded body, which admits each request before anything of it is read.

    Attributes:
        usual_most_bytes: The limit of the body if the policy has none.
        policy: The policy that its function declares.
        is_direct: It needs nothing of the framework when it serves a request.
    """

    usual_most_bytes = MAX_BODY_BYTES

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.policy = policy_of(endpoint)
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

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]:
        """Headers and query parameters that the framework does not read, in the form of OpenAPI."""
        return [*(() if self.policy.repeats is None else (REPEATABLE,)), *self.policy.parameters]

    @property
    def takes_body(self) -> bool:
        return self.policy.takes_zip or self.body_field is not None

    @property
    def most_bytes(self) -> int:
        """The limit of the body."""
        return self.usual_most_bytes if self.policy.most_bytes is None else self.policy.most_bytes

    def get_route_handler(self) -> Handler:
        handle = self._direct() or super().get_route_handler()
        policy, takes_body, most_bytes = self.policy, self.takes_body, self.most_bytes
        if policy.repeats is not None:
            handle = once(handle, policy.repeats, takes_body=takes_body)

        query_names = query_names_of(self, self.parameters)

        async def handler(request: Request) -> Response:
            await self.admit(request)
            if request.scope["query_string"] and query_names is not None:
                check_query_names(request, query_names)
            if not takes_body:
                return await handle(request)
            strict = StrictRequest(
                request,
                self.body_room(request),
                most=most_bytes,
                takes_yaml=policy.takes_yaml,
                takes_zip=policy.takes_zip,
            )
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
                values[body.name] = await validated(request, body)
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

    usual_most_bytes = MAX_ANONYMOUS_BODY_BYTES

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
        await cancel_all(doing, listening)


_ACCOUNT: Final = re.compile(r"/api/v1/accounts/\{(\w+)\}")
# Stands for the caller's own account in a path.
OWN_ACCOUNT: Final = "me"
# In the scope of a request: `KnownCallers.changes` when its caller was authenticated.
ADMITTED_AT: Final = "admitted_at"
# The attribute of a response that ends itself when its caller loses access, and holds something until then.
ENDS_WITH_ACCESS: Final = "ends_with_access"
_READING: Final = frozenset({"GET", "HEAD"})
_CHANGING: Final = frozenset({
    Right.WRITE, Right.ACCOUNT, Right.TOKENS, Right.MEMBERS, Right.INVITE, Right.CREATE_WORKSPACE,
    Right.DELETE_WORKSPACE,
})  # fmt: skip


class ProtectedRoute(BoundedRoute):
    """A route for accounts that have a right where the request acts.

    Without a right in its policy, `GET` and `HEAD` require `Right.READ` and other methods `Right.WRITE`.

    Attributes:
        usual_right: The right that it requires instead of those two.
        place: What its path names; None if it acts in no workspace, or in the one that the caller names.
    """

    acts_in_workspace = True
    usual_right: Right | None = None

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._is_reading = is_reading = set(options.get("methods") or ("GET",)) <= _READING
        policy = policy_of(endpoint)
        self.right = policy.right or self.usual_right or (Right.READ if is_reading else Right.WRITE)
        self._is_change = policy.is_change or (not is_reading and self.right in _CHANGING)
        # A route that describes a 304 compares the state of its object itself.
        self._is_tagged = is_reading and answer_of(endpoint) is not None and 304 not in options.get("responses", {})
        if self._is_tagged:
            options["responses"] = with_etag_of_answer(options.get("responses", {}))
        super().__init__(path, endpoint, **options)
        self.place = place_of(self.path_format) if self.acts_in_workspace else None
        # The parameter that names an account.
        found = _ACCOUNT.match(self.path_format)
        self._account_parameter = None if found is None else found[1]

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]:
        return [*super().parameters, *((IF_NONE_MATCH,) if self._is_tagged else ())]

    def get_route_handler(self) -> Handler:
        handle, is_reading = super().get_route_handler(), self._is_reading
        if not is_reading and DRY_RUN not in self.policy.parameters:
            return handle

        async def handler(request: Request) -> Response:
            response = await handle(request)
            # Reading may have waited for its turn. An answer about a change that was made is given in any case.
            is_needed = is_reading or is_dry_run(request)
            if is_needed and _is_outdated(request) and not getattr(response, ENDS_WITH_ACCESS, False):
                await readmit()
            return tagged(request, response) if self._is_tagged else response

        return handler

    async def admit(self, request: Request) -> None:
        await self._admit(request, is_first=True)

    async def _admit(self, request: Request, *, is_first: bool) -> None:
        request.scope[ADMITTED_AT] = services_of(request).known_callers.changes
        READMIT.set(_Readmission(self, request))
        try:
            before = None if is_first else caller_of(request)
            caller = await authenticate(request, is_safe=request.method in _READING, before=before)
        except (Unauthorized, Forbidden):
            count_unknown(request)
            raise
        request.scope["caller"] = caller
        if self._account_parameter is not None and request.path_params[self._account_parameter] == OWN_ACCOUNT:
            request.path_params[self._account_parameter] = caller.account_id
        rates = services_of(request).rates
        if is_first:
            count(request.scope, rates.known(caller.account_id))
        # A caller without the right in any workspace does not learn what exists.
        authorise(caller, self.right)
        if self.acts_in_workspace:
            placed = await act_at(request, caller, self.place)
            if placed is not caller:
                caller = request.scope["caller"] = placed
                authorise(caller, self.right)
        # Each change adds an audit entry, which is kept for long. Executions are limited by their stored bytes.
        if self._is_change and is_first:
            count(request.scope, rates.change(caller.account_id))

    async def admit_again(self, request: Request) -> None:
        if _is_outdated(request):
            await self._admit(request, is_first=False)


def _is_outdated(request: Request) -> bool:
    """Return whether access has ended somewhere since the request was admitted."""
    changes: int = services_of(request).known_callers.changes
    return bool(request.scope[ADMITTED_AT] != changes)


class _Readmission:
    """Admits a request once more, as long as it is being answered: tasks that outlive it have inherited this."""

    __slots__ = ("_request", "_route")

    def __init__(self, route: ProtectedRoute, request: Request) -> None:
        self._route = route
        self._request = ref(request)

    async def __call__(self) -> None:
        if (request := self._request()) is None:
            return
        before = caller_of(request)
        await self._route.admit_again(request)
        now = caller_of(request)
        if now is before:
            return
        # What an account no longer reaches is looked for in its own workspace.
        if now.workspace_id != before.workspace_id:
            raise NotFound("workspace" if self._route.place is None else self._route.place.kind)
        if now.role != before.role:
            raise Forbidden(_ROLE_CHANGED)
        _check_role(before, now, now.workspace_id)
        if also_in := request.scope.get(ALSO_IN):
            _check_others(before, now, also_in)


_ROLE_CHANGED: Final = "Your role has changed since the request arrived: send it again"


def _check_role(before: Caller, now: Caller, id: WorkspaceId) -> None:
    """Raises: Forbidden if the account has a lower role in a workspace than before."""
    was, role = before.role_in(id), now.role_in(id)
    if was is None or role is None or not includes(role, was):
        raise Forbidden(_ROLE_CHANGED)


def _check_others(before: Caller, now: Caller, ids: Collection[WorkspaceId]) -> None:
    """Raises: NotFound, Forbidden or SecondFactorMissing if the account can do less in one of these workspaces."""
    # Asked for once, because it looks at all memberships for each workspace.
    admitted_to = frozenset(now.admitted_to)
    for id in ids:
        if now.role_in(id) is None:
            raise NotFound("workspace")
        _check_role(before, now, id)
        if id not in admitted_to:
            raise SecondFactorMissing


class AdminRoute(ProtectedRoute):
    """A route for admins of the installation.

    It requires `Right.ADMIN` unless its policy has another right that only admins have, and acts in no workspace.
    """

    acts_in_workspace = False
    usual_right = Right.ADMIN
