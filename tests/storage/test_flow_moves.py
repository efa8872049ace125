"""Moves of flows between workspaces: what they take along, and what rejects them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.errors import Conflict, LimitReached, NotFound
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.executions import ExecutionFilter
from flowrunner.ports.flows import SavedFlow
from flowrunner.storage import flow_moves
from flowrunner.storage.database import Database
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flow_moves import SqlFlowMoves
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.transaction import Refused
from flowrunner.storage.usage import SqlUsage
from support.database_work import WritesCounted, gather_statistics
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR, Place, change, completion, creation, rows_of
from support.invariants import check_database

from .samples import ALL, flow

MOVED = FlowId("f")


class Moves(SqlFlowMoves):
    """Moves of a flow of Mara, with a history."""

    def __init__(self, database: Database, journal: SqlJournal) -> None:
        super().__init__(database)
        self.flows, self.executions, self.usage = SqlFlows(database), SqlExecutions(database), SqlUsage(database)
        self.journal = journal
        self.epoch = 0

    async def set_up(self, *, executions: int = 5, revisions: int = 3) -> "Moves":
        self.epoch = await self.journal.claim()
        await self.flows.create(MARA, flow(MOVED, revision="f-1", definition="é" * 100))
        for n in range(2, revisions + 1):
            await self.flows.update(MARA, MOVED, lambda old, n=n: _revised(old, n))  # type: ignore[misc]
        for n in range(executions):
            await self.execution(f"e{n:03}", key=f"key-{n}")
        return self

    async def execution(
        self, id: str, *, key: str | None = None, workspace_id: WorkspaceId = MARA, flow_id: str = MOVED
    ) -> None:
        await self.journal.append(self.creation(id, key=key, workspace_id=workspace_id, flow_id=flow_id))
        await self.journal.append(completion(id, epoch=self.epoch))

    def creation(self, id: str, *, key: str | None = None, workspace_id: WorkspaceId = MARA, flow_id: str = MOVED):  # type: ignore[no-untyped-def]
        append = creation(id, epoch=self.epoch, workspace_id=workspace_id, flow_id=flow_id, key=key, digest=key)
        if flow_id != MOVED:
            return append
        assert append.create is not None
        return replace(append, create=replace(append.create, revision_id=RevisionId("f-1")))

    async def listed(self, workspace_id: WorkspaceId) -> list[str]:
        found = (await self.executions.page(workspace_id, ExecutionFilter(flow_id=MOVED), ALL)).items
        return sorted(view.id for view in found)

    async def complete(self) -> None:
        while await self.advance(MOVED):
            pass


def _revised(old: SavedFlow, number: int) -> SavedFlow:
    return replace(old, definition="x" * number, revision_id=RevisionId(f"f-{number}"))


@pytest.fixture
def moves(database: Database, journal: SqlJournal) -> Moves:
    return Moves(database, journal)


async def test_a_flow_moves_with_its_revisions_and_executions(moves: Moves, path: Place) -> None:
    before = await moves.usage.stored(MARA), await moves.usage.stored(OMAR)
    await moves.set_up()
    taken = await moves.usage.stored(MARA) - before[0]
    ids = await moves.listed(MARA)

    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)
    await moves.complete()

    assert await moves.listed(OMAR) == ids
    assert await moves.listed(MARA) == []
    revisions, total = await moves.flows.revisions(OMAR, MOVED, page=ALL)
    assert (total, {revision.created_by for revision in revisions}) == (3, {MARA_ACCOUNT})
    assert await moves.flows.definition(OMAR, RevisionId("f-1")) == "é" * 100
    assert (await moves.executions.get(OMAR, ExecutionId("e000"))).revision == 1
    with pytest.raises(NotFound):
        await moves.flows.get(MARA, MOVED)
    with pytest.raises(NotFound):
        await moves.executions.get(MARA, ExecutionId("e000"))
    assert await moves.usage.stored(MARA) == before[0]
    assert await moves.usage.stored(OMAR) == before[1] + taken
    assert await moves.incomplete() == []
    assert check_database(path) == []


async def test_usage_is_exact_and_nothing_is_lost_after_every_part_of_a_long_move(
    moves: Moves, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_moves, "_EXECUTIONS_AT_ONCE", 2)
    monkeypatch.setattr(flow_moves, "_REVISION_BYTES_AT_ONCE", 1)
    await moves.set_up(executions=7, revisions=6)
    total = await moves.usage.stored(MARA) + await moves.usage.stored(OMAR)

    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)
    parts, has_more = 0, True
    while has_more:
        assert await moves.usage.stored(MARA) + await moves.usage.stored(OMAR) == total
        assert len(await moves.listed(MARA)) + len(await moves.listed(OMAR)) == 7
        assert (await moves.flows.revision(OMAR, MOVED, 1)).definition == "é" * 100
        assert check_database(path) == []
        assert await moves.incomplete() == [MOVED]
        parts, has_more = parts + 1, await moves.advance(MOVED)

    assert parts > 4
    assert await moves.incomplete() == []
    assert len(await moves.listed(OMAR)) == 7
    assert await moves.listed(MARA) == []


def store_requests(path: Place, count: int) -> None:
    change(
        path,
        "INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, created_at)"
        " VALUES ('t', ?, ?, 'in', 'webhook', 'null', 0)",
        *(MARA, MOVED),
    )
    for n in range(count):
        change(
            path,
            "INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, request, size)"
            " VALUES (?, ?, 't', 0, 'skipped', '{}', 2)",
            *(f"hook-{n}", MARA),
        )


async def test_stored_requests_move_a_few_at_a_time(moves: Moves, path: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_moves, "_REQUESTS_AT_ONCE", 2)
    await moves.set_up(executions=0, revisions=1)
    store_requests(path, 5)

    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)

    moved = "SELECT count(*) FROM hook_deliveries WHERE workspace_id = ?"
    counts = [rows_of(path, moved, OMAR)[0][0]]
    while await moves.advance(MOVED):
        counts.append(rows_of(path, moved, OMAR)[0][0])
    assert counts == [2, 4]
    assert rows_of(path, moved, OMAR) == [(5,)]
    assert check_database(path) == []


async def test_the_newest_executions_move_first(moves: Moves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_moves, "_EXECUTIONS_AT_ONCE", 2)
    await moves.set_up()

    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)

    assert await moves.listed(OMAR) == ["e003", "e004"]
    assert await moves.executions.request(OMAR, "key-4") == ("e004", "key-4")


async def test_keys_move_along_unless_the_target_has_the_same_one(moves: Moves, path: Place) -> None:
    await moves.set_up()
    await moves.execution("o", key="key-1", workspace_id=OMAR, flow_id="flow-omar")

    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)
    await moves.complete()

    assert await moves.executions.request(OMAR, "key-1") == ("o", "key-1")
    assert await moves.executions.request(OMAR, "key-2") == ("e002", "key-2")
    assert await moves.executions.request(MARA, "key-2") is None
    assert rows_of(path, "SELECT idempotency_key FROM executions WHERE id = 'e001'") == [(None,)]


async def test_a_flow_with_open_executions_does_not_move(moves: Moves) -> None:
    await moves.set_up()
    await moves.journal.append(moves.creation("open"))

    with pytest.raises(Conflict, match=r"The flow has 1 open execution: cancel"):
        await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)

    assert len(await moves.listed(MARA)) == 6
    await moves.journal.append(completion("open", epoch=moves.epoch))
    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)


async def test_a_flow_does_not_move_where_the_limits_are_reached(moves: Moves, path: Place) -> None:
    before = await moves.usage.stored(MARA)
    await moves.set_up()
    store_requests(path, 3)
    size = await moves.usage.stored(MARA) - before + await moves.usage.stored(OMAR)

    for limits in (WorkspaceLimits(flows=1), WorkspaceLimits(stored=size - 1)):
        with pytest.raises(LimitReached):
            await moves.begin(MARA, MOVED, OMAR, limits=limits)

    assert len(await moves.listed(MARA)) == 5
    await moves.begin(MARA, MOVED, OMAR, limits=WorkspaceLimits(flows=2, stored=size))


async def test_a_flow_moves_only_between_workspaces_that_exist(moves: Moves) -> None:
    await moves.set_up()

    with pytest.raises(NotFound, match="Workspace"):
        await moves.begin(MARA, MOVED, WorkspaceId("workspace-none"), limits=UNLIMITED)
    with pytest.raises(NotFound, match="Flow"):
        await moves.begin(OMAR, MOVED, MARA, limits=UNLIMITED)


async def test_a_flow_that_is_moving_is_neither_moved_nor_erased(moves: Moves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_moves, "_EXECUTIONS_AT_ONCE", 2)
    await moves.set_up()
    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)

    with pytest.raises(Conflict, match="not complete"):
        await moves.begin(OMAR, MOVED, MARA, limits=UNLIMITED)
    await moves.flows.delete(OMAR, MOVED, at=NOON)
    assert not await moves.flows.purge(limit=10)
    await moves.complete()

    assert len(await moves.listed(OMAR)) == 5


async def test_no_execution_starts_where_the_flow_was(moves: Moves) -> None:
    await moves.set_up()
    await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)

    with pytest.raises(NotFound):
        await moves.journal.append(moves.creation("late"))
    await moves.journal.append(moves.creation("new", workspace_id=OMAR))


async def test_an_execution_moves_only_after_its_end_and_only_to_its_flow(moves: Moves, path: Place) -> None:
    await moves.set_up(executions=1)
    await moves.journal.append(moves.creation("open"))

    for statement in (
        f"UPDATE executions SET workspace_id = '{OMAR}' WHERE id = 'e000'",
        f"UPDATE executions SET workspace_id = '{MARA}' WHERE id = 'open'",
        "UPDATE executions SET idempotency_key = 'other' WHERE id = 'e000'",
        "UPDATE executions SET request_digest = 'other' WHERE id = 'e000'",
        "UPDATE executions SET error = 'other' WHERE id = 'e000'",
    ):
        with pytest.raises(Refused):
            change(path, statement)


async def test_a_move_does_not_read_the_requests_of_other_flows(moves: Moves, database: Database, path: Place) -> None:
    await moves.set_up(executions=0, revisions=1)
    for id, flow_id in (("other", "flow-1"), ("own", MOVED)):
        change(
            path,
            "INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, created_at)"
            " VALUES (?, ?, ?, 'in', 'webhook', 'null', 0)",
            id, MARA, flow_id,
        )  # fmt: skip
    change(
        path,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        " INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, request, size)"
        " SELECT 'hook-' || i, CAST(? AS text), CASE WHEN i <= 3 THEN 'own' ELSE 'other' END, i, 'started', '{}', 2"
        "   FROM n",
        MARA,
    )
    gather_statistics(path)
    counted: Any = WritesCounted(database)

    await SqlFlowMoves(counted).begin(MARA, MOVED, OMAR, limits=UNLIMITED)

    moved = "SELECT count(*) FROM hook_deliveries WHERE workspace_id = ?"
    assert rows_of(path, moved, OMAR) == [(3,)]
    # Instructions of SQLite, or rows that PostgreSQL reads.
    assert sum(counted.work) < (3_000 if isinstance(path, Path) else 100), counted.work
