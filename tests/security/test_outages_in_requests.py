"""An outage at each moment of each request that changes something: the answer says so, and a repeat succeeds.

Only what is read for the answer after the change is left out: then nobody can know whether it was made.
"""

import asyncio
import itertools
import json
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute

from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import Unavailable
from flowrunner.fair_slots import FairSlots
from flowrunner.storage.sqlite.database import SqliteDatabase
from security.test_audit import ACTIONS, Caller, _change_everything, two_of
from support.asgi import call, program_at
from support.client import Reply


@dataclass
class Outage:
    """The failure of one operation of a request, after so many others."""

    after: int
    is_over: bool = False
    has_written: bool = False

    def begins(self, *, is_write: bool) -> bool:
        if self.is_over or (self.has_written and not is_write):
            return False
        self.has_written = self.has_written or is_write
        self.after -= 1
        self.is_over = self.after < 0
        return self.is_over


OUTAGE: Final[ContextVar[Outage | None]] = ContextVar("OUTAGE", default=None)


class Unlucky(Caller):
    """Repeats each request until the database has failed at each of its moments.

    Attributes:
        wrong: Answers other than 503.
        cut: Routes whose answer had begun.
        begun: Routes that delete in steps: what was begun before the outage is not found any more.
        moments: The number of outages.
    """

    def __init__(self, program: Program, email: str) -> None:
        super().__init__(program, email)
        self.wrong: list[str] = []
        self.begun: set[str] = set()
        self.cut: set[str] = set()
        self.moments = 0

    async def go(self, method: str, path: str, body: Any = None, route: str | None = None) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        for number in itertools.count():
            outage = Outage(number)
            before = OUTAGE.set(outage)
            try:
                reply = await call(self.program.app, method, path, token=self.token, body=data)
            except Unavailable:
                self.cut.add(route or path)
                continue
            finally:
                OUTAGE.reset(before)
                was_hit, outage.is_over = outage.is_over, True
            if number and method == "DELETE" and reply.status == 404:
                self.begun.add(route or path)
                return replace(reply, status=200)
            if not was_hit or reply.status < 300:
                return reply
            self.moments += 1
            if reply.status != 503:
                self.wrong.append(f"{method} {route or path}: {reply.status} at operation {number}")
        raise AssertionError("there is an end")


async def test_a_request_that_an_outage_has_ended_at_any_moment_can_be_repeated_and_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots: list[FairSlots] = []
    made = FairSlots.__init__

    def make(self: FairSlots, **sizes: int) -> None:
        made(self, **sizes)
        slots.append(self)

    monkeypatch.setattr(FairSlots, "__init__", make)
    # A short read, and whatever threads do.
    for name in ("read", "_send"):
        monkeypatch.setattr(SqliteDatabase, name, _failing(getattr(SqliteDatabase, name)))
    async with program_at(tmp_path / "data") as program:
        await two_of(program)
        root = Unlucky(program, "root@example.com")
        await root.login()
        await _change_everything(root)
        for path in sorted({route.path for route in program.app.routes if isinstance(route, APIRoute)}):
            if path.startswith("/api/") and "{" not in path:
                await root.go("GET", path)
        # All slots that requests and executions share.
        async with asyncio.timeout(30):
            while any(each._all_held for each in slots):  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)

    assert root.wrong == []
    assert root.cut == {"/api/v1/flows/export"}
    # A job completes it.
    assert root.begun == {"/api/v1/executions/{id}/record"}
    assert root.moments > len(ACTIONS)


def _failing(operation: Callable[..., Any]) -> Callable[..., Any]:
    def do(database: SqliteDatabase, what: Callable[..., Any], *more: Any) -> Any:
        outage = OUTAGE.get()
        if outage is None or not outage.begins(is_write=what == database._add):
            return operation(database, what, *more)
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        failed.set_exception(Unavailable("The database cannot be reached at the moment"))
        return failed

    return do
