"""Search for the route of a request among the few that share its first path segments."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import Message, Receive, Scope, Send

_SEGMENTS: Final = 3


class RouteIndex:
    """An ASGI application that dispatches requests to the routes of a router, in their order.

    The router compares a request with each of its routes, of which there are many. This one compares it with those of
    its section, such as `/api/v1/flows`, and with those that have a parameter among their first segments. The router
    is left with lifespan and unknown paths. Each address takes OPTIONS, and HEAD where it takes GET.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        sections: dict[str, list[BaseRoute]] = defaultdict(list)
        self._anywhere: list[BaseRoute] = []
        for route in router.routes:
            section = _section(str(getattr(route, "path", "{unknown}")))
            (self._anywhere if "{" in section else sections[section]).append(route)
        self._sections = {section: [*routes, *self._anywhere] for section, routes in sections.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        others: list[tuple[Route, Scope]] = []
        for route in self._section_of(scope):
            match, found = route.matches(scope)
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
        # To what would stream a body, the client is gone.
        return {"type": "http.disconnect"} if has_head else await receive()

    async def send_head(message: Message) -> None:
        nonlocal has_head
        if not has_head:
            has_head = True
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    await route.app(scope, receive_until_head, send_head)
