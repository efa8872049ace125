"""An outage at each moment of each request that changes something: the answer says so, and a repeat succeeds.

What fails once the change is made is no 503: a repeat would make it again, or find it made.
"""

import asyncio
import itertools
import json
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute
from structlog.testing import capture_logs

from flowrunner.api.open_streams import TRY_AGAIN
from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.services import hook_deliveries
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.sqlite.database import SqliteDatabase
from security.test_audit import ACTIONS, Caller, _change_everything, two_of
from security.two_accounts import RETURN
from support.asgi import call, open_socket, program_at
from support.client import Reply
from support.postgres import PostgresServer
from support.waiting import PATIENCE_SECONDS

ANSWERING: Final = """
triggers:
  result: {type: webhook, verify: none, respond: {mode: result}}
  simple: {type: webhook, verify: none}
  stored: {type: webhook, verify: none, when: "${1 == 1}"}
nodes:
  a: {type: return}
"""
NAPPING: Final = "nodes: {a: {type: delay, params: {duration: 1h}}}"
OPEN_ONE: Final = "SELECT 1 FROM executions WHERE completed_at IS NULL"


@dataclass
class Outage:
    """The failure of one operation of a request, after so many others."""

    after: int
    is_over: bool = False

    def begins(self) -> bool:
        if self.is_over:
            return False
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
            except EOFError:
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
    _with_outages(monkeypatch)
    async with program_at(tmp_path / "data") as program:
        await two_of(program)
        root = Unlucky(program, "root@example.com")
        await root.login()
        await _change_everything(root)
        for path in sorted({route.path for route in program.app.routes if isinstance(route, APIRoute)}):
            if path.startswith("/api/") and "{" not in path:
                await root.go("GET", path)
        # All slots that requests and executions share.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(each._all_held for each in slots):  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)

    assert root.wrong == []
    assert root.cut == {"/api/v1/flows/export"}
    # A job completes it.
    assert root.begun == {"/api/v1/executions/{id}/record"}
    assert root.moments > len(ACTIONS)


async def test_an_outage_in_the_middle_of_an_export_is_one_calm_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_outages(monkeypatch)
    async with program_at(tmp_path / "data") as program:
        root, _ = await two_of(program)
        await root.go("POST", "/api/v1/flows", {"name": "N", "definition": RETURN})

        # After the reads for the caller and for the list of flows.
        before = OUTAGE.set(Outage(2))
        with capture_logs() as lines, pytest.raises(EOFError):
            await call(program.app, "GET", "/api/v1/flows/export", token=root.token)
        OUTAGE.reset(before)

    (line,) = lines
    assert {**line, "request_id": ""} == {
        "event": "request.cut_off",
        "log_level": "warning",
        "request_id": "",
        "method": "GET",
        "reason": "The database cannot be reached at the moment",
    }


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "sqlite":
        return {}
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return {"database_url": postgres.new_database()}


@pytest.mark.parametrize(
    "asked",
    [
        ("flows", {"name": "M", "definition": RETURN}, {}),
        ("flows/{flow}/run", {"input": {}}, {"prefer": "wait=20"}),
        ("executions/{execution}/rerun", {}, {"prefer": "wait=20"}),
        ("{result}", {}, {}),
        ("{simple}", {}, {}),
        ("{stored}", {}, {}),
    ],
    ids=["creation", "run_and_wait", "rerun_and_wait", "hook_with_result", "hook", "hook_stored_first"],
)
async def test_each_request_that_is_answered_503_has_started_and_made_nothing(
    tmp_path: Path,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, Any, dict[str, str]],
) -> None:
    path, body, headers = asked
    _with_outages(monkeypatch)
    async with program_at(tmp_path / "data", **settings) as program:
        root, _ = await two_of(program)
        flow = (await root.go("POST", "/api/v1/flows", {"name": "N", "definition": ANSWERING})).json["id"]
        run = await root.go("POST", f"/api/v1/flows/{flow}/run", {"input": {}})
        listed = (await root.go("GET", "/api/v1/triggers")).json["triggers"]
        hooks = {each["name"]: each["url"] for each in listed}
        named = path.format(flow=flow, execution=run.json["execution_id"], **hooks)
        url = named if named.startswith("/") else f"/api/v1/{named}"
        statuses: list[int] = []
        for number in itertools.count():
            outage = Outage(number)
            before = OUTAGE.set(outage)
            try:
                data = json.dumps(body).encode()
                reply = await call(program.app, "POST", url, token=root.token, body=data, headers=headers)
            finally:
                OUTAGE.reset(before)
                was_hit, outage.is_over = outage.is_over, True
            if not was_hit:
                break
            statuses.append(reply.status)
        # As long after the requests as it takes.
        monkeypatch.setattr(hook_deliveries, "_GRACE", timedelta(minutes=-1))
        await program.services.hook_deliveries.start_received()
        kind = "flows" if path == "flows" else "executions"
        made = (await root.go("GET", f"/api/v1/{kind}")).json["total"]

    assert 503 in statuses
    assert set(statuses) <= {503, 200, 201, 202}
    # The first flow or execution, and that of the last request.
    assert made == 2 + sum(status < 300 for status in statuses)


async def test_streams_end_with_the_access_even_if_the_sessions_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_outages(monkeypatch)
    async with program_at(tmp_path / "data") as program:
        root, user = await two_of(program)
        me = (await user.go("GET", "/api/v1/accounts/me")).json["id"]
        team = (await root.go("POST", "/api/v1/workspaces", {"name": "T", "slug": "team"})).json["id"]
        body = {"account": me, "role": "viewer"}
        assert (await root.go("POST", f"/api/v1/workspaces/{team}/members", body)).status == 201
        async with open_socket(program.app, "/ws/executions", token=user.token) as closed:
            # The change itself is the first operation of the request.
            before = OUTAGE.set(Outage(1))
            try:
                reply = await call(program.app, "DELETE", f"/api/v1/workspaces/{team}/members/{me}", token=root.token)
            finally:
                OUTAGE.reset(before)

            assert reply.status == 200
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await closed == TRY_AGAIN


async def test_executions_of_a_deleted_workspace_end_although_an_outage_begins_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_outages(monkeypatch)
    async with program_at(tmp_path / "data") as program:
        root, _ = await two_of(program)
        team = (await root.go("POST", "/api/v1/workspaces", {"name": "T", "slug": "team"})).json["id"]
        body = json.dumps({"name": "N", "definition": NAPPING}).encode()
        headers = {"flowrunner-workspace": team}
        reply = await call(program.app, "POST", "/api/v1/flows", token=root.token, body=body, headers=headers)
        run = f"/api/v1/flows/{reply.json['id']}/run"
        assert (await call(program.app, "POST", run, token=root.token, body=b"{}")).status == 201
        # Two reads and the change come before the executions are listed.
        outage = Outage(3)
        before = OUTAGE.set(outage)
        try:
            reply = await call(program.app, "DELETE", f"/api/v1/workspaces/{team}?name=T", token=root.token)
        finally:
            OUTAGE.reset(before)

        assert outage.is_over
        assert reply.status == 200
        async with asyncio.timeout(20):
            while await program.database.read(lambda tx: tx.row(OPEN_ONE)) is not None:  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.05)


async def test_a_program_that_ends_in_an_outage_leaves_what_it_had_to_cancel_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with program_at(tmp_path / "data") as program:
        executions = program.services.executions

        async def away(_: WorkspaceId) -> None:
            raise Unavailable("The database cannot be reached at the moment")

        monkeypatch.setattr(executions, "cancel_open", away)
        await executions.cancel_all(WorkspaceId("team"))
        assert len(executions._cancelling) == 1

    assert not executions._cancelling


def _with_outages(monkeypatch: pytest.MonkeyPatch) -> None:
    # A short read, and whatever threads do.
    for name in ("read", "_send"):
        monkeypatch.setattr(SqliteDatabase, name, _failing(getattr(SqliteDatabase, name)))
    for name in ("read", "read_long", "submit"):
        monkeypatch.setattr(PostgresDatabase, name, _failing(getattr(PostgresDatabase, name)))


def _failing(operation: Callable[..., Any]) -> Callable[..., Any]:
    def do(database: Any, what: Callable[..., Any], *more: Any) -> Any:
        outage = OUTAGE.get()
        if outage is None or not outage.begins():
            return operation(database, what, *more)
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        failed.set_exception(Unavailable("The database cannot be reached at the moment"))
        return failed

    return do
