"""What a page of another origin can do with the cookie that a browser sends along: nothing."""

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Final

from flowrunner.api.http.routing import ProtectedRoute, PublicRoute
from security.callers import callers_at
from security.routes import BODIES, Places, filled, routes_of
from support.asgi import call, connect
from support.client import PASSWORD
from support.scoreboard import Scoreboard

# What a browser sends along with a page of another origin, or of another port of this host.
FOREIGN_PAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "nothing said": {},
    "another origin": {"origin": "https://evil.example"},
    "another port": {"origin": "http://localhost:8081"},
    "another scheme": {"origin": "ftp://localhost"},
    "a prefix": {"origin": "http://localhost.evil.example"},
    "a suffix": {"origin": "http://evillocalhost"},
    "null": {"origin": "null"},
    "empty": {"origin": ""},
    "upper case": {"origin": "HTTP://EVIL"},
    "user info": {"origin": "http://localhost@evil.example"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "same-site": {"sec-fetch-site": "same-site"},
    "typed in": {"sec-fetch-site": "none"},
    "own origin, but cross-site": {"origin": "http://localhost", "sec-fetch-site": "cross-site"},
    "same-origin, but another": {"origin": "http://other", "sec-fetch-site": "same-origin"},
}
OTHER_PORT: Final = FOREIGN_PAGES["another port"]
OWN_PAGES: Final = ({"origin": "http://localhost"}, {"origin": "https://localhost"}, {"sec-fetch-site": "same-origin"})


async def test_s52_s53_no_foreign_page_does_anything_with_a_cookie(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with callers_at(tmp_path / "data") as callers:
        mine = callers.by_name["user A"]
        cookie = {"cookie": f"flowrunner_session={mine.token}"}
        done, tried = [], 0
        before = callers.rows_of(mine.account_id)
        for route, api_route in routes_of(callers.app):
            if not isinstance(api_route, ProtectedRoute) or route[0] == "GET":
                continue
            address = filled(route[1], dict.fromkeys(Places.of(route[1]).kinds, mine.account_id))
            body = json.dumps(BODIES.get(route, {})).encode()
            for (name, page), media_type in product(FOREIGN_PAGES.items(), ("application/json", "text/plain")):
                tried += 1
                headers = {**cookie, **page, "content-type": media_type}
                if (await call(callers.app, route[0], address, body=body, headers=headers)).status != 403:
                    done.append(f"{name} on {route}")
        assert callers.rows_of(mine.account_id) == before
        execution = await callers.create("executions", mine.account_id)
        for name, page in FOREIGN_PAGES.items():
            tried += 1
            if (await connect(callers.app, f"/ws/executions/{execution}", headers={**cookie, **page})).status != 403:
                done.append(f"{name} on a WebSocket")
        scoreboard.count("foreign pages: requests with a cookie that were served", cases=tried, failures=len(done))

        assert done == []
        for page in OWN_PAGES:
            assert (await connect(callers.app, f"/ws/executions/{execution}", headers={**cookie, **page})).status == 101
            reply = await call(callers.app, "DELETE", "/api/v1/flows/x", headers={**cookie, **page})
            assert reply.status == 404, "its own pages are served"


# Whoever sends these without a login has what they need: a code of setup, of a command or of an invitation.
FOR_ANY_PAGE: Final = (
    ("POST", "/api/v1/setup"), ("POST", "/api/v1/auth/command-logins/token"), ("POST", "/api/v1/invitations/lookup"),
)  # fmt: skip
# The smallest bodies of the others.
OF_NOBODY: Final[Mapping[str, Mapping[str, str]]] = {
    "/api/v1/auth/login": {"username": "a@example.com", "password": PASSWORD},
    "/api/v1/auth/second-factor": {"challenge": "x", "code": "000000"},
    "/api/v1/auth/password-reset": {"email": "a@example.com"},
    "/api/v1/auth/new-password": {"token": "x", "password": PASSWORD},
    "/api/v1/invitations/sign-up": {"token": "x", "name": "N", "password": PASSWORD},
}


async def test_s52_no_foreign_page_logs_a_visitor_in_or_asks_for_what_they_would_do(tmp_path: Path) -> None:
    async with callers_at(tmp_path / "data") as callers:
        done = []
        for (method, path), route in routes_of(callers.app):
            if type(route) is not PublicRoute or method == "GET" or (method, path) in FOR_ANY_PAGE:
                continue
            if not path.startswith("/api/"):
                continue
            body = json.dumps(OF_NOBODY.get(path, {})).encode()
            for page in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
                reply = await call(
                    callers.app, method, path, body=body, headers={"content-type": "application/json", **page}
                )
                if reply.status != 403:
                    done.append((path, reply.status, reply.body))
        assert done == []


async def test_s53_a_foreign_page_opens_no_socket_by_any_way_in(tmp_path: Path) -> None:
    async with callers_at(tmp_path / "data") as callers:
        mine = callers.by_name["user A"]
        assert mine.token is not None
        execution = await callers.create("executions", mine.account_id)
        caller = await callers.services.sessions.authenticate(mine.token)
        for origin in ("https://evil.example", "null", "http://localhost:81"):
            ticket = (await callers.services.sessions.issue_ticket(caller)).ticket
            reply = await connect(
                callers.app,
                f"/ws/executions/{execution}",
                headers={"origin": origin},
                subprotocols=[f"ticket.{ticket}"],
            )
            assert reply.status == 403
            reply = await connect(
                callers.app, f"/ws/executions/{execution}", token=mine.token, headers={"origin": origin}
            )
            assert reply.status == 403


async def test_a_page_of_another_origin_is_told_of_the_address_and_of_no_role(tmp_path: Path) -> None:
    async with callers_at(tmp_path / "data") as callers:
        cookie = {"cookie": f"flowrunner_session={callers.by_name['user A'].token}", "content-type": "application/json"}
        answer = await call(callers.app, "POST", "/api/v1/flows", body=b"{}", headers={**cookie, **OTHER_PORT})

    error = json.loads(answer.body)["error"]
    assert error["message"] == "This request comes from a page of another origin"
    assert "public_url" in error["hint"]
    assert "x-right" not in error["hint"]


async def test_a_program_that_sends_a_cookie_alone_is_told_of_tokens_and_of_no_page(tmp_path: Path) -> None:
    async with callers_at(tmp_path / "data") as callers:
        cookie = {"cookie": f"flowrunner_session={callers.by_name['user A'].token}", "content-type": "application/json"}
        answer = await call(callers.app, "POST", "/api/v1/flows", body=b"{}", headers=cookie)

    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (403, "forbidden")
    assert "send the 'Origin' header" in error["message"]
    assert "API token" in error["hint"]
    assert "public_url" not in error["hint"]
