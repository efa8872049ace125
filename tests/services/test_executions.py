"""Executions: how they are accepted, repeated, read, cancelled and purged."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import Conflict, InvalidInput, NotFound, QueueFull, Unavailable
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.retention import RetentionRule
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, RevisionId, WorkspaceId
from flowrunner.plugin import HttpAnswer
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.executions import ExecutionFilter, LogFilter
from flowrunner.ports.page import Listed, Page
from flowrunner.schemas import RustSchemas
from flowrunner.services.executions import LINES_AT_ONCE, Executions, StartedExecution, StartRequest
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.retention import Retention
from flowrunner.services.start_slots import MOST_WAITING_OF_ACCOUNT
from flowrunner.services.usage import UsageLimits
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.retention import SqlRetention
from flowrunner.storage.usage import SqlUsage
from support.databases import MARA_ACCOUNT, NOON, account, rows_of
from support.dependencies import Machine, Request, answer, never

SMALL = "metadata: {name: N, description: D, version: '1', tags: [a]}\nnodes: {a: {type: return}}\n"
ALL = Page(limit=1000, offset=0)


@pytest.fixture
def executions(engine: Machine) -> Executions:
    return engine.executions


async def test_an_execution_exists_when_it_has_been_accepted(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))

    accepted = await executions.run(mara, flow.id, {"a": 1})

    assert (await executions.get(mara, accepted.id)).input == b'{"a":1}'
    assert accepted.status is Status.RUNNING
    assert await engine.until_ended(accepted.id) is Status.COMPLETED


async def test_an_execution_goes_on_with_the_revision_it_started_with(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    waiting = (
        "metadata: {name: N}\n"
        "nodes: {a: {type: delay, params: {duration: 1h}, next: b}, b: {type: return, params: {value: %d}}}"
    )
    flow = await flows.create(mara, FlowDraft(definition=waiting % 1))
    accepted = await executions.run(mara, flow.id, {})
    await engine.until_parked(accepted.id)

    await flows.update(mara, flow.id, FlowDraft(definition=waiting % 2))
    await flows.delete(mara, flow.id)
    engine.clock.advance(hours=2)
    engine.look_at_timers()
    await engine.until_ended(accepted.id)

    assert (await executions.get(mara, accepted.id)).result == b"1"
    with pytest.raises(NotFound):
        await executions.run(mara, flow.id, {})


async def test_the_same_request_makes_one_execution(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))
    asked = [executions.run(mara, flow.id, {"a": 1, "b": [2]}, idempotency_key="k") for _ in range(5)]

    accepted = await asyncio.gather(*asked)
    later = await executions.run(mara, flow.id, {"b": [2], "a": 1}, idempotency_key="k")

    assert len({a.id for a in (*accepted, later)}) == 1
    assert [a.is_repeat for a in accepted].count(False) == 1
    assert later.is_repeat
    assert rows_of(engine.path, "SELECT count(*) FROM executions") == [(1,)]


async def test_a_repeated_request_gets_its_first_answer_also_when_the_flow_is_gone(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))
    first = await executions.run(mara, flow.id, {"a": 1}, idempotency_key="k")
    await engine.until_ended(first.id)
    await flows.delete(mara, flow.id)

    again = await executions.run(mara, flow.id, {"a": 1}, idempotency_key="k")

    assert (again.id, again.is_repeat, again.created_at) == (first.id, True, first.created_at)
    with pytest.raises(InvalidInput, match="another request"):
        await executions.run(mara, flow.id, {"a": 2}, idempotency_key="k")
    for key in (None, "other"):
        with pytest.raises(NotFound):
            await executions.run(mara, flow.id, {"a": 1}, idempotency_key=key)


async def test_a_repeated_request_gets_its_first_answer_also_when_the_flow_s_limit_fits_it_no_more(
    flows: Flows, executions: Executions, mara: Caller
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))
    first = await executions.run(mara, flow.id, {"a": 1}, idempotency_key="k")
    limited = "limits: {concurrency: {max: 1, key: '${input.region.code}'}}\n" + SMALL
    await flows.update(mara, flow.id, FlowDraft(definition=limited))
    with pytest.raises(InvalidInput):
        await executions.run(mara, flow.id, {"a": 1}, idempotency_key="other")

    again = await executions.run(mara, flow.id, {"a": 1}, idempotency_key="k")

    assert (again.id, again.is_repeat) == (first.id, True)


async def test_a_key_of_a_limit_is_the_same_whatever_the_order_of_its_members(
    flows: Flows, executions: Executions, mara: Caller
) -> None:
    limited = "limits: {concurrency: {max: 1, key: '${input}', on_limit: reject}}\n"
    flow = await flows.create(
        mara, FlowDraft(definition=limited + "nodes: {a: {type: wait, params: {key: k}}}\nmetadata: {name: F}")
    )
    await executions.run(mara, flow.id, {"a": {"b": 1, "c": 2}, "d": 3})

    with pytest.raises(Conflict):
        await executions.run(mara, flow.id, {"d": 3, "a": {"c": 2, "b": 1}})
    await executions.run(mara, flow.id, {"d": 3, "a": {"c": 1, "b": 2}})


@pytest.mark.parametrize("x", ["x" * 20_000, [[]] * 20_000, [1.5e-5] * 20_000])
async def test_a_key_of_a_limit_is_rejected_before_much_of_it_is_evaluated(
    flows: Flows, executions: Executions, mara: Caller, x: JSON
) -> None:
    limit = 'limits: {concurrency: {max: 1, key: "${flow.input.x} ${flow.input.x}"}}\n'
    flow = await flows.create(mara, FlowDraft(definition=limit + SMALL))

    with pytest.raises(InvalidInput) as error:
        await executions.run(mara, flow.id, {"x": x})

    (fault,) = error.value.faults
    assert fault.message == "The key of limits.concurrency is longer than 16384 characters"


async def test_a_key_of_a_limit_is_as_long_as_its_bound(flows: Flows, executions: Executions, mara: Caller) -> None:
    limit = 'limits: {concurrency: {max: 2, key: "${flow.input.x}${flow.input.x}"}}\n'
    flow = await flows.create(mara, FlowDraft(definition=limit + SMALL))

    await executions.run(mara, flow.id, {"x": "x" * 8_192})

    with pytest.raises(InvalidInput, match="longer than 16384 characters"):
        await executions.run(mara, flow.id, {"x": "x" * 8_193})


async def test_an_execution_that_is_started_while_its_flow_is_deleted_does_not_exist(
    flows: Flows, engine: Machine, mara: Caller
) -> None:
    class Library:
        """Compiled flows whose flow is deleted while it is compiled. Implements `ports.CompiledFlows`."""

        async def get(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> Flow:
            await flows.delete(mara, saved.id)
            return await engine.library.get(workspace_id, revision_id)

    saved = await flows.create(mara, FlowDraft(definition=SMALL))
    store, reader = SqlFlows(engine.database), SqlExecutions(engine.database)

    executions = Executions(
        reader, store, Library(), engine.dispatcher, concurrency=SqlConcurrencyLimits(engine.database),
        usage=UsageLimits(SqlUsage(engine.database), UNLIMITED, engine.clock), sandbox=engine.deps.sandbox,
        schemas=RustSchemas(), clock=engine.clock, config=SqlConfig(engine.database),
    )  # fmt: skip
    with pytest.raises(NotFound):
        await executions.run(mara, saved.id, {})

    assert rows_of(engine.path, "SELECT count(*) FROM executions") == [(0,)]
    assert engine.dispatcher.active == 0


async def test_the_same_key_for_another_request_is_rejected(flows: Flows, executions: Executions, mara: Caller) -> None:
    flow, other = (
        await flows.create(mara, FlowDraft(definition=SMALL)),
        await flows.create(mara, FlowDraft(definition=SMALL)),
    )
    await executions.run(mara, flow.id, {"a": 1}, idempotency_key="k")

    for flow_id, input in ((flow.id, {"a": 2}), (other.id, {"a": 1}), (flow.id, {})):
        with pytest.raises(InvalidInput, match="another request"):
            await executions.run(mara, flow_id, input, idempotency_key="k")


async def test_two_accounts_may_use_the_same_key(
    flows: Flows, executions: Executions, mara: Caller, omar: Caller
) -> None:
    accepted = {}
    for caller in (mara, omar):
        flow = await flows.create(caller, FlowDraft(definition=SMALL))
        accepted[caller] = await executions.run(caller, flow.id, {}, idempotency_key="k")

    for caller in (mara, omar):
        id = accepted[caller].id
        flow_id = (await executions.get(caller, id)).flow_id
        assert (await executions.run(caller, flow_id, {}, idempotency_key="k")).id == id


async def test_a_concurrency_limit_counts_the_executions_of_its_own_flow_alone(
    flows: Flows, executions: Executions, mara: Caller
) -> None:
    limited = (
        "metadata: {name: N}\n"
        "limits: {concurrency: {max: 1, key: '${flow.input.customer}', on_limit: reject}}\n"
        "nodes: {a: {type: wait, params: {key: go}}}"
    )
    one, other = [await flows.create(mara, FlowDraft(definition=limited)) for _ in range(2)]

    await executions.run(mara, one.id, {"customer": 1})
    await executions.run(mara, other.id, {"customer": 1})

    for flow in (one, other):
        with pytest.raises(Conflict):
            await executions.run(mara, flow.id, {"customer": 1})


async def test_a_step_that_asks_again_finds_the_execution_that_it_has_started(
    flows: Flows, engine: Machine, mara: Caller
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))
    step = ChildOf(execution_id=ExecutionId("exec-parent"), step="call.1", failures=0, flows=(), is_awaited=False)

    # After a crash, the input's expressions may have other values.
    first = await engine.deps.flows.start(mara.workspace_id, step, flow.id, version=None, input={"at": 1})
    again = await engine.deps.flows.start(mara.workspace_id, step, flow.id, version=None, input={"at": 2})
    after_a_failure = await engine.deps.flows.start(
        mara.workspace_id, replace(step, failures=1), flow.id, version=None, input={"at": 2}
    )

    assert again == first != after_a_failure
    assert (await engine.executions.get(mara, ExecutionId(first.execution_id))).input == b'{"at":1}'


async def test_another_s_execution_does_not_exist(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller, omar: Caller
) -> None:
    engine.http.at("http://peer/", never)
    flow = await flows.create(
        mara,
        FlowDraft(definition="metadata: {name: N}\nnodes: {a: {type: http.request, params: {url: 'http://peer/'}}}"),
    )
    accepted = await executions.run(mara, flow.id, {})

    with pytest.raises(NotFound):
        await executions.get(omar, accepted.id)
    with pytest.raises(NotFound):
        await executions.logs(omar, accepted.id, LogFilter(), ALL)
    with pytest.raises(NotFound):
        await executions.cancel(omar, accepted.id)
    with pytest.raises(NotFound):
        await executions.run(omar, flow.id, {})
    assert await executions.page(omar, ExecutionFilter(), ALL) == Listed(items=[], total=0)
    assert (await executions.get(mara, accepted.id)).status is Status.RUNNING


async def test_a_page_of_the_log_ends_where_its_total_was_counted(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    lines = "{type: foreach, params: {items: '${input.lines}'}, nodes: {say: {type: log, params: {message: m}}}"
    definition = f"""
metadata: {{name: N}}
nodes:
  before: {lines}, next: pause}}
  pause: {{type: wait, params: {{key: go}}, next: after}}
  after: {lines}}}
"""
    flow = await flows.create(mara, FlowDraft(definition=definition))
    accepted = await executions.run(mara, flow.id, {"lines": list(range(60))})
    await engine.until_parked(accepted.id)

    portions, listed = await executions.logs(mara, accepted.id, LogFilter(), Page(limit=1000))
    await engine.dispatcher.signal(accepted.id, Signal(key="signal:go", payload={"lines": list(range(60))}))
    await engine.until_ended(accepted.id)
    shown = [line async for portion in portions for line in portion]

    assert (len(shown), listed.next_cursor) == (listed.total, None)
    _, later = await executions.logs(mara, accepted.id, LogFilter(), Page(limit=1000, cursor=str(shown[-1].seq)))
    assert (later.total or 0) >= len(shown) + 60
    # Less than one portion, more than one, and more than two.
    for limit, lengths in ((5, [5]), (55, [50, 5]), (105, [50, 50, 5])):
        assert LINES_AT_ONCE == 50
        portions, _ = await executions.logs(mara, accepted.id, LogFilter(), Page(limit=limit))
        assert [len(portion) async for portion in portions] == lengths


async def test_a_cancel_returns_when_the_execution_has_ended(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    engine.http.at("http://peer/", never)
    flow = await flows.create(
        mara,
        FlowDraft(definition="metadata: {name: N}\nnodes: {a: {type: http.request, params: {url: 'http://peer/'}}}"),
    )
    accepted = await executions.run(mara, flow.id, {})

    await executions.cancel(mara, accepted.id)

    assert (await executions.get(mara, accepted.id)).status is Status.CANCELLED
    with pytest.raises(Conflict):
        await executions.cancel(mara, accepted.id)
    with pytest.raises(NotFound):
        await executions.cancel(mara, ExecutionId("nobody"))


async def test_all_of_an_account_s_executions_are_cancelled(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    flow = await flows.create(
        mara, FlowDraft(definition="metadata: {name: N}\nnodes: {a: {type: delay, params: {duration: 1h}}}")
    )
    for _ in range(250):
        await executions.run(mara, flow.id, {})

    await executions.cancel_all(mara.workspace_id)

    assert rows_of(engine.path, "SELECT status, count(*) FROM executions GROUP BY status") == [("cancelled", 250)]


async def test_a_step_that_begins_after_its_workspace_was_deleted_waits_for_its_cancellation(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    let_go = asyncio.Event()

    async def slow(request: Request) -> HttpAnswer:
        await let_go.wait()
        return answer()

    engine.http.at("http://peer/a", slow, slow)
    alarm = "c: {type: webhook, params: {url: 'http://peer/alarm'}}"
    for name, second in (("x", "transform, params: {value: '${secrets.GONE}'}"), ("y", "flow, params: {flow: gone}")):
        first = "a: {type: webhook, params: {url: 'http://peer/a'}, next: b}"
        document = f"metadata: {{name: {name}}}\non_failure: c\nnodes: {{{first}, b: {{type: {second}}}, {alarm}}}"
        await executions.run(mara, (await flows.create(mara, FlowDraft(definition=document))).id, {})
    await engine.until_requested("http://peer/a", 2)
    await SqlAccounts(engine.database).create(account("someone-else"), password_hash="x")
    await SqlAccounts(engine.database).delete(MARA_ACCOUNT, at=NOON)
    let_go.set()
    # Their next steps begin meanwhile.
    for _ in range(100):
        await asyncio.sleep(0)

    await executions.cancel_all(mara.workspace_id)

    assert rows_of(engine.path, "SELECT status, count(*) FROM executions GROUP BY status") == [("cancelled", 2)]
    assert [request.url for request in engine.http.requests] == ["http://peer/a"] * 2


async def test_all_of_an_account_s_executions_are_cancelled_although_some_end_meanwhile(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = await flows.create(
        mara, FlowDraft(definition="metadata: {name: N}\nnodes: {a: {type: wait, params: {key: go}}}")
    )
    for _ in range(3):
        await executions.run(mara, flow.id, {})
    cancel = engine.dispatcher.cancel

    async def end_before(id: ExecutionId, **more: Any) -> None:
        await cancel(id, **more)
        raise Conflict("The execution has already ended")

    monkeypatch.setattr(engine.dispatcher, "cancel", end_before)
    await executions.cancel_all(mara.workspace_id)

    assert rows_of(engine.path, "SELECT status, count(*) FROM executions GROUP BY status") == [("cancelled", 3)]


async def test_many_of_an_account_s_executions_are_cancelled_together_and_an_outage_of_one_stops_no_other(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = await flows.create(
        mara, FlowDraft(definition="metadata: {name: N}\nnodes: {a: {type: wait, params: {key: go}}}")
    )
    ids = [(await executions.run(mara, flow.id, {})).id for _ in range(30)]
    cancel, begun, most = engine.dispatcher.cancel, 0, 0

    async def cancel_slowly(id: ExecutionId, **more: Any) -> None:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        await asyncio.sleep(0.01)
        begun -= 1
        if id == ids[0]:
            raise Unavailable("away")
        await cancel(id, **more)

    monkeypatch.setattr(engine.dispatcher, "cancel", cancel_slowly)
    with pytest.raises(Unavailable):
        await executions.cancel_open(mara.workspace_id)

    # The oldest are first, and a turn has been completed.
    assert (begun, most) == (0, 20)
    assert rows_of(engine.path, "SELECT status, count(*) FROM executions GROUP BY status ORDER BY status") == [
        ("cancelled", 19), ("waiting", 11),
    ]  # fmt: skip


async def test_only_executions_that_ended_long_ago_are_purged(
    flows: Flows, executions: Executions, engine: Machine, mara: Caller
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))
    waiting = await flows.create(
        mara, FlowDraft(definition="metadata: {name: N}\nnodes: {a: {type: delay, params: {duration: 9d}}}")
    )
    old = [(await executions.run(mara, flow.id, {})).id for _ in range(450)]
    parked = (await executions.run(mara, waiting.id, {})).id
    for id in old:
        await engine.until_ended(id)
    engine.clock.advance(days=2)
    recent = (await executions.run(mara, flow.id, {})).id
    await engine.until_ended(recent)

    rule = RetentionRule(max_age=timedelta(days=1))
    assert await Retention(SqlRetention(engine.database), engine.clock, installation=rule).purge() == 450

    left = await executions.page(mara, ExecutionFilter(), ALL)
    assert ({e.id for e in left.items}, left.total) == ({parked, recent}, 2)
    assert rows_of(engine.path, "SELECT count(DISTINCT execution_id) FROM events") == [(2,)]


async def test_starts_of_one_account_wait_and_are_refused_beyond_a_number(
    flows: Flows, executions: Executions, mara: Caller, omar: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = await flows.create(mara, FlowDraft(definition=SMALL))
    may_go_on, running = asyncio.Event(), 0
    accept = executions.accept

    async def slow(asked: StartRequest) -> StartedExecution:
        nonlocal running
        running += 1
        await may_go_on.wait()
        return await accept(asked)

    monkeypatch.setattr(executions, "accept", slow)
    asked = [asyncio.create_task(executions.run(mara, flow.id, {})) for _ in range(64 + MOST_WAITING_OF_ACCOUNT)]
    await asyncio.sleep(0)
    assert running == 64
    with pytest.raises(QueueFull):
        await executions.run(mara, flow.id, {})
    other = asyncio.create_task(executions.run(omar, flow.id, {}))
    await asyncio.sleep(0)
    assert running == 65

    # One that is cancelled while it waits leaves its place to another.
    asked.pop().cancel()
    await asyncio.sleep(0)
    asked.append(asyncio.create_task(executions.run(mara, flow.id, {})))
    may_go_on.set()

    assert len({started.id for started in await asyncio.gather(*asked)}) == 64 + MOST_WAITING_OF_ACCOUNT
    with pytest.raises(NotFound):
        await other
    assert (await executions.run(mara, flow.id, {})).id
