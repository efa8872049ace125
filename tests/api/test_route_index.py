"""The index of routes: it finds the same route as the search through all of them."""

from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import Match, Route, Router, WebSocketRoute

from api.shapes import NAP, SMALLEST
from flowrunner.api.http.route_index import RouteIndex
from support.asgi import call, program_at
from support.client import Client


def found_by_search(router: Router, method: str, path: str) -> str | None:
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    for route in router.routes:
        if route.matches(scope)[0] is Match.FULL:
            return str(getattr(route, "path", ""))
    return None


def found_by_index(index: RouteIndex, router: Router, method: str, path: str) -> str | None:
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    for route in index._section_of(scope):
        if route.matches(scope)[0] is Match.FULL:
            return str(getattr(route, "path", ""))
    # What fits no route of its section is left to the router.
    return found_by_search(router, method, path)


async def test_a_request_reaches_the_first_route_that_fits(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        router = program.app.router
        index, compared = RouteIndex(router), 0
        for route in router.routes:
            path = str(getattr(route, "path", ""))
            for value in ("x", "validate", "by-name", "export", "a b"):
                address = "/".join(value if part.startswith("{") else part for part in path.split("/"))
                for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                    compared += 1
                    assert found_by_index(index, router, method, address) == found_by_search(router, method, address)

    assert compared > 1_000


async def test_a_direct_route_is_the_first_route_that_fits(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        router = program.app.router
        index, direct = RouteIndex(router), set[str]()
        for path in {str(getattr(route, "path", "")) for route in router.routes}:
            for value in ("x", "validate", "a b", "ä%2F"):
                address = "/".join(value if part.startswith("{") else part for part in path.split("/"))
                for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                    scope: dict[str, Any] = {"type": "http", "method": method, "path": address, "headers": []}
                    route = index.direct(scope)
                    if route is not None:
                        direct.add(f"{method} {route.path}")
                        match, found = route.matches({"type": "http", "method": method, "path": address})
                        assert (match, found["path_params"]) == (Match.FULL, scope["path_params"])
                        assert route.path == found_by_search(router, method, address)

    assert len(direct) > 100
    assert "POST /hooks/{token}" in direct, "requests of other servers are many"


async def test_few_routes_are_compared_with_a_request(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        router = program.app.router
        scope = {"type": "http", "method": "GET", "path": "/api/v1/accounts", "headers": []}

        assert len(RouteIndex(router)._section_of(scope)) < len(router.routes) / 4


def test_a_route_with_a_parameter_among_its_first_segments_is_compared_with_every_request() -> None:
    async def endpoint() -> None: ...

    anywhere = [Route("/{name}/x/y/z", endpoint), WebSocketRoute("/ws/{id}", endpoint)]
    indexed = Route("/a/b/c/{d}", endpoint)
    index = RouteIndex(Router([*anywhere, indexed]))

    found = [index._section_of({"type": "http", "path": path}) for path in ("/q/x/y/z", "/ws/1", "/a/b/c/d")]
    assert found == [anywhere, anywhere, [indexed, *anywhere]]


async def test_each_address_takes_options_and_head_where_it_takes_get_and_says_so(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        paths = {route.path for route in program.app.routes if isinstance(route, APIRoute)}
        for path in paths:
            address = path.replace("{number}", "1").replace("{", "").replace("}", "")
            allowed = (await call(program.app, "OPTIONS", address)).headers["allow"].split(", ")
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
                reply = await call(program.app, method, address)
                assert (method in allowed) == (reply.status != 405), (method, path)
                if reply.status == 405:
                    assert reply.headers["allow"].split(", ") == allowed, (method, path)
            assert ("GET" in allowed) == ("HEAD" in allowed)


async def test_options_is_answered_without_a_caller_or_a_body(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        reply = await call(program.app, "OPTIONS", "/api/v1/flows/flow-1")
        assert (reply.status, reply.body) == (204, b"")
        assert reply.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
        for method, status in (("OPTIONS", 204), ("DELETE", 405), ("PUT", 405)):
            reply = await call(program.app, method, "/api/v1/flows/export")
            assert (reply.status, reply.headers["allow"]) == (status, "GET, HEAD, OPTIONS")
        assert (await call(program.app, "OPTIONS", "/api/v1/nothing")).status == 404


def test_head_has_the_headers_of_get_and_no_body(account: Client) -> None:
    id = account.run(account.new_flow(SMALLEST))
    account.ended(id)
    for path in ("/healthz", "/api/v1/flows", f"/api/v1/executions/{id}", f"/api/v1/executions/{id}/logs"):
        got, head = account.get(path), account.request("HEAD", path)
        assert (head.status, head.body) == (got.status, b"")
        volatile = {"x-request-id", "date", "ratelimit"}
        assert {k: v for k, v in head.headers.items() if k not in volatile} == {
            k: v for k, v in got.headers.items() if k not in volatile
        }
    assert Client(account.url).request("HEAD", "/api/v1/flows").status == 401
    assert account.request("HEAD", "/api/v1/executions/exec-1").status == 404


def test_head_of_a_stream_ends_at_once_and_counts_as_none(account: Client) -> None:
    id = account.run(account.new_flow(NAP))
    stream = {"Accept": "text/event-stream"}
    for _ in range(200):
        head = account.request("HEAD", f"/api/v1/executions/{id}/events", headers=stream)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
    assert account.request("HEAD", f"/api/v1/workspaces/{account.account_id}/export").status == 200
    account.delete(f"/api/v1/executions/{id}")
