"""The index of routes: it finds the same route as the search through all of them."""

from pathlib import Path

from starlette.routing import Match, Route, Router, WebSocketRoute

from flowrunner.api.http.route_index import RouteIndex
from support.asgi import program_at


def found_by_search(router: Router, method: str, path: str) -> str | None:
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    for route in router.routes:
        if route.matches(scope)[0] is Match.FULL:
            return str(getattr(route, "path", ""))
    return None


def found_by_index(router: Router, method: str, path: str) -> str | None:
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    for route in RouteIndex(router)._section_of(scope):
        if route.matches(scope)[0] is Match.FULL:
            return str(getattr(route, "path", ""))
    return None


async def test_a_request_reaches_the_first_route_that_fits(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        router = program.app.router
        compared = 0
        for route in router.routes:
            path = str(getattr(route, "path", ""))
            for value in ("x", "validate", "by-name", "export", "a b"):
                address = "/".join(value if part.startswith("{") else part for part in path.split("/"))
                for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                    compared += 1
                    assert found_by_index(router, method, address) == found_by_search(router, method, address)

    assert compared > 1_000


async def test_few_routes_are_compared_with_a_request(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        router = program.app.router
        scope = {"type": "http", "method": "GET", "path": "/api/v1/accounts", "headers": []}

        assert len(RouteIndex(router)._section_of(scope)) < len(router.routes) / 4


def test_a_route_with_a_parameter_among_its_first_segments_is_left_to_the_router() -> None:
    async def endpoint() -> None: ...

    left = [Route("/{name}/x/y/z", endpoint), WebSocketRoute("/ws/{id}", endpoint)]
    indexed = Route("/a/b/c/{d}", endpoint)
    index = RouteIndex(Router([*left, indexed]))

    found = [index._section_of({"type": "http", "path": path}) for path in ("/q/x/y/z", "/ws/1", "/a/b/c/d")]
    assert found == [(), (), [indexed]]
