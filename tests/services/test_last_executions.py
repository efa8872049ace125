"""`trigger.last` of schedules on a real database: the execution where the next one begins."""

import dataclasses
import json
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId, WorkspaceId, rfc3339
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.triggers import TriggerView
from flowrunner.services.flows import Flows
from flowrunner.services.reruns import RerunRequest
from flowrunner.storage.schedules import SqlSchedules
from support.databases import NOON, rows_of
from support.dependencies import Machine

from .test_schedules import QUARTER, WAITING, World, server_of, world

# Fails the second time, unless its input is mended.
COUNTING = """nodes:
  check:
    type: switch
    params: {cases: [{when: "input.n == 2 && !input.mended", action: bad}]}
    next: {bad: stop, default: done}
  stop: {type: fail, params: {message: broken}}
  done: {type: return, params: {value: {n: "${flow.input.n}"}}}
"""
FROM_LAST = 'input: {n: "${(trigger.last?.result.n ?? 0) + 1}", last: "${trigger.last}"}'


async def inputs_of(one: World) -> list[dict[str, Any]]:
    """Return the inputs of all executions in the order of their starts, after their ends."""
    ids = [id for (id,) in rows_of(one.engine.path, "SELECT id FROM executions ORDER BY id")]
    for id in ids:
        await one.engine.until_ended(id)
    return [json.loads((await one.engine.executions.get(one.caller, id)).input) for id in ids]


async def test_an_execution_begins_where_the_last_completed_one_has_ended(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    one = await world(engine, flows, mara, f"every: 15m, {FROM_LAST}")

    await one.advance(minutes=15)
    (first,) = await inputs_of(one)
    await one.advance(minutes=15)
    _, second = await inputs_of(one)

    assert first == {"n": 1, "last": None}
    (before, _) = rows_of(engine.path, "SELECT id FROM executions ORDER BY id")
    ended = await engine.executions.get(mara, before[0])
    assert ended.completed_at is not None
    assert second["last"] == {
        "id": before[0],
        "due_at": "2027-01-01T12:15:00.000Z",
        "started_at": rfc3339(ended.started_at),
        "completed_at": rfc3339(ended.completed_at),
        "result": first,
    }


async def test_a_failed_execution_is_not_the_last_one_until_a_rerun_has_repaired_it(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    one = await world(engine, flows, mara, f"every: 15m, {FROM_LAST}", COUNTING)

    for _ in range(3):
        await one.advance(minutes=15)
        seen = [given["n"] for given in await inputs_of(one)]
    failed = rows_of(engine.path, "SELECT id FROM executions WHERE status = 'failed' ORDER BY id DESC")[0][0]
    again = await engine.reruns.rerun(mara, failed, RerunRequest(input={"n": 2, "mended": True}))
    await engine.until_ended(again.id)
    await one.advance(minutes=15)

    assert seen == [1, 2, 2]
    last = (await inputs_of(one))[-1]
    assert (last["n"], last["last"]["id"]) == (3, again.id)
    # It stands for the execution that it has repaired.
    assert last["last"]["due_at"] == "2027-01-01T12:45:00.000Z"


async def test_a_start_by_hand_counts_as_the_last_one_and_a_backfill_does_not(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    one = await world(engine, flows, mara, f"every: 15m, {FROM_LAST}")

    await one.advance(minutes=15)
    await inputs_of(one)
    await one.servers[0].start_now(mara, await one.trigger(), idempotency_key=None)
    await inputs_of(one)
    await one.servers[0].start_late(mara, await one.trigger(), NOON - QUARTER)
    given = await inputs_of(one)
    await one.advance(minutes=15)

    assert [each["n"] for each in given] == [1, 2, 1]
    assert given[2]["last"] is None
    assert (await inputs_of(one))[-1]["n"] == 3


async def test_executions_that_wait_in_a_queue_have_the_last_one_of_the_time_at_which_they_were_queued(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    """As the warning says; what they have seen stays, although the open one completes meanwhile."""
    one = await world(engine, flows, mara, f"every: 15m, overlap: queue, {FROM_LAST}", WAITING)

    for _ in range(2):
        await one.advance(minutes=15)
    open_ones = [id for (id,) in rows_of(engine.path, "SELECT id FROM executions ORDER BY id")]
    for id in open_ones:
        await engine.until_parked(id)
        await engine.dispatcher.signal(id, Signal(key="signal:go", payload={"n": 7}, by=mara.account_id))
        await engine.until_ended(id)
    await one.advance(minutes=15)

    given = [json.loads((await engine.executions.get(mara, id)).input)["n"] for id in open_ones]
    latest = (await one.trigger()).last_execution_id
    assert latest is not None
    assert given == [1, 1]
    assert json.loads((await engine.executions.get(mara, latest)).input)["n"] == 8


async def test_a_schedule_whose_input_does_not_read_the_last_execution_does_not_look_for_it(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    looked_for: list[str] = []

    class Noting(SqlSchedules):
        async def last_completed(self, workspace_id: WorkspaceId, id: Any, *, most: int) -> Any:
            looked_for.append(id)
            return await super().last_completed(workspace_id, id, most=most)

    one = await world(engine, flows, mara, 'every: 15m, input: {all: "${trigger}", due: "${trigger.due_at}"}')
    one.servers = [server_of(engine, one.outcomes, store=Noting)]

    for _ in range(2):
        await one.advance(minutes=15)
        await inputs_of(one)

    assert looked_for == []
    assert [sorted(given["all"]) for given in await inputs_of(one)] == [
        ["at", "due_at", "due_local", "name", "type"]
    ] * 2


async def test_a_last_result_of_a_mebibyte_is_read_and_one_that_is_longer_starts_nothing(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    repeating = "nodes: {a: {type: return, params: {value: {n: 1, text: \"${'x'.repeat(vars.length)}\"}}}}"
    last_size = """
SELECT length(e.data) FROM events e JOIN executions x ON e.execution_id = x.id AND e.seq = x.last_seq
 ORDER BY x.id DESC LIMIT 1
"""

    async def second_start(length: int) -> tuple[int, TriggerView]:
        """Return the length of the first end, and the trigger after its second due time."""
        nodes = f"vars: {{length: {length}}}\n{repeating}"
        one = await world(engine, flows, mara, 'every: 15m, input: {n: "${trigger.last?.result.n ?? 0}"}', nodes)
        await one.advance(minutes=15)
        await inputs_of(one)
        ((size,),) = rows_of(engine.path, last_size)
        await one.advance(minutes=15)
        await inputs_of(one)
        after = await one.trigger()
        await flows.delete(mara, one.flow_id)
        return size, after

    overhead = (await second_start(10))[0] - 10

    fits = await second_start(1024 * 1024 - overhead)
    too_large = await second_start(1024 * 1024 - overhead + 1)

    assert (fits[0], fits[1].failures, fits[1].error) == (1024 * 1024, 0, None)
    assert (too_large[0], too_large[1].failures) == (1024 * 1024 + 1, 1)
    assert "is too large: trigger.last may have 1048576 bytes" in str(too_large[1].error)


async def test_a_start_whose_last_execution_is_always_just_deleted_is_tried_again_later(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    """As retention may delete one after the other while the start looks for them."""

    class Deleting(SqlSchedules):
        async def last_completed(self, workspace_id: WorkspaceId, id: Any, *, most: int) -> Any:
            found = await super().last_completed(workspace_id, id, most=most)
            return found if found is None else dataclasses.replace(found, completed=ExecutionId("exec-deleted"))

    one = await world(engine, flows, mara, f"every: 15m, {FROM_LAST}")
    await one.advance(minutes=15)
    await inputs_of(one)
    kept, one.servers = one.servers, [server_of(engine, one.outcomes, store=Deleting)]

    with pytest.raises(Unavailable):
        await one.advance(minutes=15)
    one.servers = kept
    await one.advance(seconds=1)

    assert [given["n"] for given in await inputs_of(one)] == [1, 2]
    assert (await one.trigger()).failures == 0
