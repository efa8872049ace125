"""Search for the route of a request among the few that share its first path segments."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send

_SEGMENTS: Final = 3


class RouteIndex:
    """An ASGI application that dispatches requests to the routes of a router, in their order.

    The router compares a request with each of its routes, of which there are many. This one compares it with those of
    its section, such as `/api/v1/flows`, and leaves to the router what fits none of them: lifespan, unknown paths and
    methods, and routes with a parameter among their first segments.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._sections: dict[str, list[BaseRoute]] = defaultdict(list)
        for route in router.routes:
            section = _section(str(getattr(route, "path", "{unknown}")))
            if "{" not in section:
                self._sections[section].append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self._section_of(scope):
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope["router"] = self._router
                scope["route"] = route
                scope.update(found)
                await route.handle(scope, receive, send)
                return
        await self._router.app(scope, receive, send)

    def _section_of(self, scope: Scope) -> Sequence[BaseRoute]:
        return () if scope["type"] == "lifespan" else self._sections.get(_section(scope["path"]), ())


def _section(path: str) -> str:
    """Return the first segments of a path, with which the whole path begins."""
    return "/".join(path.split("/", _SEGMENTS + 1)[: _SEGMENTS + 1])
