"""Every route × every kind of caller × every place of an id.

The routes are read from the program itself. A new route needs no entry if it follows the defaults: `GET` needs
the right to read, other methods the right to write, and each id belongs to the object before it in the path.
Otherwise a test fails and names the table to extend.
"""

import json
import re
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute

from api.test_routes import OPEN
from flowrunner.api.http.routing import ProtectedRoute
from security.callers import CallerCase, Callers, callers_at
from security.routes import (
    ACTS_IN,
    ARCHIVES,
    BODIES,
    FURTHER_RIGHTS,
    RIGHTS,
    SOCKETS,
    WITHIN,
    Places,
    Route,
    filled,
    routes_of,
    wanted_right,
)
from support.asgi import call, connect, program_at
from support.client import Reply
from support.scoreboard import Scoreboard


def comparable(reply: Reply) -> tuple[int, str, str]:
    """Return an answer without the parts that differ between any two requests."""
    headers = {k: v for k, v in reply.headers.items() if k not in ("x-request-id", "ratelimit")}
    return reply.status, str(headers), re.sub(rb'"request_id":"\w+"', b"", reply.body).decode()


Asking = Callable[[CallerCase, str], Awaitable[Reply]]


class Matrix:
    """Sends the requests and collects wrong answers."""

    def __init__(self, callers: Callers) -> None:
        self.callers = callers
        self.wrong: list[str] = []
        self.cases = 0
        self.covered: set[str] = set()
        self._of_victim: dict[str, str] = {}
        self.before = callers.rows_of(callers.victim)

    async def ask(
        self, caller: CallerCase, route: Route, address: str, *, body: Any = ..., login: str | None = None
    ) -> Reply:
        """Send a request. Args: login: A session that the request cannot end; a new one if absent."""
        self.cases += 1
        method, _ = route
        if body is ...:
            body = BODIES.get(route)
        text = "" if body is None else json.dumps(body)
        data = text.replace("{n}", str(self.cases)).replace("{me}", caller.account_id).encode()
        token = caller.token
        # One route ends all other sessions.
        may_end_own = wanted_right(route) in ("session", "login") and route != ("DELETE", "/api/v1/sessions")
        if caller.email is not None and may_end_own and caller.rights:
            token = login or await self.callers.log_in(caller.email)
        headers = caller.headers
        if route in ARCHIVES:
            data, headers = ARCHIVES[route], {**headers, "content-type": "application/zip"}
        if may_end_own and caller.name == "cookie":
            fresh = await self.callers.log_in(self.callers.by_name["user A"].email or "")
            headers = {**headers, "cookie": f"flowrunner_session={fresh}"}
        return await call(self.callers.app, method, address, token=token, body=data, headers=headers)

    def check(self, fine: bool, what: str, reply: Reply) -> None:
        if not fine:
            self.wrong.append(f"{what}: {reply.status} {reply.body[:160]!r}")

    async def check_all_callers(self, name: str, right: str, path: str, ask: Asking, *, own: frozenset[int]) -> None:
        """Call a route as every kind of caller, with every id in every place."""
        self.covered.add(name)
        places = Places.of(path)
        for caller in self.callers.by_name.values():
            if {right, *FURTHER_RIGHTS.get(name, ())} <= caller.rights:
                await self._may(name, right, caller, path, ask=ask, own=own)
                continue
            answers = set()
            for values in [dict.fromkeys(places.kinds, "x"), await self._foreign(places)]:
                reply = await ask(caller, filled(path, values))
                answers.add(comparable(reply))
                self.check(reply.status == caller.refusal, f"{name} by {caller.name}", reply)
            if len(answers) > 1:
                self.wrong.append(f"{name} by {caller.name}: reveals whether an object exists")

    async def _may(
        self, name: str, right: str, caller: CallerCase, path: str, *, ask: Asking, own: frozenset[int]
    ) -> None:
        places = Places.of(path)
        mine = await self._own(places, caller, right)
        foreign = await self._foreign(places)
        for place in places.ids:
            kind = places.kinds[place]
            if (
                kind == "accounts"
                and right in ("admin", "account", "read", "create_account")
                and "admin" in caller.rights
                and path.endswith(("{id}", "/second-factors", "/identities", "/password-reset"))
            ):
                # Admins manage all accounts.
                continue
            if right == "appoint":
                # They also give roles in all workspaces.
                continue
            if kind in ("by-name", "config") and name.startswith("PUT"):
                # A name without a flow or a value is that of a new one.
                continue
            missing = await ask(caller, filled(path, {**mine, place: "x" * len(mine[place])}))
            theirs = await ask(caller, filled(path, {**mine, place: foreign[place]}))
            self.check(missing.status == 404, f"{name} by {caller.name}, {place} of nothing", missing)
            if comparable(missing) != comparable(theirs):
                self.wrong.append(
                    f"{name} by {caller.name}, {place}: foreign and missing objects differ: {comparable(theirs)}"
                )
        for place in places.kinds.keys() - set(places.ids):
            # The complete address of a foreign object, not only its first part.
            theirs = await ask(caller, filled(path, {**foreign, place: mine[place]}))
            missing = await ask(caller, filled(path, {**dict.fromkeys(places.ids, "x" * 32), place: mine[place]}))
            if comparable(missing) != comparable(theirs):
                self.wrong.append(
                    f"{name} by {caller.name}, {place}: foreign and missing objects differ: {comparable(theirs)}"
                )
        reply = await ask(caller, filled(path, mine))
        self.check(reply.status in own, f"{name} by {caller.name}, own", reply)

    async def _own(self, places: Places, caller: CallerCase, right: str) -> dict[str, str]:
        values = {}
        for name, kind in places.kinds.items():
            owned = "new account" if kind == "accounts" and right == "admin" else kind
            values[name] = WITHIN.get(name) or await self.callers.create(owned, caller.account_id)
        return values

    async def _foreign(self, places: Places) -> dict[str, str]:
        """Return ids of objects of another account, which must not change."""
        for kind in places.kinds.values():
            if kind not in WITHIN and kind not in self._of_victim:
                self._of_victim[kind] = await self.callers.create(kind, self.callers.victim)
                self.before = self.callers.rows_of(self.callers.victim)
        return {name: WITHIN.get(name) or self._of_victim[kind] for name, kind in places.kinds.items()}


# A conflict with the current state also shows that the object was found.
_FOUND: Final = frozenset({200, 201, 202, 204, 409})


async def test_s15_a_route_that_nobody_has_thought_about_is_found(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        declared = {
            route: (api_route.right.value if isinstance(api_route, ProtectedRoute) else None)
            for route, api_route in routes_of(program.app)
        }
        sockets = {route.path for route in program.app.routes if isinstance(route, WebSocketRoute)}
        others = [r for r in program.app.routes if not isinstance(r, APIRoute | WebSocketRoute)]

    for route, right in declared.items():
        if right is None:
            assert route in OPEN, f"{route} asks for no caller: make it a ProtectedRoute, or add it to OPEN"
        else:
            assert right == wanted_right(route), (
                f"{route} needs '{right}', and not '{wanted_right(route)}' as by default:"
                " if that is meant, add it to RIGHTS in security/routes.py"
            )
    assert sockets == SOCKETS.keys(), "add the socket to SOCKETS in security/routes.py, with the right that it needs"
    protected = {path for (_, path), right in declared.items() if right is not None}
    assert protected | sockets == ACTS_IN.keys(), "say in ACTS_IN in security/routes.py where the routes of a path act"
    assert others == [], "a mount or a plain route is not checked here: make it an APIRoute"
    assert declared.keys() >= RIGHTS.keys() | BODIES.keys(), "a line of a table is of no route any more"


async def test_s13_s15_s16_s21_everybody_on_every_route_with_every_id(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with callers_at(tmp_path / "data") as callers:
        matrix = Matrix(callers)
        for route, api_route in routes_of(callers.app):
            method, path = route
            if not isinstance(api_route, ProtectedRoute):
                continue
            if api_route.body_field is not None and route not in BODIES:
                pytest.fail(f"{route} takes a body: add one that it accepts to BODIES in security/routes.py")

            async def ask(caller: CallerCase, address: str, route: Route = route, path: str = path) -> Reply:
                # The key of an entry is no part of the path.
                return await matrix.ask(caller, route, f"{address}?key=k" if path.endswith("/entry") else address)

            # Of an unknown link, a filter that fits nothing, or a key without an entry.
            finds_none = path.endswith(
                ("/invitations/accept", "/email-confirmation/confirm", "/executions:signal", "/entry")
            )
            own = _FOUND | {404} if finds_none else _FOUND
            # A wrong code is found to be wrong, and a provider that is none.
            own = own | {422} if path.endswith(("/confirm", "/identities")) else own
            await matrix.check_all_callers(f"{method} {path}", wanted_right(route), path, ask, own=own)
            assert callers.rows_of(callers.victim) == matrix.before, f"{route} changed rows of another account"
        for path, right in SOCKETS.items():

            async def open_socket(caller: CallerCase, address: str) -> Reply:
                matrix.cases += 1
                return await connect(callers.app, address, token=caller.token, headers=caller.headers)

            await matrix.check_all_callers(f"WS {path}", right, path, open_socket, own=frozenset({101}))

        routes = [r for _, r in routes_of(callers.app) if isinstance(r, ProtectedRoute)]
        scoreboard.count("matrix: routes without a check", cases=len(routes) + len(SOCKETS),
                         failures=len(routes) + len(SOCKETS) - len(matrix.covered))  # fmt: skip
        scoreboard.count("matrix: wrong answers", cases=matrix.cases, failures=len(matrix.wrong))
        print(f"{len(matrix.covered)} routes, {len(callers.by_name)} identities, {matrix.cases} cases")
        assert not matrix.wrong, "\n".join(matrix.wrong)
        assert len(matrix.covered) == len(routes) + len(SOCKETS)
        assert matrix.cases > 1500


SERVERS_FIELDS: Final = (
    "id", "account_id", "workspace_id", "owner", "owner_id", "user_id", "created_at", "created_by", "updated_at",
    "deleted_at", "disabled_at", "password_hash", "is_admin", "admin", "session_id", "revision_id", "epoch",
    "permissions", "rights", "digest", "token_id", "last_used_at", "status", "__class__", "__proto__", "constructor",
)  # fmt: skip


async def test_s17_no_body_sets_a_field_that_is_the_servers(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with callers_at(tmp_path / "data") as callers:
        admin = callers.by_name["admin"]
        matrix = Matrix(callers)
        tried, taken = 0, []
        for number, (route, api_route) in enumerate(routes_of(callers.app)):
            if (
                not isinstance(api_route, ProtectedRoute)
                or api_route.body_field is None
                or wanted_right(route) == "mcp"
            ):
                continue
            mine = await matrix._own(Places.of(route[1]), admin, "")
            # A route that needs a session is called with new ones.
            of_logins = ("sessions", "audit") if wanted_right(route) in ("session", "login") else ()
            login = await callers.log_in(admin.email or "") if of_logins else None
            before = [rows for rows in callers.rows_of(admin.account_id) if rows[0] not in of_logins]
            # Each field on each route, each value on each route, and each field with each value on some.
            for turn, name in enumerate(SERVERS_FIELDS, number):
                body = {**BODIES[route], name: ("x", callers.victim, True)[turn % 3]}
                reply = await matrix.ask(admin, route, filled(route[1], mine), body=body, login=login)
                tried += 1
                if reply.status != 422:
                    taken.append(f"{name} on {route}: {reply.status}")
            if [rows for rows in callers.rows_of(admin.account_id) if rows[0] not in of_logins] != before:
                taken.append(f"something on {route}, although it was refused")
        scoreboard.count("mass assignment: fields taken", cases=tried, failures=len(taken))
        assert taken == []
        assert tried >= 20 * 3 * 6


async def test_s16_no_verb_leads_a_user_to_what_is_for_admins(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with callers_at(tmp_path / "data") as callers:
        before = callers.rows_of(callers.victim)
        done, tried = [], 0
        admins_only = [route for route, _ in routes_of(callers.app) if wanted_right(route) == "admin"]
        verbs = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "PROPFIND", "X")
        for caller in ("user A", "viewer", "token: read-only admin", "token: demoted admin"):
            for (_, path), verb in product(admins_only, verbs):
                tried += 1
                address = filled(path, dict.fromkeys(Places.of(path).kinds, callers.victim))
                body = json.dumps(BODIES["POST", "/api/v1/accounts"]).encode() if verb in ("POST", "PUT") else b""
                reply = await call(callers.app, verb, address, token=callers.by_name[caller].token, body=body)
                # The methods of an address are no secret: they are in the description of the API.
                is_list_of_methods = verb == "OPTIONS" and (reply.status, reply.body) == (204, b"")
                if reply.status not in (403, 404, 405, 422) and not is_list_of_methods:
                    done.append(f"{verb} {path} by {caller}: {reply.status}")
        scoreboard.count("admin functions: reached by others", cases=tried, failures=len(done))
        assert done == []
        assert callers.rows_of(callers.victim) == before
