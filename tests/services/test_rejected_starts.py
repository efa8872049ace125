"""A start that is repeated or rejected does not disturb the commit of other executions.

All appends of a moment share a transaction. If one of them is not allowed, the transaction is rolled back, and each of
the appends is done again by itself.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, InvalidInput, TooManyRequests
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId
from flowrunner.ports.concurrency import ConcurrencyLimits, ConcurrencySlot
from flowrunner.storage.appends import AppendOp
from flowrunner.storage.concurrency import HAS_FREE_SLOT
from flowrunner.storage.executions import REQUEST
from flowrunner.storage.sqlite.transaction import SqliteTransaction
from flowrunner.storage.transaction import Transaction
from support.databases import rows_of
from support.dependencies import Machine, machine

SMALL = "nodes: {a: {type: log, params: {message: x}}}"
HELD = "nodes: {a: {type: wait, params: {key: go}}}"
REJECTS = "limits: {concurrency: {max: 1, on_limit: reject}}\n" + HELD
QUEUES = "limits: {concurrency: {max: 1}}\n" + HELD


@pytest.fixture
def redone(monkeypatch: pytest.MonkeyPatch) -> list[ExecutionId]:
    """Return the executions of all appends that are done by themselves, after the batch was rolled back."""
    found: list[ExecutionId] = []
    run = AppendOp.run

    async def noted(self: AppendOp, tx: Transaction) -> None:
        found.append(self.execution_id)
        await run(self, tx)

    monkeypatch.setattr(AppendOp, "run", noted)
    return found


class Outdated:
    """Concurrency limits that a new execution reads a moment too early. Implements `ports.ConcurrencyLimits`."""

    def __init__(self, concurrency: ConcurrencyLimits) -> None:
        self._concurrency = concurrency

    async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._concurrency, name)


async def rejected(engine: Machine, mara: Caller, flow: FlowId) -> None:
    with pytest.raises(Conflict, match="Concurrency limit reached: 1"):
        await engine.executions.run(mara, flow, {})


async def test_a_repeated_key_and_a_full_limit_cause_no_rollback_for_another_client(
    engine: Machine, mara: Caller, redone: list[ExecutionId]
) -> None:
    small, full, queue = (
        await engine.save(SMALL, "small"), await engine.save(REJECTS, "full"), await engine.save(QUEUES, "queue"),
    )  # fmt: skip
    first = await engine.executions.run(mara, small, {"n": 1}, idempotency_key="k")
    await engine.executions.run(mara, full, {})
    await engine.executions.run(mara, queue, {})
    is_over = False

    async def repeats() -> int:
        count = 0
        while not is_over:
            again = await engine.executions.run(mara, small, {"n": 1}, idempotency_key="k")
            assert (again.id, again.is_repeat) == (first.id, True)
            await rejected(engine, mara, full)
            await engine.executions.run(mara, queue, {})
            count += 1
        return count

    repeating = asyncio.ensure_future(repeats())
    for _ in range(20):
        await asyncio.gather(*(engine.executions.run(mara, small, {}) for _ in range(5)))
    is_over = True

    assert await repeating > 10
    assert redone == []
    assert rows_of(engine.path, "SELECT count(*) FROM executions WHERE flow_id = 'small'") == [(101,)]
    assert rows_of(engine.path, "SELECT count(*) FROM executions WHERE flow_id = 'full'") == [(1,)]


@pytest.mark.parametrize(
    ("change", "input"),
    [("UPDATE flows SET deleted_at = 1", {"n": 1}), ("UPDATE flows SET name = 'another'", {"n": 1})],
)
async def test_a_repeated_request_gets_its_answer_without_its_flow(
    engine: Machine, mara: Caller, redone: list[ExecutionId], change: str, input: dict[str, Any]
) -> None:
    flow = await engine.save(SMALL)
    first = await engine.executions.run(mara, flow, input, idempotency_key="k")
    await engine.database.write(lambda tx: tx.run(change))

    assert (await engine.executions.run(mara, flow, input, idempotency_key="k")).id == first.id
    with pytest.raises(InvalidInput, match="another request"):
        await engine.executions.run(mara, flow, {"n": 2}, idempotency_key="k")
    assert redone == []


async def test_requests_with_one_key_at_the_same_moment_start_one_execution(
    engine: Machine, mara: Caller, redone: list[ExecutionId]
) -> None:
    """Each of them reads that the key is free; the commit decides."""
    flow = await engine.save(SMALL)

    started = await asyncio.gather(*(engine.executions.run(mara, flow, {}, idempotency_key="k") for _ in range(5)))

    assert len({one.id for one in started}) == 1
    assert sorted(one.is_repeat for one in started) == [False, True, True, True, True]
    assert redone
    assert rows_of(engine.path, "SELECT count(*) FROM executions") == [(1,)]


async def test_a_slot_that_is_taken_after_it_was_read_is_not_given_twice(
    tmp_path: Path, mara: Caller, redone: list[ExecutionId]
) -> None:
    path = tmp_path / "flowrunner.db"
    async with machine(path, wrap_concurrency=Outdated) as engine:
        full, queue = await engine.save(REJECTS, "full"), await engine.save(QUEUES, "queue")
        for flow in (full, queue):
            await engine.executions.run(mara, flow, {})

        await rejected(engine, mara, full)
        queued = await engine.executions.run(mara, queue, {})

        assert redone
        assert queued.status is Status.RUNNING
        counts = rows_of(path, "SELECT flow_id, count(*), sum(is_queued) FROM executions GROUP BY flow_id ORDER BY 1")
        assert counts == [("full", 1, 0), ("queue", 2, 1)]


async def test_a_request_that_is_overtaken_by_another_with_its_key_gets_the_answer_of_that(
    tmp_path: Path, mara: Caller
) -> None:
    """It reads that the key is free; then the other one takes the only slot."""
    reached, may_read = asyncio.Event(), asyncio.Event()

    class Late(Outdated):
        async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
            if not reached.is_set():
                reached.set()
                await may_read.wait()
            return await self._concurrency.has_free_slot(slot)

    async with machine(tmp_path / "flowrunner.db", wrap_concurrency=Late) as engine:
        full = await engine.save(REJECTS)
        overtaken = asyncio.ensure_future(engine.executions.run(mara, full, {}, idempotency_key="k"))
        await reached.wait()
        first = await engine.executions.run(mara, full, {}, idempotency_key="k")
        may_read.set()

        assert (await overtaken).id == first.id
        await rejected(engine, mara, full)


async def test_a_request_that_is_overtaken_by_another_with_its_key_in_a_full_queue_gets_the_answer_of_that(
    tmp_path: Path, mara: Caller
) -> None:
    """It reads that the key is free; then the other one takes the only place in the queue."""
    is_held, reached, may_read = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Late(Outdated):
        async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
            if is_held.is_set() and not reached.is_set():
                reached.set()
                await may_read.wait()
            return await self._concurrency.has_free_slot(slot)

    async with machine(tmp_path / "flowrunner.db", wrap_concurrency=Late) as engine:
        engine.executions._usage._limits = WorkspaceLimits(queued=1)
        queue = await engine.save(QUEUES)
        await engine.executions.run(mara, queue, {})
        is_held.set()
        overtaken = asyncio.ensure_future(engine.executions.run(mara, queue, {}, idempotency_key="k"))
        await reached.wait()
        first = await engine.executions.run(mara, queue, {}, idempotency_key="k")
        may_read.set()

        assert (await overtaken).id == first.id
        with pytest.raises(TooManyRequests):
            await engine.executions.run(mara, queue, {})


async def test_a_slot_that_becomes_free_after_it_was_read_is_given_to_the_execution_that_was_queued(
    tmp_path: Path, mara: Caller
) -> None:
    class Early(Outdated):
        async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
            return False

    async with machine(tmp_path / "flowrunner.db", wrap_concurrency=Early) as engine:
        queued = await engine.executions.run(mara, await engine.save(QUEUES.replace(HELD, SMALL)), {})

        assert await engine.until_ended(queued.id) is Status.COMPLETED


async def test_a_start_without_key_and_limit_reads_neither(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[object] = []
    row = SqliteTransaction.row

    async def noted(self: SqliteTransaction, statement: Any, *values: Any) -> Any:
        statements.append(statement)
        return await row(self, statement, *values)

    small, limited = await engine.save(SMALL, "small"), await engine.save(REJECTS, "limited")
    monkeypatch.setattr(SqliteTransaction, "row", noted)

    await engine.executions.run(mara, small, {})
    assert {REQUEST, HAS_FREE_SLOT}.isdisjoint(statements)
    await engine.executions.run(mara, limited, {}, idempotency_key="k")
    assert {REQUEST, HAS_FREE_SLOT} <= set(statements)
