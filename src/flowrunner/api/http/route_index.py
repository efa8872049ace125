"""Search for the route of a request among the few that share its first path segments."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from starlette.convertors import PathConvertor, StringConvertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowrunner.api.http.errors import answer_of_error
from flowrunner.api.http.routing import BoundedRoute
from flowrunner.api.request_log import ANSWERED

_SEGMENTS: Final = 3


class _Candidate(NamedTuple):
    """A route that a request may have. Attributes: direct: The route itself, if it is direct."""

    pattern: re.Pattern[str]
    methods: frozenset[str]
    direct: BoundedRoute | None


_ANY_PATH: Final = re.compile("")
_ANY_METHOD: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"})


class RouteIndex:
    """An ASGI application that dispatches requests to the routes of a router, in their order.

    The router compares a request with each of its routes, of which there are many. This one compares it with those of
    its section, such as `/api/v1/flows`, and with those that have a parameter among their first segments. The router
    is left with lifespan and unknown paths. Each address takes OPTIONS, and HEAD where it takes GET. One without
    parameters, such as `/api/v1/flows/export`, takes no method of a route with parameters that fits it as well.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        sections: dict[str, list[BaseRoute]] = defaultdict(list)
        self._anywhere: list[BaseRoute] = []
        for route in router.routes:
            section = _section(str(getattr(route, "path", "{unknown}")))
            (self._anywhere if "{" in section else sections[section]).append(route)
        self._sections = {section: [*routes, *self._anywhere] for section, routes in sections.items()}
        self._candidates = {section: _candidates(routes) for section, routes in self._sections.items()}
        self._candidates_anywhere = _candidates(self._anywhere)
        paths = (str(getattr(route, "path", "{unknown}")) for route in router.routes)
        self._without_parameters = frozenset(path for path in paths if "{" not in path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        others: list[tuple[Route, Scope]] = []
        takes_parameters = scope.get("path") not in self._without_parameters
        for route in self._section_of(scope):
            match, found = route.matches(scope)
            if not takes_parameters and found.get("path_params"):
                continue
            if match is Match.FULL:
                self._found(scope, route, found)
                await route.handle(scope, receive, send)
                return
            if match is Match.PARTIAL and isinstance(route, Route):
                others.append((route, found))
        if others:
            await self._serve_other_method(others, scope, receive, send)
        else:
            await self._router.app(scope, receive, send)

    def direct(self, scope: Scope) -> BoundedRoute | None:
        """Return the route of a request if it needs nothing of the framework; its parameters are then in the scope."""
        path, method = scope["path"], scope["method"]
        for pattern, methods, route in self._candidates.get(_section(path), self._candidates_anywhere):
            if method not in methods or (found := pattern.match(path)) is None:
                continue
            if route is None or scope.get("root_path"):
                break
            parameters = found.groupdict()
            if parameters and path in self._without_parameters:
                break
            scope["route"], scope["path_params"] = route, parameters
            return route
        return None

    def _found(self, scope: Scope, route: BaseRoute, found: Scope) -> None:
        scope["router"] = self._router
        scope["route"] = route
        scope.update(found)

    async def _serve_other_method(
        self, others: Sequence[tuple[Route, Scope]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve HEAD and OPTIONS at an address of routes for other methods. Raises: HTTPException for the rest."""
        if scope["method"] == "HEAD":
            for route, found in others:
                if "GET" in (route.methods or ()):
                    self._found(scope, route, found)
                    await _serve_head(route, scope, receive, send)
                    return
        allowed = {"Allow": _allowed(route for route, _ in others)}
        if scope["method"] != "OPTIONS":
            raise HTTPException(405, headers=allowed)
        await Response(status_code=204, headers=allowed)(scope, receive, send)

    def _section_of(self, scope: Scope) -> Sequence[BaseRoute]:
        return () if scope["type"] == "lifespan" else self._sections.get(_section(scope["path"]), self._anywhere)


class DirectRoutes:
    """An ASGI application that serves direct routes past the framework, and leaves all other requests to it."""

    def __init__(self, index: RouteIndex, framework: ASGIApp) -> None:
        self._index = index
        self._framework = framework

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._index.direct(scope) if scope["type"] == "http" else None
        if route is None:
            await self._framework(scope, receive, send)
            return
        try:
            await route.app(scope, receive, send)
        except Exception as error:
            if ANSWERED in scope:
                raise
            response = await answer_of_error(Request(scope, receive, send), error)
            await response(scope, receive, send)


def _candidates(routes: Iterable[BaseRoute]) -> Sequence[_Candidate]:
    found = []
    for route in routes:
        if isinstance(route, WebSocketRoute):
            continue
        if not isinstance(route, Route):
            # Only the framework knows its requests.
            found.append(_Candidate(_ANY_PATH, _ANY_METHOD, None))
            break
        has_texts = all(isinstance(kind, StringConvertor | PathConvertor) for kind in route.param_convertors.values())
        direct = route if isinstance(route, BoundedRoute) and route.is_direct and has_texts else None
        methods = _ANY_METHOD if route.methods is None else frozenset(route.methods)
        found.append(_Candidate(route.path_regex, methods, direct))
    return found


def _section(path: str) -> str:
    """Return the first segments of a path, with which the whole path begins."""
    return "/".join(path.split("/", _SEGMENTS + 1)[: _SEGMENTS + 1])


def _allowed(routes: Iterable[Route]) -> str:
    methods = {method for route in routes for method in route.methods or ()}
    return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


async def _serve_head(route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the head of the answer to a GET. A streamed body ends where it would begin."""
    has_head = False

    async def receive_until_head() -> Message:
        # An answer that would stream a body sees that the client is gone, and ends.
        return {"type": "http.disconnect"} if has_head else await receive()

    async def send_head(message: Message) -> None:
        nonlocal has_head
        if not has_head:
            has_head = True
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    await route.app(scope, receive_until_head, send_head)
