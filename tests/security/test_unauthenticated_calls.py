"""Whoever has no account leaves nothing behind in the database."""

import os
import re
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from fastapi.routing import APIRoute

from api.test_routes import OPEN
from flowrunner.bootstrap.location import DATABASE_FILE
from flowrunner.services.audit import MOST
from flowrunner.storage.tables import TABLES
from security.two_accounts import RETURN, two_accounts_at
from support.asgi import call, connect
from support.scoreboard import Scoreboard

CALLS: Final = int(os.environ.get("ANONYMOUS_CALLS", "6000"))
# Acts that leave an entry in the audit log, which is bounded by itself.
TOLD: Final = ("audit",)


def row_counts(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return {table.name: connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0] for table in TABLES}


def anonymous_calls(app: Any) -> list[tuple[str, str, bytes, dict[str, str]]]:
    """Calls of every route in some of the ways in which nobody may call them."""
    tokens = [{}, {"authorization": "Bearer x"}, {"authorization": "Bearer fr_pat_" + "A" * 43}]
    tokens += [{"cookie": "flowrunner_session=x"}, {"authorization": "Basic eDp5"}, {"x-forwarded-for": "1.2.3.4"}]
    bodies = [b"", b"{}", b'{"username": "mara@example.com", "password": "wrong-horse-battery"}']
    bodies += [b'{"token": "x", "name": "n", "email": "e@example.com", "password": "five-blue-otters-swim"}', b"[1]"]
    found = []
    for route in app.routes:
        if isinstance(route, APIRoute):
            path = re.sub(r"\{[^}]*\}", "x", route.path_format)
            methods = sorted(route.methods or ())
            found += [(method, path, body, token) for method in methods for body in bodies for token in tokens]
    return found


async def test_s56_thousands_of_calls_by_nobody_leave_no_row(tmp_path: Path, scoreboard: Scoreboard) -> None:
    # Without the limit of their number, so that each gets as far as it can.
    async with two_accounts_at(tmp_path / "data", anonymous_requests=None) as accounts:
        await accounts.mara.ended((await accounts.mara.run(await accounts.mara.flow(RETURN))).json["execution_id"])
        calls = anonymous_calls(accounts.app)
        called = {(method, path) for method, path, *_ in calls}
        before = row_counts(tmp_path / "data" / DATABASE_FILE)
        statuses: Counter[int] = Counter()

        begun, made = time.monotonic(), 0
        while made < CALLS:
            for method, path, body, headers in calls:
                reply = await call(accounts.app, method, path, body=body, headers=headers, address="198.51.100.1")
                statuses[reply.status] += 1
            made += len(calls)
        for n in range(200):
            await connect(accounts.app, "/ws/executions/x", token="x", subprotocols=[f"ticket.{n}"])
        after = row_counts(tmp_path / "data" / DATABASE_FILE)
        minutes = int((time.monotonic() - begun) / 60) + 1

    grown = {name for name in before if after[name] != before[name]} - {*TOLD}
    scoreboard.count("calls by nobody: tables that have grown", cases=made, failures=len(grown))
    assert grown == set()
    # Failed logins and denied requests are told, in bounds.
    assert after["audit"] - before["audit"] <= (MOST + 2) * minutes
    assert len(called) >= 30
    assert len(OPEN) >= 6
    # 404: no file of the interface has that name.
    assert set(statuses) <= {200, 400, 401, 403, 404, 409, 413, 415, 422, 429}, statuses
    assert made >= CALLS
