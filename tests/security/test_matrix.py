"""Every route × everybody who may call it × every place where an id can stand.

The routes are read from the program itself. A new one fits by itself if it keeps to the defaults: reading
takes the right to read, everything else the right to write, and its ids are named after what the path says
before them. Otherwise a test fails and says which table to put it in.
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
from security.routes import BODIES, RIGHTS, SOCKETS, WITHIN, Places, Route, filled, routes_of, wanted_right
from security.town import Town, Who, town_at
from support.asgi import call, connect, program_at
from support.client import Reply
from support.scoreboard import Scoreboard


def told(reply: Reply) -> tuple[int, str, str]:
    """An answer but for what differs between any two requests."""
    headers = {k: v for k, v in reply.headers.items() if k != "x-request-id"}
    return reply.status, str(headers), re.sub(rb'"request_id":"\w+"', b"", reply.body).decode()


Asking = Callable[[Who, str], Awaitable[Reply]]


class Matrix:
    """Asks, counts, and keeps what is wrong."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.wrong: list[str] = []
        self.cases = 0
        self.covered: set[str] = set()
        self._of_victim: dict[str, str] = {}
        self.before = town.belongings(town.victim)

    async def ask(self, who: Who, route: Route, address: str, *, body: Any = ...) -> Reply:
        self.cases += 1
        method, _ = route
        if body is ...:
            body = BODIES.get(route)
        text = b"" if body is None else json.dumps(body).replace("{n}", str(self.cases)).encode()
        token = who.token
        if who.email is not None and wanted_right(route) == "session" and who.rights:
            # It may end the login.
            token = await self.town.log_in(who.email)
        headers = who.headers
        if wanted_right(route) == "session" and who.name == "cookie":
            fresh = await self.town.log_in(self.town.people["user A"].email or "")
            headers = {**headers, "cookie": f"flowrunner_session={fresh}"}
        return await call(self.town.app, method, address, token=token, body=text, headers=headers)

    def check(self, fine: bool, what: str, reply: Reply) -> None:
        if not fine:
            self.wrong.append(f"{what}: {reply.status} {reply.body[:160]!r}")

    async def everybody(self, name: str, right: str, path: str, ask: Asking, *, own: frozenset[int]) -> None:
        """One route, by whoever there is, with every id in every place."""
        self.covered.add(name)
        places = Places.of(path)
        for who in self.town.people.values():
            if right in who.rights:
                await self._may(name, right, who, path, ask=ask, own=own)
                continue
            answers = set()
            for values in [dict.fromkeys(places.kinds, "x"), await self._foreign(places)]:
                reply = await ask(who, filled(path, values))
                answers.add(told(reply))
                self.check(reply.status == who.refusal, f"{name} by {who.name}", reply)
            if len(answers) > 1:
                self.wrong.append(f"{name} by {who.name}: tells whether a thing exists")

    async def _may(self, name: str, right: str, who: Who, path: str, *, ask: Asking, own: frozenset[int]) -> None:
        places = Places.of(path)
        mine = await self._own(places, who, right)
        foreign = await self._foreign(places)
        for place in places.ids:
            kind = places.kinds[place]
            if (
                kind == "accounts"
                and right in ("admin", "account", "read")
                and "admin" in who.rights
                and path.endswith("{id}")
            ):
                # Admins manage all accounts.
                continue
            missing = await ask(who, filled(path, {**mine, place: "x" * len(mine[place])}))
            theirs = await ask(who, filled(path, {**mine, place: foreign[place]}))
            self.check(missing.status == 404, f"{name} by {who.name}, {place} of nothing", missing)
            if told(missing) != told(theirs):
                self.wrong.append(f"{name} by {who.name}, {place}: a foreign one is told from none: {told(theirs)}")
        for place in places.kinds.keys() - set(places.ids):
            # The whole address of somebody else, not only its first part.
            theirs = await ask(who, filled(path, {**foreign, place: mine[place]}))
            missing = await ask(who, filled(path, {**dict.fromkeys(places.ids, "x" * 32), place: mine[place]}))
            if told(missing) != told(theirs):
                self.wrong.append(f"{name} by {who.name}, {place}: a foreign one is told from none: {told(theirs)}")
        reply = await ask(who, filled(path, mine))
        self.check(reply.status in own, f"{name} by {who.name}, own", reply)

    async def _own(self, places: Places, who: Who, right: str) -> dict[str, str]:
        values = {}
        for name, kind in places.kinds.items():
            owned = "new account" if kind == "accounts" and right == "admin" else kind
            values[name] = WITHIN.get(name) or await self.town.thing(owned, who.account_id)
        return values

    async def _foreign(self, places: Places) -> dict[str, str]:
        """Ids of somebody else's things, which nothing may happen to."""
        for kind in places.kinds.values():
            if kind not in WITHIN and kind not in self._of_victim:
                self._of_victim[kind] = await self.town.thing(kind, self.town.victim)
                self.before = self.town.belongings(self.town.victim)
        return {name: WITHIN.get(name) or self._of_victim[kind] for name, kind in places.kinds.items()}


# A conflict with the present state shows as well that the thing was found.
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
    assert others == [], "a mount or a plain route is not checked here: make it an APIRoute"
    assert declared.keys() >= RIGHTS.keys() | BODIES.keys(), "a line of a table is of no route any more"


async def test_s13_s15_s16_s21_everybody_on_every_route_with_every_id(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        matrix = Matrix(town)
        for route, api_route in routes_of(town.app):
            method, path = route
            if not isinstance(api_route, ProtectedRoute):
                continue
            if api_route.body_field is not None and route not in BODIES:
                pytest.fail(f"{route} takes a body: add one that it accepts to BODIES in security/routes.py")

            async def ask(who: Who, address: str, route: Route = route) -> Reply:
                return await matrix.ask(who, route, address)

            await matrix.everybody(f"{method} {path}", wanted_right(route), path, ask, own=_FOUND)
            assert town.belongings(town.victim) == matrix.before, f"{route} changed what belongs to somebody else"
        for path, right in SOCKETS.items():

            async def open_socket(who: Who, address: str) -> Reply:
                matrix.cases += 1
                return await connect(town.app, address, token=who.token, headers=who.headers)

            await matrix.everybody(f"WS {path}", right, path, open_socket, own=frozenset({101}))

        routes = [r for _, r in routes_of(town.app) if isinstance(r, ProtectedRoute)]
        scoreboard.count("matrix: routes without a check", cases=len(routes) + len(SOCKETS),
                         failures=len(routes) + len(SOCKETS) - len(matrix.covered))  # fmt: skip
        scoreboard.count("matrix: wrong answers", cases=matrix.cases, failures=len(matrix.wrong))
        print(f"{len(matrix.covered)} routes, {len(town.people)} identities, {matrix.cases} cases")
        assert not matrix.wrong, "\n".join(matrix.wrong)
        assert len(matrix.covered) == len(routes) + len(SOCKETS)
        assert matrix.cases > 1500


SERVERS_FIELDS: Final = (
    "id", "account_id", "owner", "owner_id", "user_id", "created_at", "created_by", "updated_at", "deleted_at",
    "disabled_at", "password_hash", "is_admin", "admin", "session_id", "revision_id", "epoch", "permissions", "rights",
    "digest", "token_id", "last_used_at", "status", "__class__", "__proto__", "constructor",
)  # fmt: skip


async def test_s17_no_body_sets_a_field_that_is_the_servers(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        admin = town.people["admin"]
        matrix = Matrix(town)
        tried, taken = 0, []
        for route, api_route in routes_of(town.app):
            if not isinstance(api_route, ProtectedRoute) or api_route.body_field is None:
                continue
            mine = await matrix._own(Places.of(route[1]), admin, "")
            before = town.belongings(admin.account_id)
            for name, value in product(SERVERS_FIELDS, ("x", town.victim, True)):
                body = {**BODIES[route], name: value}
                reply = await matrix.ask(admin, route, filled(route[1], mine), body=body)
                tried += 1
                if reply.status != 422:
                    taken.append(f"{name} on {route}: {reply.status}")
            if town.belongings(admin.account_id) != before:
                taken.append(f"something on {route}, although it was refused")
        scoreboard.count("mass assignment: fields taken", cases=tried, failures=len(taken))
        assert taken == []
        assert tried >= 20 * 3 * 6


async def test_s16_no_verb_leads_a_user_to_what_is_for_admins(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        before = town.belongings(town.victim)
        done, tried = [], 0
        admins_only = [route for route, _ in routes_of(town.app) if wanted_right(route) == "admin"]
        verbs = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "PROPFIND", "X")
        for who in ("user A", "viewer", "token: admin who only reads", "token: demoted admin"):
            for (_, path), verb in product(admins_only, verbs):
                tried += 1
                address = filled(path, dict.fromkeys(Places.of(path).kinds, town.victim))
                body = json.dumps(BODIES["POST", "/api/v1/accounts"]).encode() if verb in ("POST", "PUT") else b""
                reply = await call(town.app, verb, address, token=town.people[who].token, body=body)
                if reply.status not in (403, 404, 405, 422):
                    done.append(f"{verb} {path} by {who}: {reply.status}")
        scoreboard.count("admin functions: reached by others", cases=tried, failures=len(done))
        assert done == []
        assert town.belongings(town.victim) == before
