"""Every route is closed, unless it is on a list of open ones."""

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Match, Route, WebSocketRoute
from structlog.testing import capture_logs

from api.shapes import assert_error, assert_refused
from flowrunner.api.http.authentication import Place, place_of
from flowrunner.api.http.bodies import MAX_ANONYMOUS_BODY_BYTES
from flowrunner.api.http.policies import policy_of
from flowrunner.api.http.routing import AdminRoute, BoundedRoute, ProbeRoute, ProtectedRoute, PublicRoute
from flowrunner.api.mcp.route import McpRoute
from flowrunner.api.server import ROUTERS
from support.asgi import call, program_at
from support.client import PASSWORD

# A route that is not protected has to be added here, by somebody who has thought about it.
OPEN: Final = {
    ("POST", "/api/v1/auth/login"),
    ("GET", "/api/v1/auth/methods"),
    # A provider of single sign-on is the one who says who it is.
    ("GET", "/sign-on/{provider}"),
    ("GET", "/sign-on/{provider}/return"),
    # The challenge is the credential.
    ("POST", "/api/v1/auth/second-factor"),
    # So is the code that a browser hands to the command line, with the secret of the command.
    ("POST", "/api/v1/auth/command-logins/token"),
    ("GET", "/api/v1/setup"),
    ("POST", "/api/v1/setup"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/asyncapi.json"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    # Whoever has the link of an invitation.
    ("POST", "/api/v1/invitations/lookup"),
    ("POST", "/api/v1/invitations/sign-up"),
    # Whoever has lost a password, and whoever has the link that sets a new one.
    ("POST", "/api/v1/auth/password-reset"),
    ("POST", "/api/v1/auth/new-password"),
    # Whoever has the link of an approval, which is signed.
    ("GET", "/approve/{token}"),
    ("POST", "/approve/{token}"),
    # Their senders prove themselves as a trigger says.
    *((method, path) for method in ("GET", "POST") for path in ("/hooks/{token}", "/hooks/{token}/{rest}")),
    # The web interface: files that are the same for everybody.
    *(
        ("GET", path)
        for path in (
            "/",
            "/login",
            "/setup",
            "/invitation",
            "/command-login",
            "/new-password",
            "/confirm-email",
            "/w/{screen}",
            "/assets/{name}",
            "/assets/{build}/{name}",
            "/favicon.svg",
            "/start.js",
            "/docs",
            "/docs/{page}",
            "/docs.js",
            "/flowrunner-api.d.ts",
        )
    ),
}
SOCKETS: Final = {"/ws/executions", "/ws/executions/{execution_id}"}
ADMINS_ONLY: Final = {
    ("GET", "/api/v1/accounts"),
    ("POST", "/api/v1/accounts"),
    ("DELETE", "/api/v1/accounts/{id}"),
    ("DELETE", "/api/v1/accounts/{id}/second-factors"),
    ("DELETE", "/api/v1/accounts/{id}/identities"),
    ("POST", "/api/v1/accounts/{id}/password-reset"),
    ("GET", "/api/v1/audit"),
    ("GET", "/api/v1/keys/rotations"),
    ("POST", "/api/v1/keys/rotations"),
    ("GET", "/api/v1/admin/workspaces"),
    ("GET", "/api/v1/admin/pause"),
    ("PUT", "/api/v1/admin/pause"),
    ("POST", "/api/v1/admin/workspaces/{id}/members"),
}
AGENTS_ONLY: Final = {("POST", "/mcp")}


def unknown_routes(app: FastAPI) -> list[str]:
    """Routes of which nobody has said who may use them."""
    found = []
    for route in app.routes:
        match route:
            case ProtectedRoute():
                continue
            case APIRoute():
                names = {(method, route.path_format) for method in route.methods or ()}
                found += [f"{method} {path}" for method, path in names - OPEN]
            case WebSocketRoute() if route.path in SOCKETS:
                continue
            case _:
                found.append(repr(route))
    return found


def protected(app: FastAPI) -> Iterable[tuple[str, str, APIRoute]]:
    for route in app.routes:
        if isinstance(route, ProtectedRoute):
            for method in sorted(route.methods or ()):
                yield method, route.path_format, route


def address_of(path: str) -> str:
    """An address that the route takes, of things that are not there."""
    address = re.sub(r"\{\w+\}", "x", path.replace("{number}", "1"))
    return f"{address}?key=x" if address.endswith("/store/entry") else address


async def test_s15_every_route_is_protected_or_on_the_list(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        assert unknown_routes(program.app) == []
        routes = [route for route in program.app.routes if isinstance(route, APIRoute)]
        assert {(method, route.path_format) for route in routes for method in route.methods or ()} >= OPEN

        @program.app.get("/api/v1/forgotten")
        async def forgotten() -> str:
            return "open"

        assert unknown_routes(program.app) == ["GET /api/v1/forgotten"], "this test sees a forgotten route"


async def test_s13_s15_s16_every_protected_route_refuses_whoever_may_not(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        tokens = await _callers(program.services)
        routes = list(protected(program.app))
        assert len(routes) >= 20
        admin_routes = set()
        for method, path, route in routes:
            address = address_of(path)
            for name in ("nobody", "logged out", "deleted", "garbage"):
                reply = await call(program.app, method, address, token=tokens[name], body=b"{")
                is_of_agents = isinstance(route, McpRoute)
                (assert_refused if is_of_agents else assert_error)(reply, 401)
                reason = ' error="invalid_token"' if is_of_agents and tokens[name] else ""
                assert reply.headers["www-authenticate"] == f"Bearer{reason}", (name, method, path)
            # A login for each, since some of them end it.
            token = (await program.services.sessions.login("user@example.com", PASSWORD, address="127.0.0.1")).token
            reply = await call(program.app, method, address, token=token)
            assert reply.status != 401
            if reply.status == 403:
                admin_routes.add((method, path))
            assert isinstance(route, AdminRoute | McpRoute) == (reply.status == 403)
        assert admin_routes == ADMINS_ONLY | AGENTS_ONLY


async def _callers(services: Any) -> dict[str, str | None]:
    """A token for each kind of caller."""
    await services.accounts.create(name="Root", email="root@example.com", password=PASSWORD, role="admin")
    tokens: dict[str, str | None] = {"nobody": None, "garbage": "a.b.c"}
    for name in ("user", "logged out", "deleted"):
        email = f"{name.replace(' ', '')}@example.com"
        account = await services.accounts.create(name="U", email=email, password=PASSWORD, role="user")
        token = await services.sessions.login(email, PASSWORD, address="127.0.0.1")
        tokens[name] = token.token
        if name == "logged out":
            await services.sessions.logout(await services.sessions.authenticate(token.token))
        if name == "deleted":
            await services.accounts.delete(account.id)
    return tokens


class Broken:
    """A service of which every call fails as a bug would."""

    def __getattr__(self, name: str) -> Any:
        def fail(*args: Any, **options: Any) -> None:
            raise ZeroDivisionError("SELECT password FROM /secret/place")

        return fail


async def test_s57_a_bug_is_answered_with_an_id_and_nothing_internal(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        services = program.services
        token = (await _callers(services))["user"]
        await services.accounts.create(name="Boss", email="boss@example.com", password=PASSWORD, role="admin")
        boss = (await services.sessions.login("boss@example.com", PASSWORD, address="127.0.0.1")).token
        bug: Any = Broken()
        broken = dataclasses.replace(
            services,
            tokens=bug, accounts=bug, secrets=bug, configuration=bug, store=bug, flows=bug, executions=bug,
            keys=bug, audit=bug, language=bug, signals=bug, bulk_signals=bug, reruns=bug, workspaces=bug,
            pause=bug, approvals=bug, flow_batches=bug,
            invitations=bug, invitation_links=bug, password_resets=bug, email_confirmations=bug, linked_approvals=bug,
            jobs=bug, bulk=bug, records=bug, flow_tests=bug, callbacks=bug,
            node_trials=bug, overviews=bug, logins=bug, second_factors=bug, second_factor_logins=bug, sign_on=bug,
            identities=bug,
            preferences=bug, hook_senders=bug, hooks=bug, triggers=bug,
        )  # fmt: skip
        state = program.app.state.flowrunner
        program.app.state.flowrunner = dataclasses.replace(state, services=broken)
        bodies = {
            "/api/v1/flows": {"name": "N", "definition": "x"},
            "/api/v1/accounts": {"name": "N", "email": "e@example.com", "password": PASSWORD},
            "/api/v1/accounts/{account_id}/secrets": {"key": "K", "value": "long enough"},
            "/api/v1/config/{name}": {"value": 1},
            "/api/v1/store/entry": {"value": 1},
            "/api/v1/flows/{id}": {"name": "N"},
            "/api/v1/flows/{id}/run": {"input": {}},
            "/api/v1/flows/validate": {"definition": "x"},
            "/api/v1/flows/graph": {"definition": "x"},
            "/api/v1/nodes/try": {"definition": "x", "node": "x"},
            "/api/v1/flows/test": {"definition": "x"},
            "/api/v1/flows:batch": {"flows": []},
            "/api/v1/flows/by-name/{name}": {"definition": "x"},
            "/api/v1/flows/by-name/{name}/run": {"input": {}},
            "/api/v1/executions/{id}/signals/{key}": {"payload": 1},
            "/api/v1/executions/{id}/approvals/{node}": {"approved": True},
            "/api/v1/executions/{id}/rerun": {},
            "/api/v1/executions:batch": {"action": "rerun", "ids": ["x"]},
            "/api/v1/executions:signal": {"key": "k", "filter": {"label": ["a:b"]}},
            "/api/v1/accounts/{id}": {"name": "N"},
            "/api/v1/accounts/me/preferences": {"preferences": {}},
            "/api/v1/identities": {"provider": "x"},
            "/api/v1/second-factors/totp": {},
            "/api/v1/second-factors/{id}/confirm": {"code": "x"},
            "/api/v1/second-factors/passkeys": {"challenge": "x", "passkey": {}},
            "/api/v1/tokens": {"name": "N", "scopes": ["read"]},
            "/api/v1/keys/rotations": {"kinds": ["data"]},
            "/api/v1/workspaces": {"name": "N"},
            "/api/v1/workspaces/{id}/invitations": {"email": "a@b.c", "role": "viewer"},
            "/api/v1/invitations/accept": {"token": "x"},
            "/api/v1/accounts/me/email-confirmation/confirm": {"token": "x"},
            "/api/v1/admin/pause": {"paused": False},
            "/api/v1/callbacks": {"url": "https://example.com/", "events": ["execution.failed"]},
            "/api/v1/callbacks/{id}": {"name": "N"},
            "/api/v1/admin/workspaces/{id}/members": {"account": "x", "role": "viewer"},
        }
        seen = 0
        for method, path, _ in protected(program.app):
            if path.startswith("/api/v1/auth"):
                continue
            body = json.dumps(bodies[path]).encode() if path in bodies and method in ("POST", "PUT") else b""
            headers = {}
            if path.endswith("/import"):
                # An archive without files.
                body, headers = b"PK\x05\x06" + bytes(18), {"content-type": "application/zip"}
            with capture_logs() as lines:
                reply = await call(program.app, method, address_of(path), token=boss, body=body, headers=headers)

            details = assert_error(reply, 500, "An internal error occurred; its id is in request_id")
            assert details == {}
            for word in (b"ZeroDivision", b"SELECT", b"secret", b"Traceback", b".py", b"flowrunner"):
                assert word not in reply.body
            assert reply.headers["x-content-type-options"] == "nosniff"
            id = reply.error["request_id"]
            assert [(line["event"], line["request_id"]) for line in lines] == [
                ("request.crashed", id),
                ("request.finished", id),
            ]
            seen += 1
        assert seen >= 30
        program.app.state.flowrunner = state
        assert (await call(program.app, "GET", "/api/v1/flows", token=token)).status == 200, "it goes on"


def test_no_route_that_requires_a_caller_inherits_from_one_that_does_not() -> None:
    assert not issubclass(ProtectedRoute, (PublicRoute, ProbeRoute))
    assert issubclass(AdminRoute, ProtectedRoute)


@pytest.mark.parametrize(
    "path", ["/api/v1/things/{id}", "/api/v1/flows/{flow_id}", "/api/v1/flows/{id}s", "/api/v1/accounts/{account_id}"]
)
def test_a_route_with_an_id_says_where_it_acts(path: str) -> None:
    async def serve(request: Request) -> Response:
        return Response()

    with pytest.raises(ValueError, match="Where does /api/v1/"):
        ProtectedRoute(path, serve)
    AdminRoute(path, serve)


ROUTES: Final = [route for router in ROUTERS for route in router.routes if isinstance(route, BoundedRoute)]


def test_no_route_is_hidden_by_an_earlier_one() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, Route)]
    hidden = []
    for route in routes:
        scope = {"type": "http", "path": re.sub(r"{\w+}", "x", route.path), "root_path": ""}
        for method in route.methods or ():
            first = next(other for other in routes if other.matches({**scope, "method": method})[0] is Match.FULL)
            if first is not route:
                hidden.append((method, route.path))

    assert hidden == []


def test_every_policy_stands_below_the_decorator_of_the_router() -> None:
    # Above it, it comes too late: the route has been made without it.
    assert [route.path for route in ROUTES if route.policy is not policy_of(route.endpoint)] == []


def test_a_route_that_needs_no_caller_parses_short_bodies_alone() -> None:
    open_ones = [route for route in ROUTES if not isinstance(route, ProtectedRoute) and route.takes_body]

    assert {route.most_bytes for route in open_ones} == {MAX_ANONYMOUS_BODY_BYTES}


def test_a_route_acts_where_its_own_parameter_says() -> None:
    assert place_of("/api/v1/flows/{id}/revisions/{number}/restore") == Place("flow", "id")
    assert place_of("/api/v1/accounts/{account_id}/secrets/{key}") == Place("account", "account_id")
    assert place_of("/api/v1/accounts/{id}") is None
    assert place_of("/api/v1/flows/by-name/{name:path}") is None
