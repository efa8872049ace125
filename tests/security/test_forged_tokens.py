"""Tokens that nobody was given, and tokens of another kind, on every route."""

import hashlib
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from api.test_authentication import forgeries
from flowrunner.api.http.routing import ProtectedRoute
from security.callers import callers_at
from security.routes import SOCKETS, Places, filled, routes_of
from support.asgi import call, connect
from support.client import PASSWORD
from support.scoreboard import Scoreboard


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
    async with callers_at(tmp_path / "data") as callers:
        mine, program = callers.by_name["user A"], callers.by_name["token: read"]
        assert mine.token is not None
        assert program.token is not None
        key = bytes.fromhex((tmp_path / "data" / "keys" / "signing.key").read_text().strip())
        ticket = await callers.services.sessions.issue_ticket(await callers.services.sessions.authenticate(mine.token))
        forged = [
            *forgeries(mine.token, key),
            *forged_api_tokens(program.token),
            ("a ticket", ticket.ticket),
            ("a set-up token", callers.program.setup.issue_token()),
        ]
        taken, tried = [], 0
        for route, api_route in routes_of(callers.app):
            if not isinstance(api_route, ProtectedRoute):
                continue
            address = filled(route[1], dict.fromkeys(Places.of(route[1]).kinds, "x"))
            for name, token in forged:
                tried += 1
                if (await call(callers.app, route[0], address, token=token)).status != 401:
                    taken.append(f"{name} on {route}")
        for path, (name, token) in product(SOCKETS, forged):
            tried += 1
            if (await connect(callers.app, path, token=token)).status != 401:
                taken.append(f"{name} on {path}")
        scoreboard.count("forged tokens: accepted", cases=tried, failures=len(taken))
        assert taken == []
        assert len(forged) >= 100
        for caller in (mine, program):
            assert (await call(callers.app, "GET", "/api/v1/flows", token=caller.token)).status == 200


async def test_s07_no_kind_of_token_stands_for_another(tmp_path: Path, scoreboard: Scoreboard) -> None:
    async with callers_at(tmp_path / "data") as callers:
        sessions, email = callers.services.sessions, callers.by_name["user A"].email
        assert email is not None
        mine = callers.by_name["user A"].account_id
        execution = await callers.create("executions", mine)

        async def session() -> str:
            return await callers.log_in(email)

        async def api_token() -> str:
            by = await sessions.authenticate(await session())
            return (await callers.services.tokens.create(by, name="N", scopes=["read"], life=None))[1]

        async def ticket() -> str:
            return (await sessions.issue_ticket(await sessions.authenticate(await session()))).ticket

        async def set_up() -> str:
            return callers.program.setup.issue_token()

        async def by_header(token: str) -> int:
            return (await call(callers.app, "GET", "/api/v1/flows", token=token)).status

        async def by_cookie(token: str) -> int:
            headers = {"cookie": f"flowrunner_session={token}"}
            return (await call(callers.app, "GET", "/api/v1/flows", headers=headers)).status

        async def by_ticket(token: str) -> int:
            offered = ["flowrunner.v1", f"ticket.{token}"]
            return (await connect(callers.app, f"/ws/executions/{execution}", subprotocols=offered)).status

        async def by_set_up(token: str) -> int:
            body = {"token": token, "name": "N", "email": "first@example.com", "password": PASSWORD}
            return (await call(callers.app, "POST", "/api/v1/setup", body=json.dumps(body).encode())).status

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
