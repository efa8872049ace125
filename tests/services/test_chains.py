"""Chains on a real database: the end of one flow's execution starts another flow, once."""

import asyncio
import json
import threading
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from flowrunner.dispatch.fair_queue import ActiveLimit
from flowrunner.domain import chain_loops
from flowrunner.domain.account import Caller
from flowrunner.domain.causes import Chained
from flowrunner.domain.errors import InvalidFlow, LimitReached, Unavailable
from flowrunner.domain.events import Started
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.triggers import FAILING_AFTER
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.flows import NamedChange
from flowrunner.services import chains
from flowrunner.services.chains import Chains
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.trigger_requests import UNREADABLE, TriggerRequests
from flowrunner.services.usage import UsageLimits
from flowrunner.storage import triggers
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.trigger_ends import SqlTriggerEnds
from flowrunner.storage.triggers import SqlTriggers
from flowrunner.storage.usage import SqlUsage
from flowrunner.threads import LONG_BYTES
from support.databases import MARA, NOON, change, rows_of
from support.dependencies import Machine

from .test_executions import ALL

SYNC = "metadata: {name: order-sync}\nnodes: {a: {type: return, params: {value: {pushed: 2}}}}"
FAILING = "metadata: {name: order-sync}\nnodes: {a: {type: fail, params: {error: shop.closed, message: closed}}}"
CALLING = "metadata: {name: caller}\nnodes: {a: {type: flow, params: {flow: order-sync}}}"


def after(of: str = "order-sync", name: str = "after", **keys: Any) -> str:
    """A flow that runs after another one, and returns what it is given."""
    trigger = {"type": "execution", "flow": of, "input": {"of": "${trigger.execution}"}, **keys}
    return json.dumps(
        {
            "metadata": {"name": name},
            "nodes": {"a": {"type": "return", "params": {"value": "${flow.input.of}"}}},
            "triggers": {"t": trigger},
        }
    )


class ChainSetup:
    def __init__(self, engine: Machine, flows: Flows, caller: Caller) -> None:
        self.engine, self.flows, self.caller = engine, flows, caller
        self.servers = [self.server(), self.server()]

    def server(self) -> Chains:
        engine = self.engine
        return Chains(
            SqlTriggerEnds(engine.database), engine.executions,
            TriggerRequests(engine.library, engine.executions, engine.deps.sandbox),
            reader=SqlExecutions(engine.database), journal=engine.journal, clock=engine.clock, changed=asyncio.Event(),
        )  # fmt: skip

    async def save(self, definition: str) -> Any:
        return (await self.flows.create(self.caller, FlowDraft(definition=definition))).id

    async def run(self, flow: Any) -> ExecutionId:
        started = await self.engine.executions.run(self.caller, flow, {})
        await self.engine.until_ended(started.id)
        return started.id

    async def settle(self) -> None:
        """Start what is to be started, by all servers at once."""
        while True:
            await asyncio.gather(*(server.start_all() for server in self.servers))
            for (id,) in rows_of(self.engine.path, "SELECT id FROM executions WHERE completed_at IS NULL"):
                await self.engine.until_ended(id)
            if rows_of(self.engine.path, "SELECT 1 FROM trigger_outbox") == []:
                return

    async def started_by(self, flow: Any) -> list[tuple[Chained, Any]]:
        """Return the causes and results of a flow's executions."""
        found = []
        for (id,) in rows_of(self.engine.path, "SELECT id FROM executions ORDER BY id"):
            execution = await self.engine.executions.get(self.caller, id)
            if execution.flow_id == flow:
                (first, *_) = await self.engine.journal.events(id, after=0, limit=1)
                assert isinstance(first.event, Started)
                assert isinstance(first.event.cause, Chained)
                found.append((first.event.cause, json.loads(execution.result or b"null")))
        return found

    async def trigger_of(self, flow: Any) -> Any:
        found, _ = await SqlTriggers(self.engine.database).page(MARA, flow_id=flow, type=None, page=ALL)
        return found[0]


@pytest.fixture
def world(engine: Machine, flows: Flows, mara: Caller) -> ChainSetup:
    return ChainSetup(engine, flows, mara)


async def test_the_end_of_an_execution_starts_the_flow_that_waits_for_it_once(world: ChainSetup) -> None:
    sync, listener = await world.save(SYNC), await world.save(after())
    nothing = await world.servers[0].next_due()
    first = await world.run(sync)

    due = await world.servers[0].next_due()
    await world.settle()
    await world.settle()

    assert nothing is not None
    assert due is not None
    assert due < nothing
    ((cause, value),) = await world.started_by(listener)
    assert (cause.of, cause.depth, cause.name) == (first, 1, "t")
    assert value == {
        "id": first, "flow_id": sync, "flow_name": "order-sync", "status": "completed", "result": {"pushed": 2},
        "error": None, "labels": {}, "started_at": value["started_at"], "completed_at": value["completed_at"],
    }  # fmt: skip
    trigger = await world.trigger_of(listener)
    assert trigger.last_execution_id is not None
    assert (trigger.state, trigger.error) == ("armed", None)


async def test_a_long_result_is_read_beside_the_event_loop(world: ChainSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, value_of = dict[bool, int](), chains._value_of

    def noting(ended: Any) -> Any:
        threads[len(ended.result) > LONG_BYTES] = threading.get_ident()
        return value_of(ended)

    monkeypatch.setattr(chains, "_value_of", noting)
    sync = await world.save(SYNC.replace("pushed: 2", 'text: "${flow.input.text}"'))
    listener = await world.save(after())
    for length in (1, LONG_BYTES):
        started = await world.engine.executions.run(world.caller, sync, {"text": "x" * length})
        await world.engine.until_ended(started.id)

    await world.settle()

    assert len(await world.started_by(listener)) == 2
    assert (threads[False] == threading.get_ident(), threads[True] == threading.get_ident()) == (True, False)


async def test_an_end_whose_execution_was_started_before_is_done(world: ChainSetup) -> None:
    sync, listener = await world.save(SYNC), await world.save(after())
    ended = await world.run(sync)
    await world.settle()
    # A restored backup may have it again.
    trigger = await world.trigger_of(listener)
    statement = "INSERT INTO trigger_outbox (trigger_id, execution_id) VALUES (?, ?)"
    change(world.engine.path, statement, trigger.id, ended)

    await world.servers[0].start_all()

    assert rows_of(world.engine.path, "SELECT 1 FROM trigger_outbox") == []
    assert len(await world.started_by(listener)) == 1


async def test_an_end_whose_execution_was_deleted_meanwhile_is_done(world: ChainSetup) -> None:
    listener = await world.save(after())
    trigger = await world.trigger_of(listener)
    statement = "INSERT INTO trigger_outbox (trigger_id, execution_id) VALUES (?, 'exec-deleted')"
    change(world.engine.path, statement, trigger.id)

    await world.servers[0].start_all()

    assert rows_of(world.engine.path, "SELECT 1 FROM trigger_outbox") == []
    assert await world.started_by(listener) == []
    assert (await world.trigger_of(listener)).error is None


async def test_only_the_wanted_ends_start_it(world: ChainSetup) -> None:
    listener = await world.save(after(status=["failed"]))
    fine, failing = await world.save(SYNC), await world.save(FAILING)

    await world.run(fine)
    failed = await world.run(failing)
    await world.settle()

    ((cause, value),) = await world.started_by(listener)
    assert (cause.of, value["status"], value["error"]) == (failed, "failed", "closed")


async def test_every_trigger_that_waits_for_an_end_starts_its_own_execution_of_it(world: ChainSetup) -> None:
    sync = await world.save(SYNC)
    twice = json.loads(after(name="twice"))
    twice["triggers"]["u"] = twice["triggers"]["t"]
    listeners = [await world.save(after(name="first")), await world.save(after(name="second"))]
    listeners.append(await world.save(json.dumps(twice)))

    ended = [await world.run(sync), await world.run(sync)]
    await world.settle()

    causes = [[cause for cause, _ in await world.started_by(listener)] for listener in listeners]
    assert [sorted((cause.name, cause.of) for cause in each) for each in causes] == [
        sorted((name, id) for name in names for id in ended) for names in ("t", "t", "tu")
    ]


async def test_a_flow_is_named_by_its_id_as_well(world: ChainSetup) -> None:
    sync = await world.save(SYNC)
    listener = await world.save(after(of=sync))

    await world.run(sync)
    await world.settle()

    assert len(await world.started_by(listener)) == 1


@pytest.mark.parametrize("children", [False, True])
async def test_an_execution_of_a_step_counts_only_if_it_is_wanted(world: ChainSetup, children: bool) -> None:
    await world.save(SYNC)
    listener = await world.save(after(children=children))
    calls = await world.save(CALLING)
    without_waiting = await world.save(CALLING.replace("flow: order-sync", "flow: order-sync, wait: false"))

    await world.run(calls)
    await world.run(without_waiting)
    await world.settle()

    assert len(await world.started_by(listener)) == (2 if children else 0)


async def test_a_paused_trigger_starts_nothing(world: ChainSetup) -> None:
    sync, listener = await world.save(SYNC), await world.save(after())
    id = (await world.trigger_of(listener)).id
    triggers = SqlTriggers(world.engine.database)

    await world.run(sync)
    await triggers.set_paused(MARA, id, paused=True, at=NOON)
    await world.run(sync)
    await world.settle()
    await triggers.set_paused(MARA, id, paused=False, at=NOON)
    await world.run(sync)
    await world.settle()

    assert len(await world.started_by(listener)) == 1


async def test_a_pause_of_the_installation_keeps_the_ends(world: ChainSetup) -> None:
    sync, listener = await world.save(SYNC), await world.save(after())
    await world.run(sync)
    await SqlPause(world.engine.database).set(NOON)

    assert await world.servers[0].next_due() is None
    await world.servers[0].start_all()
    before = await world.started_by(listener)
    await SqlPause(world.engine.database).set(None)
    await world.settle()

    assert before == []
    assert len(await world.started_by(listener)) == 1


async def test_an_end_waits_while_the_queue_of_its_workspace_is_full(
    world: ChainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, listener = await world.save(SYNC), await world.save(after())
    await world.run(sync)
    monkeypatch.setattr(world.engine.dispatcher, "_limits", WorkspaceLimits(queued=0))
    monkeypatch.setattr(world.engine.dispatcher, "_active_limit", ActiveLimit(0, 0))

    await world.servers[0].start_all()
    before, due = await world.started_by(listener), await world.servers[0].next_due()
    now = world.engine.clock.now()
    monkeypatch.undo()
    world.engine.clock.advance(seconds=1)
    await world.settle()

    assert before == []
    assert due is not None
    assert due > now, "it rests before it is tried again"
    assert len(await world.started_by(listener)) == 1
    assert (await world.trigger_of(listener)).failures == 0


async def with_a_full_queue(world: ChainSetup, monkeypatch: pytest.MonkeyPatch, *, ends: int) -> Any:
    """Return a flow that runs, must not run twice or be queued, and has so many ends to be started by."""
    sync = await world.save(SYNC)
    busy = json.loads(after(name="busy")) | {"limits": {"concurrency": {"max": 1}}}
    busy["nodes"] = {"a": {"type": "wait", "params": {"key": "go"}}}
    listener = await world.save(json.dumps(busy))
    await world.engine.executions.run(world.caller, listener, {"of": None})
    limits = UsageLimits(SqlUsage(world.engine.database), WorkspaceLimits(queued=0), world.engine.clock)
    monkeypatch.setattr(world.engine.executions, "_usage", limits)
    for _ in range(ends):
        await world.run(sync)
    return listener


async def test_a_chain_whose_queue_is_full_delays_no_other_one_of_its_workspace(
    world: ChainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "_AT_A_TIME", 2)
    await with_a_full_queue(world, monkeypatch, ends=4)
    other = await world.save(after("second", "other"))
    ended = await world.run(await world.save(SYNC.replace("order-sync", "second")))

    await world.servers[0].start_all()

    ((cause, _),) = await world.started_by(other)
    assert cause.of == ended
    assert rows_of(world.engine.path, "SELECT count(*) FROM trigger_outbox") == [(4,)]


async def test_the_ends_of_a_chain_whose_queue_is_full_are_left_alone_and_tried_ever_less_often(
    world: ChainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "_CONCURRENT_OF_A_WORKSPACE", 1)
    await with_a_full_queue(world, monkeypatch, ends=5)
    server, tries = world.server(), list[int]()
    make = server._requests.make

    async def noting(*arguments: Any, **named: Any) -> Any:
        tries[-1] += 1
        return await make(*arguments, **named)

    monkeypatch.setattr(server._requests, "make", noting)

    for _ in range(250):
        tries.append(0)
        await server.start_all()
        world.engine.clock.advance(seconds=1)

    # A workspace is sure of two at the same time.
    assert set(tries) == {0, 2}
    gaps = [later - earlier for earlier, later in pairwise(second for second, count in enumerate(tries) if count)]
    assert gaps == sorted(gaps)
    assert gaps[:2] == [1, 2]
    # Each look takes some milliseconds of this clock.
    assert 55 <= gaps[-1] <= 60


async def test_ends_that_have_rested_are_started_once_the_queue_has_room(
    world: ChainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = await with_a_full_queue(world, monkeypatch, ends=3)
    await world.servers[0].start_all()
    limits = UsageLimits(SqlUsage(world.engine.database), WorkspaceLimits(queued=3), world.engine.clock)
    monkeypatch.setattr(world.engine.executions, "_usage", limits)

    await world.servers[0].start_all()
    before = rows_of(world.engine.path, "SELECT count(*) FROM trigger_outbox")
    world.engine.clock.advance(seconds=1)
    due, now = await world.servers[0].next_due(), world.engine.clock.now()
    # The clock may be set back.
    world.engine.clock.advance(hours=-1)
    earlier, then = await world.servers[0].next_due(), world.engine.clock.now()
    world.engine.clock.advance(hours=1)
    await world.servers[0].start_all()

    assert before == [(3,)]
    assert earlier is not None
    assert earlier <= then + timedelta(seconds=1)
    assert due is not None
    assert due <= now
    assert rows_of(world.engine.path, "SELECT count(*) FROM trigger_outbox") == [(0,)]
    assert (await world.trigger_of(listener)).failures == 0


async def test_an_outage_is_told_although_the_queue_of_another_workspace_is_full(
    world: ChainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_a_full_queue(world, monkeypatch, ends=1)
    await world.save(after("second", "other"))
    await world.run(await world.save(SYNC.replace("order-sync", "second")))
    server = world.servers[0]
    make = server._requests.make

    async def away_for_one(trigger: Any, *arguments: Any, **named: Any) -> Any:
        if trigger.flow_name == "other":
            raise Unavailable("The database cannot be reached at the moment")
        return await make(trigger, *arguments, **named)

    monkeypatch.setattr(server._requests, "make", away_for_one)

    with pytest.raises(Unavailable):
        await server.start_all()


async def test_an_end_that_cannot_start_the_flow_says_why(world: ChainSetup) -> None:
    sync = await world.save(SYNC)
    listener = await world.save(after(input={"of": "${trigger.execution.result.missing.more}"}))

    await world.run(sync)
    await world.settle()

    trigger = await world.trigger_of(listener)
    assert (trigger.failures, trigger.state) == (1, "armed")
    assert "cannot read 'more' of null" in trigger.error
    assert await world.started_by(listener) == []


@pytest.mark.parametrize(
    ("failures", "state"), [(FAILING_AFTER - 1, "armed"), (FAILING_AFTER, "failing"), (1000, "failing")]
)
async def test_a_trigger_that_has_failed_starts_its_flow_at_the_next_end(
    world: ChainSetup, failures: int, state: str
) -> None:
    sync, listener = await world.save(SYNC), await world.save(after())
    before = await world.trigger_of(listener)
    change(world.engine.path, "UPDATE triggers SET failures = ?, error = 'e' WHERE id = ?", failures, before.id)
    failing = await world.trigger_of(listener)

    await world.run(sync)
    await world.settle()

    assert (failing.state, failing.is_armed) == (state, True)
    assert len(await world.started_by(listener)) == 1
    trigger = await world.trigger_of(listener)
    assert (trigger.state, trigger.failures, trigger.error) == ("armed", 0, None)


async def test_a_trigger_that_cannot_be_read_stops_no_other_one(world: ChainSetup) -> None:
    flow = await world.save(SYNC)
    broken = await world.save(after(name="broken"))
    change(world.engine.path, "UPDATE triggers SET spec = '[]'")
    other = await world.save(after(name="other"))

    await world.run(flow)
    await world.settle()

    assert len(await world.started_by(other)) == 1
    assert await world.started_by(broken) == []
    (trigger,), _ = await SqlTriggers(world.engine.database).page(MARA, flow_id=broken, type=None, page=ALL)
    assert (trigger.failures, trigger.error) == (1, UNREADABLE)


async def test_a_loop_is_found_when_it_is_saved(world: ChainSetup) -> None:
    await world.save(SYNC)
    await world.save(after("order-sync", "second"))
    await world.save(after("second", "third"))

    with pytest.raises(InvalidFlow) as refused:
        await world.save(after("third", "order-sync"))
    with pytest.raises(InvalidFlow):
        await world.save(after("alone", "alone"))

    assert [(fault.code, fault.path) for fault in refused.value.faults] == [("trigger.loop", "triggers.t.flow")]
    assert "'third'" in refused.value.faults[0].message


async def test_a_chain_that_its_document_no_longer_has_is_part_of_no_loop(world: ChainSetup) -> None:
    first = await world.save(after("second", "first"))
    await world.flows.update(world.caller, first, FlowDraft(definition=SYNC.replace("order-sync", "first")))

    second = await world.save(after("first", "second"))
    await world.run(first)
    await world.settle()

    assert len(await world.started_by(second)) == 1
    # With it, it would be one again.
    with pytest.raises(InvalidFlow):
        await world.flows.update(world.caller, first, FlowDraft(definition=after("second", "first")))


async def test_a_loop_of_one_deployment_is_found(world: ChainSetup) -> None:
    changers = [
        (await world.flows.changer(world.caller, FlowDraft(definition=after(of, name), is_whole=True))).named(name)
        for of, name in (("b", "a"), ("a", "b"))
    ]
    store = world.flows._store
    changes = [
        NamedChange(name=name, change=each.deployed, size=None) for each, name in zip(changers, "ab", strict=True)
    ]

    with pytest.raises(InvalidFlow):
        await store.deploy(MARA, changes, at=NOON)

    assert rows_of(world.engine.path, "SELECT 1 FROM flows") == []


def chains_of(sources: list[str], name: str) -> str:
    """A flow with a chain for each of the flows that it listens to."""
    triggers = {f"t{number}": {"type": "execution", "flow": source} for number, source in enumerate(sources)}
    return json.dumps({"metadata": {"name": name}, "nodes": {"a": {"type": "return"}}, "triggers": triggers})


async def test_a_workspace_has_a_limited_number_of_chains(world: ChainSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_loops, "MOST_CHAINS", 5)
    await world.save(chains_of(["a", "b"], "first"))
    second = await world.save(chains_of(["c", "d", "e"], "second"))

    with pytest.raises(LimitReached) as refused:
        await world.save(chains_of(["f"], "third"))
    await world.flows.update(world.caller, second, FlowDraft(definition=chains_of(["c"], "second")))
    await world.save(chains_of(["f"], "third"))

    assert (refused.value.limit, refused.value.most) == ("chains", 5)


async def test_a_limited_number_of_chains_listens_to_one_flow(
    world: ChainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_loops, "MOST_LISTENERS", 3)
    await world.save(chains_of(["order-sync", "order-sync", "other"], "first"))
    await world.save(chains_of(["order-sync", "other", "other"], "second"))

    with pytest.raises(LimitReached) as refused:
        await world.save(chains_of(["order-sync"], "third"))

    assert (refused.value.limit, refused.value.most) == ("chain_listeners", 3)
    assert "'order-sync'" in str(refused.value)


async def test_a_deployment_reads_the_chains_once(world: ChainSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = list[int](), triggers._chains

    def counted(rows: Any) -> Any:
        reads.append(len(rows))
        return read(rows)

    monkeypatch.setattr(triggers, "_chains", counted)
    names = [f"flow {number}" for number in range(20)]
    changers = [
        (await world.flows.changer(world.caller, FlowDraft(definition=chains_of([of], name), is_whole=True))).named(
            name
        )
        for of, name in zip(names[1:], names, strict=False)
    ]

    await world.flows._store.deploy(
        MARA,
        [NamedChange(name=n, change=c.deployed, size=None) for n, c in zip(names, changers, strict=False)],
        at=NOON,
    )

    assert reads == [19]


async def test_a_chain_ends_although_a_renamed_flow_makes_it_a_loop(
    world: ChainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "MAX_DEPTH", 4)
    first = await world.save(SYNC.replace("order-sync", "elsewhere"))
    listener = await world.save(after("order-sync", "second"))
    await world.flows.update(world.caller, listener, FlowDraft(name="order-sync"))
    await world.flows.update(world.caller, first, FlowDraft(name="order-sync"))

    await world.run(first)
    await world.settle()

    causes = [cause for cause, _ in await world.started_by(listener)]
    assert [cause.depth for cause in causes] == [1, 2, 3, 4]
    assert "Chain too long" in (await world.trigger_of(listener)).error


async def test_nothing_is_written_for_an_end_that_nothing_waits_for(world: ChainSetup) -> None:
    sync = await world.save(SYNC)
    await world.save(after("another"))

    await world.run(sync)

    assert rows_of(world.engine.path, "SELECT 1 FROM trigger_outbox") == []
