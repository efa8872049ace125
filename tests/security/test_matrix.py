"""Every route × everybody who may call it × every place where an id can stand.

The routes are read from the program itself. A new one fits by itself if it keeps to the defaults: reading
takes the right to read, everything else the right to write, and its ids are named after what the path says
before them. Otherwise a test fails and says which table to put it in.
"""

import asyncio
import hashlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute

from api.shapes import SMALLEST
from api.test_authentication import forgeries
from api.test_routes import OPEN
from flowrunner.api.routing import ProtectedRoute
from flowrunner.bootstrap.program import Program
from flowrunner.domain.account import NEVER, Caller, Role, Scope, Session
from flowrunner.domain.execution import Status
from flowrunner.domain.values import AccountId, SessionId, TokenId
from flowrunner.services.flows import FlowDraft
from support.asgi import call, connect, program_at
from support.client import Reply
from support.scoreboard import Scoreboard

PASSWORD: Final = "five-blue-otters-swim"
NAP: Final = "nodes:\n  nap: {type: delay, params: {duration: 1h}}\n"

Route = tuple[str, str]

# What a route needs where it is not `read` for GET and `write` for every other method. Whoever adds a line
# has thought about who may call the route.
RIGHTS: Final[Mapping[Route, str]] = {
    ("POST", "/api/v1/auth/refresh"): "session",
    ("POST", "/api/v1/auth/logout"): "session",
    ("POST", "/api/v1/auth/ws-ticket"): "session",
    ("GET", "/api/v1/tokens"): "session",
    ("POST", "/api/v1/tokens"): "tokens",
    ("DELETE", "/api/v1/tokens/{id}"): "tokens",
    ("POST", "/api/v1/flows/validate"): "read",
    ("POST", "/api/v1/flows/{id}/run"): "run",
    ("DELETE", "/api/v1/executions/{id}"): "run",
    ("POST", "/api/v1/executions/{id}/signals/{key}"): "run",
    ("POST", "/api/v1/executions/{id}/approvals/{node}"): "run",
    ("POST", "/api/v1/executions/{id}/rerun"): "run",
    ("PUT", "/api/v1/accounts/{id}"): "account",
    ("GET", "/api/v1/accounts"): "admin",
    ("POST", "/api/v1/accounts"): "admin",
    ("DELETE", "/api/v1/accounts/{id}"): "admin",
    ("GET", "/api/v1/audit"): "admin",
    ("GET", "/api/v1/keys/rotations"): "admin",
    ("POST", "/api/v1/keys/rotations"): "admin",
}
SOCKETS: Final[Mapping[str, str]] = {"/ws/executions/{execution_id}": "read"}
# A body that each route accepts, given the ids in its path.
BODIES: Final[Mapping[Route, Any]] = {
    ("POST", "/api/v1/flows"): {"name": "N", "definition": SMALLEST},
    ("POST", "/api/v1/flows/validate"): {"definition": SMALLEST},
    ("PUT", "/api/v1/flows/{id}"): {"name": "N"},
    ("POST", "/api/v1/flows/{id}/run"): {"input": {}},
    ("POST", "/api/v1/executions/{id}/signals/{key}"): {"payload": 1},
    ("POST", "/api/v1/executions/{id}/approvals/{node}"): {"approved": True},
    ("POST", "/api/v1/executions/{id}/rerun"): {},
    ("POST", "/api/v1/accounts"): {"name": "N", "email": "new-{n}@example.com", "password": PASSWORD},
    ("PUT", "/api/v1/accounts/{id}"): {"name": "N"},
    ("POST", "/api/v1/accounts/{account_id}/secrets"): {"key": "KEY", "value": "a long value"},
    ("POST", "/api/v1/tokens"): {"name": "N", "scopes": ["read"]},
    ("POST", "/api/v1/keys/rotations"): {"kinds": ["data"]},
}
# Query parameters that a route cannot do without.
QUERIES: Final[Mapping[Route, str]] = {}
# What else the own object may be answered with than success or a conflict with the present state.
OWN_MAY_BE: Final[Mapping[Route, frozenset[int]]] = {}
# Parts of a path that only count within the thing named before them.
WITHIN: Final[Mapping[str, str]] = {"key": "KEY", "node": "nap", "number": "1", "revision": "1"}
# Query parameters that name a thing of the account.
ID_QUERIES: Final[Mapping[str, str]] = {"flow_id": "flows", "execution_id": "executions", "account_id": "accounts"}

_ALL: Final = frozenset({"session", "read", "run", "write", "account", "tokens", "admin"})


NOBODY: Final = AccountId("account-none")


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who calls.

    Attributes:
        rights: What they may do; empty for who is not let in at all.
        refusal: What they are answered with where they may not.
    """

    name: str
    rights: frozenset[str] = frozenset()
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    account_id: AccountId = NOBODY
    refusal: int = 401
    # A name and a password to log in with anew, where a call ends the login.
    email: str | None = None


class Town:
    """The program with everybody in it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.app = program.app
        self.services = program.services
        self.people: dict[str, Who] = {}
        self.victim = AccountId("")
        self._number = 0

    async def settle(self) -> "Town":
        await self._account("root", "admin")
        self.victim, _ = await self._account("victim", "user")
        for name in ("user A", "user B"):
            await self._session(name, "user", _ALL - {"admin"})
        await self._session("viewer", "viewer", frozenset({"session", "read"}))
        await self._session("admin", "admin", _ALL)

        scopes: tuple[tuple[Scope, frozenset[str]], ...] = (
            ("read", frozenset({"read"})), ("run", frozenset({"run"})), ("write", frozenset({"write"})),
        )  # fmt: skip
        for scope, rights in scopes:
            await self._token(f"token: {scope}", "user", [scope], rights)
        await self._token("token: admin", "admin", ["admin"], frozenset({"account", "admin"}))
        await self._token("token: admin who only reads", "admin", ["read"], frozenset({"read"}))
        demoted = await self._token("token: demoted admin", "admin", ["admin", "read"], frozenset({"read"}))
        await self._change(demoted.account_id, role="user")
        became_viewer = await self._token("token: became a viewer", "user", ["write", "read"], frozenset({"read"}))
        await self._change(became_viewer.account_id, role="viewer")

        mine = self.people["user A"]
        cookie = {"cookie": f"flowrunner_session={mine.token}", "origin": "http://test"}
        self._add(Who("cookie", mine.rights, None, cookie, mine.account_id, 403))
        await self._strangers()
        return self

    async def _strangers(self) -> None:
        self._add(Who("nobody"))
        for name, token in (("garbage", "a.b.c"), ("garbage token", "fr_pat_" + "x" * 43), ("empty token", "fr_pat_")):
            self._add(Who(name, token=token))
        for name in ("logged out", "expired", "disabled", "deleted", "new password"):
            gone = await self._session(name, "user", frozenset())
            assert gone.token is not None
            match name:
                case "logged out":
                    await self.services.identity.logout(await self.services.identity.authenticate(gone.token))
                case "expired":
                    self._sql("UPDATE sessions SET expires_at = 1 WHERE account_id = ?", gone.account_id)
                case _:
                    await self._end(name, gone.account_id)
        ended = ("token: disabled", "token: deleted", "token: new password", "token: revoked", "token: expired")
        for name in ended:
            gone = await self._token(name, "user", ["read", "run", "write"], frozenset())
            if name == "token: expired":
                self._sql("UPDATE api_tokens SET expires_at = 1 WHERE account_id = ?", gone.account_id)
            elif name == "token: revoked":
                await self._revoke(gone.account_id)
            else:
                await self._end(name.removeprefix("token: "), gone.account_id)

        mine = self.people["user A"]
        revoked = self.people["token: revoked"]
        reading = await self._token("token in a cookie", "user", ["read"], frozenset())
        for name, cookie in (
            ("cookie: logged out", self.people["logged out"].token), ("cookie: garbage", "a.b.c"),
            ("cookie: API token", reading.token), ("cookie: revoked", revoked.token),
        ):  # fmt: skip
            self._add(Who(name, headers={"cookie": f"flowrunner_session={cookie}", "origin": "http://test"}))
        del self.people["token in a cookie"]
        # With both, the header counts.
        for name, header in (("bearer wins", "Bearer a.b.c"), ("scheme wins", "Basic YTpi"), ("empty wins", "")):
            headers = {"cookie": f"flowrunner_session={mine.token}", "origin": "http://test", "authorization": header}
            self._add(Who(name, headers=headers))

    # Accounts, and what they show

    async def _account(self, name: str, role: Role) -> tuple[AccountId, str]:
        email = f"{name.replace(' ', '-').replace(':', '')}@example.com"
        account = await self.services.accounts.create(name="N", email=email, password=PASSWORD, role=role)
        return account.id, email

    async def _session(self, name: str, role: Role, rights: frozenset[str]) -> Who:
        id, email = await self._account(name, role)
        refusal = 403 if rights else 401
        token = await self.log_in(email)
        if name != "expired":
            # It is known and kept from here on: what ends it has to make it forgotten.
            await self.services.identity.authenticate(token)
        return self._add(Who(name, rights, token, {}, id, refusal, email))

    async def log_in(self, email: str) -> str:
        return (await self.services.identity.login(email, PASSWORD, address="127.0.0.1")).token

    async def _token(self, name: str, role: Role, scopes: list[Scope], rights: frozenset[str]) -> Who:
        id, email = await self._account(name, role)
        by = await self.services.identity.authenticate(await self.log_in(email))
        _, token = await self.services.tokens.create(by, name="N", scopes=scopes, life=None)
        if name != "token: expired":
            await self.services.identity.authenticate(token)
        return self._add(Who(name, rights, token, {}, id, 403 if rights else 401))

    def _add(self, who: Who) -> Who:
        self.people[who.name] = who
        return who

    async def _end(self, how: str, id: AccountId) -> None:
        match how:
            case "disabled":
                await self._change(id, is_disabled=True)
            case "deleted":
                await self.services.accounts.delete(id)
            case "new password":
                await self._change(id, password="another-quiet-heron-1")

    async def _change(self, id: AccountId, **change: Any) -> None:
        fields: dict[str, Any] = {"name": None, "email": None, "role": None, "password": None, **change}
        await self.services.accounts.update(self._as_root(), id, **fields)

    def _as_root(self) -> Caller:
        (id,) = self._sql("SELECT id FROM accounts WHERE email = 'root@example.com'")[0]
        return as_session(id, "admin")

    async def _revoke(self, account_id: AccountId) -> None:
        ((id,),) = self._sql("SELECT id FROM api_tokens WHERE account_id = ?", account_id)
        await self.services.tokens.revoke(as_session(account_id), TokenId(id))

    def _sql(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.program.database._path)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    # Things that belong to somebody

    async def thing(self, kind: str, owner: AccountId) -> str:
        """A new one; gives its id."""
        self._number += 1
        match kind:
            case "flows":
                draft = FlowDraft(definition=NAP, name="N", description=None, tags=None)
                return (await self.services.flows.create(as_session(owner), draft)).id
            case "executions":
                flow = await self.services.flows.create(
                    as_session(owner), FlowDraft(definition=NAP, name="N", description=None, tags=None)
                )
                id = (await self.services.executions.run(as_session(owner), flow.id, {})).id
                while (await self.services.executions.get(as_session(owner), id)).status is not Status.WAITING:  # noqa: ASYNC110 # nothing tells
                    await asyncio.sleep(0.001)
                return id
            case "accounts":
                await self.services.secrets.set(as_session(owner), owner, "KEY", "a value to keep")
                return owner
            case "new account":
                id, _ = await self._account(f"thing-{self._number}", "user")
                return id
            case "tokens":
                token_id = f"token-{self._number}"
                self._sql(
                    "INSERT INTO api_tokens (id, account_id, name, digest, scopes, created_at)"
                    " VALUES (?, ?, 'N', ?, '[]', 0)",
                    token_id, owner, token_id,
                )  # fmt: skip
                return token_id
        raise AssertionError(f"nobody has said how to make one of the '{kind}': add it to Town.thing")

    def belongings(self, owner: AccountId) -> list[Any]:
        """All that an account has, to tell whether anybody touched it."""
        tables = {
            name: [column[1] for column in self._sql(f"PRAGMA table_info({name})")]
            for (name,) in self._sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        }
        return [
            (name, self._sql(f"SELECT * FROM {name} WHERE account_id = ? ORDER BY 1, 2", owner))
            for name, columns in tables.items()
            if "account_id" in columns
        ] + [self._sql("SELECT * FROM accounts WHERE id = ?", owner)]


def as_session(id: AccountId, role: Role = "user") -> Caller:
    return Caller(account_id=id, role=role, credential=Session(SessionId("none")), expires_at=NEVER)


@asynccontextmanager
async def town_at(path: Path) -> AsyncIterator[Town]:
    async with program_at(path) as program:
        yield await Town(program).settle()


def routes_of(town: Town) -> Iterator[tuple[Route, APIRoute]]:
    for route in town.app.routes:
        if isinstance(route, APIRoute):
            for method in sorted(route.methods):
                yield (method, route.path_format), route


def wanted_right(route: Route) -> str:
    return RIGHTS.get(route, "read" if route[0] == "GET" else "write")


# Addresses


@dataclass(frozen=True, slots=True)
class Places:
    """The ids of a path: by the name of its part, what each names."""

    kinds: Mapping[str, str]

    @classmethod
    def of(cls, path: str) -> "Places":
        kinds = {}
        parts = path.split("/")
        for before, part in pairwise(parts):
            if part.startswith("{"):
                name = part.strip("{}")
                kinds[name] = name if name in WITHIN else before
        return cls(kinds)

    @property
    def ids(self) -> list[str]:
        return [name for name, kind in self.kinds.items() if name not in WITHIN]


def filled(path: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)


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
        address += QUERIES.get(route, "")
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
            for route, api_route in routes_of(Town(program))
        }
        sockets = {route.path for route in program.app.routes if isinstance(route, WebSocketRoute)}
        others = [r for r in program.app.routes if not isinstance(r, APIRoute | WebSocketRoute)]

    for route, right in declared.items():
        if right is None:
            assert route in OPEN, f"{route} asks for no caller: make it a ProtectedRoute, or add it to OPEN"
        else:
            assert right == wanted_right(route), (
                f"{route} needs '{right}', and not '{wanted_right(route)}' as by default:"
                " if that is meant, add it to RIGHTS in test_matrix.py"
            )
    assert sockets == SOCKETS.keys(), "add the socket to SOCKETS in test_matrix.py, with the right that it needs"
    assert others == [], "a mount or a plain route is not checked here: make it an APIRoute"
    assert declared.keys() >= RIGHTS.keys() | BODIES.keys(), "a line of a table is of no route any more"


async def test_s13_s15_s16_s21_everybody_on_every_route_with_every_id(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        matrix = Matrix(town)
        for route, api_route in routes_of(town):
            method, path = route
            if not isinstance(api_route, ProtectedRoute):
                continue
            if api_route.body_field is not None and route not in BODIES:
                pytest.fail(f"{route} takes a body: add one that it accepts to BODIES in test_matrix.py")

            async def ask(who: Who, address: str, route: Route = route) -> Reply:
                return await matrix.ask(who, route, address)

            own = _FOUND | OWN_MAY_BE.get(route, frozenset())
            await matrix.everybody(f"{method} {path}", wanted_right(route), path, ask, own=own)
            assert town.belongings(town.victim) == matrix.before, f"{route} changed what belongs to somebody else"
        for path, right in SOCKETS.items():

            async def open_socket(who: Who, address: str) -> Reply:
                matrix.cases += 1
                return await connect(town.app, address, token=who.token, headers=who.headers)

            await matrix.everybody(f"WS {path}", right, path, open_socket, own=frozenset({101}))

        routes = [r for _, r in routes_of(town) if isinstance(r, ProtectedRoute)]
        scoreboard.count("matrix: routes without a check", cases=len(routes) + len(SOCKETS),
                         failures=len(routes) + len(SOCKETS) - len(matrix.covered))  # fmt: skip
        scoreboard.count("matrix: wrong answers", cases=matrix.cases, failures=len(matrix.wrong))
        print(f"{len(matrix.covered)} routes, {len(town.people)} identities, {matrix.cases} cases")
        assert not matrix.wrong, "\n".join(matrix.wrong)
        assert len(matrix.covered) == len(routes) + len(SOCKETS)
        assert matrix.cases > 1500


# The same routes, attacked in other ways


def forged_api_tokens(token: str) -> Iterator[tuple[str, str]]:
    """API tokens that nobody was given, made of one that works."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    last = "A" if token[-2] != "A" else "B"
    for name, forged in (
        ("another character", token[:-2] + last + token[-1]), ("cut", token[:-1]), ("longer", token + "A"),
        ("lower case", token.lower()), ("upper case", token.upper()), ("no prefix", token[7:]),
        ("the prefix", "fr_pat_"), ("prefix twice", "fr_pat_" + token), ("another prefix", "fr_pat-" + token[7:]),
        ("its digest", digest), ("its digest, prefixed", "fr_pat_" + digest), ("43 of it", "fr_pat_" + digest[:43]),
        ("wildcards", "fr_pat_" + "%" * 43), ("SQL", "fr_pat_' OR 1=1 --" + " " * 31), ("NUL", token[:-1] + "\0"),
        ("not ASCII", "fr_pat_" + "é" * 43), ("its id", "token-1"),
    ):  # fmt: skip
        yield f"API token: {name}", forged


async def test_s05_s06_s07_forged_tokens_are_refused_on_every_route(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        mine, program = town.people["user A"], town.people["token: read"]
        assert mine.token is not None
        assert program.token is not None
        key = bytes.fromhex((tmp_path / "data" / "keys" / "signing.key").read_text().strip())
        ticket = await town.services.identity.issue_ticket(await town.services.identity.authenticate(mine.token))
        forged = [
            *forgeries(mine.token, key),
            *forged_api_tokens(program.token),
            ("a ticket", ticket.ticket),
            ("a set-up token", town.program.setup.issue_token()),
        ]
        taken, tried = [], 0
        for route, api_route in routes_of(town):
            if not isinstance(api_route, ProtectedRoute):
                continue
            address = filled(route[1], dict.fromkeys(Places.of(route[1]).kinds, "x"))
            for name, token in forged:
                tried += 1
                if (await call(town.app, route[0], address, token=token)).status != 401:
                    taken.append(f"{name} on {route}")
        for path, (name, token) in product(SOCKETS, forged):
            tried += 1
            if (await connect(town.app, path, token=token)).status != 401:
                taken.append(f"{name} on {path}")
        scoreboard.count("forged tokens: accepted", cases=tried, failures=len(taken))
        assert taken == []
        assert len(forged) >= 100
        for who in (mine, program):
            assert (await call(town.app, "GET", "/api/v1/flows", token=who.token)).status == 200


async def test_s07_no_kind_of_token_stands_for_another(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        identity, email = town.services.identity, town.people["user A"].email
        assert email is not None
        mine = town.people["user A"].account_id
        execution = await town.thing("executions", mine)

        async def session() -> str:
            return await town.log_in(email)

        async def api_token() -> str:
            by = await identity.authenticate(await session())
            return (await town.services.tokens.create(by, name="N", scopes=["read"], life=None))[1]

        async def ticket() -> str:
            return (await identity.issue_ticket(await identity.authenticate(await session()))).ticket

        async def set_up() -> str:
            return town.program.setup.issue_token()

        async def by_header(token: str) -> int:
            return (await call(town.app, "GET", "/api/v1/flows", token=token)).status

        async def by_cookie(token: str) -> int:
            headers = {"cookie": f"flowrunner_session={token}"}
            return (await call(town.app, "GET", "/api/v1/flows", headers=headers)).status

        async def by_ticket(token: str) -> int:
            offered = ["flowrunner.v1", f"ticket.{token}"]
            return (await connect(town.app, f"/ws/executions/{execution}", subprotocols=offered)).status

        async def by_set_up(token: str) -> int:
            body = {"token": token, "name": "N", "email": "first@example.com", "password": PASSWORD}
            return (await call(town.app, "POST", "/api/v1/setup", body=json.dumps(body).encode())).status

        kinds = {"session": session, "API token": api_token, "ticket": ticket, "set-up token": set_up}
        ways = {"header": by_header, "cookie": by_cookie, "ticket": by_ticket, "set-up": by_set_up}
        let_in = {
            (kind, way)
            for (kind, make), (way, show) in product(kinds.items(), ways.items())
            if await show(await make()) in (101, 200, 201)
        }

        # The set-up token itself is refused as well: there is an account already.
        meant = {("session", "header"), ("session", "cookie"), ("API token", "header"), ("ticket", "ticket")}
        scoreboard.count("kinds of tokens: exchanged for another", cases=16, failures=len(let_in - meant))
        assert let_in == meant


# What a browser sends along with a page of another origin, or of another port of this host.
FOREIGN_PAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "nothing said": {},
    "another origin": {"origin": "https://evil.example"},
    "another port": {"origin": "http://test:8081"},
    "another scheme": {"origin": "ftp://test"},
    "a prefix": {"origin": "http://test.evil.example"},
    "a suffix": {"origin": "http://eviltest"},
    "null": {"origin": "null"},
    "empty": {"origin": ""},
    "upper case": {"origin": "HTTP://EVIL"},
    "user info": {"origin": "http://test@evil.example"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "same-site": {"sec-fetch-site": "same-site"},
    "typed in": {"sec-fetch-site": "none"},
    "own origin, but cross-site": {"origin": "http://test", "sec-fetch-site": "cross-site"},
    "same-origin, but another": {"origin": "http://other", "sec-fetch-site": "same-origin"},
}
OWN_PAGES: Final = ({"origin": "http://test"}, {"origin": "https://test"}, {"sec-fetch-site": "same-origin"})


async def test_s52_s53_no_foreign_page_does_anything_with_a_cookie(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        mine = town.people["user A"]
        cookie = {"cookie": f"flowrunner_session={mine.token}"}
        done, tried = [], 0
        before = town.belongings(mine.account_id)
        for route, api_route in routes_of(town):
            if not isinstance(api_route, ProtectedRoute) or route[0] == "GET":
                continue
            address = filled(route[1], dict.fromkeys(Places.of(route[1]).kinds, mine.account_id))
            body = json.dumps(BODIES.get(route, {})).encode()
            for (name, page), media_type in product(FOREIGN_PAGES.items(), ("application/json", "text/plain")):
                tried += 1
                headers = {**cookie, **page, "content-type": media_type}
                if (await call(town.app, route[0], address, body=body, headers=headers)).status != 403:
                    done.append(f"{name} on {route}")
        execution = await town.thing("executions", mine.account_id)
        for name, page in FOREIGN_PAGES.items():
            tried += 1
            if (await connect(town.app, f"/ws/executions/{execution}", headers={**cookie, **page})).status != 403:
                done.append(f"{name} on a WebSocket")
        scoreboard.count("foreign pages: requests with a cookie that were served", cases=tried, failures=len(done))

        assert done == []
        for page in OWN_PAGES:
            assert (await connect(town.app, f"/ws/executions/{execution}", headers={**cookie, **page})).status == 101
            reply = await call(town.app, "DELETE", "/api/v1/flows/x", headers={**cookie, **page})
            assert reply.status == 404, "its own pages are served"
        assert town.belongings(mine.account_id)[0] == before[0]


async def test_s53_a_foreign_page_opens_no_socket_by_any_way_in(tmp_path: Path) -> None:
    async with town_at(tmp_path / "data") as town:
        mine = town.people["user A"]
        assert mine.token is not None
        execution = await town.thing("executions", mine.account_id)
        caller = await town.services.identity.authenticate(mine.token)
        for origin in ("https://evil.example", "null", "http://test:81"):
            ticket = (await town.services.identity.issue_ticket(caller)).ticket
            reply = await connect(
                town.app, f"/ws/executions/{execution}", headers={"origin": origin}, subprotocols=[f"ticket.{ticket}"]
            )
            assert reply.status == 403
            reply = await connect(town.app, f"/ws/executions/{execution}", token=mine.token, headers={"origin": origin})
            assert reply.status == 403


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
        for route, api_route in routes_of(town):
            if not isinstance(api_route, ProtectedRoute) or api_route.body_field is None:
                continue
            places = Places.of(route[1])
            for name in SERVERS_FIELDS:
                mine = await matrix._own(places, admin, "")
                before = town.belongings(admin.account_id)
                for value in ("x", town.victim, True):
                    body = {**BODIES[route], name: value}
                    reply = await matrix.ask(admin, route, filled(route[1], mine), body=body)
                    tried += 1
                    if reply.status != 422 or town.belongings(admin.account_id) != before:
                        taken.append(f"{name} on {route}: {reply.status}")
        scoreboard.count("mass assignment: fields taken", cases=tried, failures=len(taken))
        assert taken == []
        assert tried >= 20 * 3 * 6


async def test_s16_no_verb_leads_a_user_to_what_is_for_admins(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with town_at(tmp_path / "data") as town:
        before = town.belongings(town.victim)
        done, tried = [], 0
        admins_only = [route for route, _ in routes_of(town) if wanted_right(route) == "admin"]
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
