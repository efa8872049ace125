"""Executions that Temporal places, on a real Temporal server."""

import asyncio
import contextlib
import json
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson

from dispatch.cluster import PATIENCE_SECONDS, Cluster, Front, cluster
from dispatch.test_clocks import WrongClock
from engine.test_unreadable import UNREADABLE, spoil
from flowrunner import __version__
from flowrunner.dispatch.links import LinkingDispatcher
from flowrunner.domain.errors import Conflict, InvalidInput, Unavailable
from flowrunner.domain.events import Completed, NodeCompleted, NodeStarted, ScopeEnded, SignalReceived
from flowrunner.domain.status import Status
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.plugin import NodeFailure, StepContext
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.journal import Append, Fenced, Journal, load_whole
from flowrunner.services.signals import signal_request
from services.callers import member_caller_of
from support.databases import MARA, OMAR, following, new_postgres_database, open_database
from support.dependencies import Acting, answer
from support.postgres import PostgresServer
from support.temporal import Temporal

WAITS = """
nodes:
  rest: {type: delay, params: {duration: 1500ms}, next: ask}
  ask: {type: wait, params: {key: go}, next: tell}
  tell: {type: webhook, params: {url: "http://peer/", body: "${input}"}}
"""
FOR_EVER = "nodes: {ask: {type: wait, params: {key: go}}}"


async def test_an_execution_waits_gets_a_signal_and_ends(machines: Cluster, front: Front) -> None:
    await front.save(WAITS)
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)
        await front.signals.send(front.caller, id, "go", {"n": 1})

        assert await front.until_ended(id) == [Status.COMPLETED]

    assert [r.body for r in machines.http.requests] == [b'{"n":1}']
    assert [e.node for e in await front.events(id) if isinstance(e, NodeCompleted)] == ["rest", "ask", "tell"]


async def test_it_goes_on_wherever_a_worker_is(machines: Cluster, front: Front) -> None:
    await front.save(WAITS)
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)
    sent = asyncio.create_task(front.signals.send(front.caller, id, "go", 1))
    async with machines.worker(), machines.worker():
        await sent

        assert await front.until_ended(id) == [Status.COMPLETED]


async def test_what_is_accepted_before_there_is_a_worker_runs_when_there_is_one(
    machines: Cluster, front: Front
) -> None:
    await front.save("nodes: {a: {type: transform, params: {value: 1}}}")
    ids = [await front.start() for _ in range(5)]
    async with machines.worker():
        assert await front.until_ended(*ids) == [Status.COMPLETED] * 5


async def test_what_is_started_where_another_server_has_taken_over_can_be_asked_for_again(
    machines: Cluster, front: Front
) -> None:
    await front.save(FOR_EVER)
    await front.side.journal.claim()

    with pytest.raises(Unavailable, match="Another server is active"):
        await front.start()


async def test_a_signal_to_an_execution_that_has_ended_is_a_conflict(machines: Cluster, front: Front) -> None:
    await front.save("nodes: {a: {type: transform, params: {value: 1}}}")
    async with machines.worker():
        id = await front.start()
        await front.until_ended(id)

        with pytest.raises(Conflict, match="ended"):
            await front.signals.send(front.caller, id, "go", 1)


async def test_a_server_that_was_suspended_does_not_take_a_purged_message_for_an_accepted_one(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others purge in time what nobody has taken."""
    monkeypatch.setattr("flowrunner.dispatch.temporal.dispatcher._FORGOTTEN", timedelta(seconds=-1))
    await front.save(FOR_EVER)
    id = await front.start()

    async def purged(number: int) -> bool:
        return True

    monkeypatch.setattr(front.side.inbox, "answer", purged)
    with pytest.raises(Unavailable, match="Outcome unknown"):
        await front.signals.send(front.caller, id, "go", 1)


async def test_a_signal_that_no_worker_takes_in_time_is_refused_and_has_no_effect_later(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    with monkeypatch.context() as hasty:
        hasty.setattr("flowrunner.dispatch.temporal.dispatcher._ANSWER_SECONDS", 0.2)
        with pytest.raises(Unavailable, match="No worker takes it"):
            await front.signals.send(front.caller, id, "go", "first")
    async with machines.worker():
        await front.signals.send(front.caller, id, "go", "second")
        assert await front.until_ended(id) == [Status.COMPLETED]

    assert [event.payload for event in await front.events(id) if isinstance(event, SignalReceived)] == ["second"]


async def test_of_two_answers_to_an_approval_the_first_counts(machines: Cluster, front: Front) -> None:
    await front.save("""
nodes:
  ask: {type: approval, params: {prompt: "Well?"}, next: {approved: yes_, rejected: no_}}
  yes_: {type: return, params: {value: "yes"}}
  no_: {type: return, params: {value: "no"}}
""")
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)

        answers = await asyncio.gather(
            *(front.signals.answer(front.caller, id, "ask", approved=is_yes, data=None) for is_yes in (True, False)),
            return_exceptions=True,
        )

        assert [type(a) for a in answers].count(Conflict) == 1
        await front.until_ended(id)


async def test_answers_of_two_accounts_at_once_both_count(machines: Cluster, front: Front) -> None:
    await front.save("""
nodes:
  ask: {type: approval, params: {count: 2}, next: {approved: end, rejected: end}}
  end: {type: return, params: {value: "${input.answers.map(answer => answer.by)}"}}
""")
    callers = (front.caller, member_caller_of(AccountId(OMAR), MARA, "operator"))
    async with machines.worker(), machines.worker():
        for _ in range(3):
            id = await front.start()
            await front.until_waiting(id)

            answers = await asyncio.gather(
                *(
                    front.signals.answer(caller, id, "ask", approved=True, data=None)
                    for caller in callers
                    for _ in range(2)
                ),
                return_exceptions=True,
            )

            assert [type(a) for a in answers].count(Conflict) == 2
            await front.until_ended(id)
            ending = (await front.events(id))[-1]
            assert isinstance(ending, Completed)
            assert isinstance(ending.result, list)
            assert set(ending.result) == {MARA, OMAR}


@pytest.mark.parametrize("is_parked", [True, False])
async def test_a_cancelled_execution_ends_and_its_handler_runs(
    machines: Cluster, front: Front, is_parked: bool
) -> None:
    under_way = asyncio.Event()

    async def hang(value: object, context: object) -> None:
        under_way.set()
        await asyncio.Event().wait()

    machines.add_type(Acting("test.hang", hang))
    work = "{type: wait, params: {key: go}}" if is_parked else "{type: test.hang}"
    await front.save(
        f'on_finish: tidy\nnodes:\n  work: {work}\n  tidy: {{type: webhook, params: {{url: "http://peer/"}}}}'
    )
    async with machines.worker(), machines.server() as other:
        id = await other.start()
        await (front.until_waiting(id) if is_parked else under_way.wait())
        await front.dispatcher.cancel(id, reason="enough")

        assert await front.until_ended(id) == [Status.CANCELLED]
    assert len(machines.http.requests) == 1


async def test_the_inbox_is_read_again_after_any_error(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_failed, under_way = asyncio.Event(), asyncio.Event()

    async def hang(value: object, context: object) -> None:
        under_way.set()
        await asyncio.Event().wait()

    async def fail(ids: object) -> None:
        monkeypatch.undo()
        has_failed.set()
        raise OSError("planted")

    machines.add_type(Acting("test.hang", hang))
    await front.save("nodes: {work: {type: test.hang}}")
    async with machines.worker() as worker:
        id = await front.start()
        await under_way.wait()
        monkeypatch.setattr(worker._inbox, "unread", fail)
        await has_failed.wait()

        await front.dispatcher.cancel(id, reason="enough")
        assert worker.is_open
        assert await front.until_ended(id) == [Status.CANCELLED]


async def test_a_request_to_cancel_an_ended_flow_is_answered_while_its_handlers_run(
    machines: Cluster, front: Front
) -> None:
    await front.save("""
on_finish: tidy
nodes:
  work: {type: return}
  tidy: {type: wait, params: {key: go}}
""")
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)
        front.dispatcher.cancel_soon(id, reason="replaced")

        async def is_done_with() -> bool:
            return not await front.side.inbox.unread([id])

        await front.side.workflows.settled()
        await front.until(is_done_with)
        assert await front.status(id) is Status.WAITING
        await front.signals.send(front.caller, id, "go", None)
        assert await front.until_ended(id) == [Status.COMPLETED]


class SlowEnd:
    """A journal that keeps back the end of a flow until it is told to go on."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.reached, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def append(self, append: Append) -> None:
        if any(isinstance(record.event, ScopeEnded) for record in append.records):
            self.reached.set()
            await self.may_go_on.wait()
        await self._journal.append(append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


async def test_a_second_cancellation_is_answered_while_the_handler_of_the_first_runs(
    machines: Cluster, front: Front
) -> None:
    await front.save("""
on_finish: tidy
nodes:
  work: {type: wait, params: {key: go}}
  tidy: {type: wait, params: {key: tidied}}
""")
    slow = SlowEnd(front.side.journal)
    machines.wrap = lambda journal, _: slow
    async with machines.worker() as worker:
        id = await front.start()
        await front.until_waiting(id)
        first = asyncio.create_task(front.dispatcher.cancel(id, reason="enough"))
        await slow.reached.wait()
        second = asyncio.create_task(front.dispatcher.cancel(id, reason="enough of it"))
        await front.until(lambda: _is_true(len(worker._loaded[id].received) == 2))
        slow.may_go_on.set()
        await asyncio.gather(first, second)

        await front.until_waiting(id)
        await front.signals.send(front.caller, id, "tidied", None)
        assert await front.until_ended(id) == [Status.CANCELLED]


async def test_only_force_cuts_off_a_handler_that_runs(machines: Cluster, front: Front) -> None:
    await front.save("""
on_finish: tidy
nodes:
  work: {type: wait, params: {key: go}}
  tidy: {type: wait, params: {key: tidied}}
""")
    async with machines.worker():
        id = await front.start()
        await front.until_waiting_for(id, "work")
        await front.dispatcher.cancel(id, reason="enough")
        await front.until_waiting_for(id, "tidy")
        await front.dispatcher.cancel(id, reason="again")
        assert await front.status(id) is Status.WAITING

        await front.dispatcher.cancel(id, reason="at once", force=True)
        assert await front.until_ended(id) == [Status.CANCELLED]

        completed = await front.start()
        await front.until_waiting_for(completed, "work")
        await front.signals.send(front.caller, completed, "go", None)
        await front.until_waiting_for(completed, "tidy")
        with pytest.raises(Conflict, match="handlers of its end run"):
            await front.dispatcher.cancel(completed, reason="late")
        await front.dispatcher.cancel(completed, reason="at once", force=True)
        assert await front.until_ended(completed) == [Status.COMPLETED]


async def test_a_signal_sent_again_with_its_key_counts_once_and_leaves_no_message(
    machines: Cluster, front: Front
) -> None:
    await front.save("""
nodes:
  first: {type: wait, params: {key: paid}, next: second}
  second: {type: wait, params: {key: paid}}
""")
    async with machines.worker():
        id = await front.start()
        await front.until_waiting_for(id, "first")
        for _ in range(2):
            await front.signals.send(front.caller, id, "paid", 1, request=signal_request("k1", "paid", 1))
        await front.until_waiting_for(id, "second")
        assert not await front.side.inbox.unread([id])
        with pytest.raises(InvalidInput, match="was used before"):
            await front.signals.send(front.caller, id, "paid", 2, request=signal_request("k1", "paid", 2))
        await front.signals.send(front.caller, id, "paid", 2, request=signal_request("k2", "paid", 2))
        assert await front.until_ended(id) == [Status.COMPLETED]
        await front.signals.send(front.caller, id, "paid", 2, request=signal_request("k2", "paid", 2))

    assert [e.payload for e in await front.events(id) if isinstance(e, SignalReceived)] == [1, 2]


async def test_an_event_of_a_newer_version_is_left_to_its_workers_for_a_while(machines: Cluster, front: Front) -> None:
    await front.save(FOR_EVER)
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)
        spoil(machines.place, id, *UNREADABLE["an unknown kind"])

        with pytest.raises(Unavailable, match="left to workers of a newer version"):
            await front.side.engine.load(id)
        assert await front.status(id) is Status.WAITING

        front.side.deps.clock = WrongClock(timedelta(minutes=11))
        assert await front.side.engine.load(id) is None
        assert await front.status(id) is Status.FAILED


async def test_one_that_is_cancelled_in_temporal_ends_as_cancelled(machines: Cluster, front: Front) -> None:
    await front.save(FOR_EVER)
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)
        await front.client.get_workflow_handle(id).cancel()

        assert await front.until_ended(id) == [Status.CANCELLED]


async def test_an_execution_terminated_in_temporal_still_takes_signals(machines: Cluster, front: Front) -> None:
    await front.save(FOR_EVER)
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)
        await front.client.get_workflow_handle(id).terminate()
        await front.signals.send(front.caller, id, "go", 1)

        assert await front.until_ended(id) == [Status.COMPLETED]


async def test_a_flow_waits_for_the_flow_that_it_runs(machines: Cluster, front: Front) -> None:
    await front.save(
        "nodes: {a: {type: delay, params: {duration: 1200ms}, next: b}, b: {type: return, params: {value: 7}}}", "child"
    )
    await front.save("nodes: {call: {type: flow, params: {flow: child}}}")
    async with machines.worker(), machines.worker():
        id = await front.start()

        assert await front.until_ended(id) == [Status.COMPLETED]
    (completed,) = [e for e in await front.events(id) if isinstance(e, NodeCompleted)]
    assert completed.result == 7


async def test_a_step_records_an_end_once_however_often_it_is_notified(machines: Cluster, front: Front) -> None:
    """Whoever looks after what was left undone tells it again: nobody knows what is on its way already."""
    await front.save(FOR_EVER, "child")
    await front.save("nodes: {call: {type: flow, params: {flow: child}}}")
    id = await front.start()
    _, events = await load_whole(front.side.journal, id)
    # A worker has died when it had just begun the step.
    token = await front.side.journal.acquire(id, await front.side.journal.epoch())
    begun = NodeStarted(node="call", node_type="flow", iteration=1, attempt=1)
    await front.side.journal.append(following(id, begun, epoch=token, after=len(events)))
    end = Signal(key="flow:a-child", payload={"status": "completed", "result": 7}, step="call.1")
    for _ in range(3):
        await front.side.workflows.send_if_open(id, end)
    async with machines.worker():
        await front.until_waiting(id)
        await front.until(lambda: none_unread(front, id))

    assert [e.payload for e in await front.events(id) if isinstance(e, SignalReceived)] == [end.payload]


async def none_unread(front: Front, id: ExecutionId) -> bool:
    return not await front.side.inbox.unread([id])


async def test_no_more_executions_are_under_way_than_may_be(machines: Cluster, front: Front) -> None:
    under_way, most = Counter[str](), 0

    async def count(value: object, context: StepContext) -> None:
        nonlocal most
        # Temporal may give an execution to a second worker before the first one notices.
        under_way[context.execution_id] += 1
        most = max(most, len(+under_way))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while most < 2:  # noqa: ASYNC110 # the other one comes from elsewhere
                    await asyncio.sleep(0.01)
        under_way[context.execution_id] -= 1

    machines.add_type(Acting("test.count", count))
    await front.save("limits: {concurrency: {max: 2}}\nnodes: {a: {type: test.count}}")
    async with machines.worker(), machines.worker(), machines.server() as other:
        ids = [await side.start() for side in (front, other) * 5]

        assert await front.until_ended(*ids) == [Status.COMPLETED] * 10
    assert most == 2


async def test_one_that_got_its_slot_from_a_process_that_died_then_is_nudged_eventually(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was loaded while it waited for its slot, so its workflow waits for a nudge."""
    await front.save("limits: {concurrency: {max: 1}}\nnodes: {ask: {type: wait, params: {key: go}}}")
    monkeypatch.setattr(LinkingDispatcher, "release_slot", lambda self, key: None)
    async with machines.worker():
        holder, queued = await front.start(), await front.start()
        for id in (holder, queued):
            await front.signals.send(front.caller, id, "go", 1)
        assert await front.until_ended(holder) == [Status.COMPLETED]
        slot = (await front.side.journal.stored(queued)).slot
        assert slot is not None
        assert await front.side.concurrency.admit(slot.key) == (queued, MARA)

        await front.dispatcher.restart_all()

        assert await front.until_ended(queued) == [Status.COMPLETED]


async def test_a_worker_whose_execution_was_taken_over_writes_nothing(machines: Cluster, front: Front) -> None:
    await front.save("nodes: {a: {type: transform, params: {value: 1}}}")
    refused = 0
    async with machines.server() as taker:
        for _ in range(50):
            id = await front.start()
            stale = await front.side.engine.load(id)
            assert stale is not None
            taken = await taker.side.engine.load(id)
            assert taken is not None
            with pytest.raises(Fenced):
                await stale.advance()
            refused += 1
            await taken.advance()
            assert await front.status(id) is Status.COMPLETED
            assert len([e for e in await front.events(id) if isinstance(e, NodeStarted)]) == 1
    assert refused == 50


async def test_an_end_whose_worker_died_before_its_notification_is_notified_by_the_next_worker(
    machines: Cluster, front: Front
) -> None:
    await front.save("nodes: {a: {type: transform, params: {value: 1}}}")
    id = await front.start()
    run = await front.side.engine.load(id)
    assert run is not None
    await run.advance()
    heard, is_listening = asyncio.Event(), asyncio.Event()
    other = open_database(machines.place)

    def mark_stale(changed: str) -> None:
        if changed == id:
            heard.set()

    listening = asyncio.create_task(
        other.listen(name=lambda: "other", on_notification=mark_stale, on_gap=is_listening.set)
    )
    try:
        await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)
        async with machines.server() as taker:
            assert await taker.side.engine.load(id) is None
            await asyncio.wait_for(heard.wait(), PATIENCE_SECONDS)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await other.close()


async def test_a_worker_whose_execution_was_taken_over_refuses_nothing(machines: Cluster, front: Front) -> None:
    """It was stopped meanwhile, and does not know yet."""
    may_go_on = asyncio.Event()
    begun: list[object] = []

    async def work(value: object, context: object) -> None:
        begun.append(value)
        if len(begun) == 1:
            await may_go_on.wait()

    machines.add_type(Acting("test.work", work))
    await front.save("""
nodes:
  work: {type: test.work, next: ask}
  ask: {type: approval, params: {prompt: "Well?"}}
""")
    async with machines.worker(), machines.server() as taker:
        id = await front.start()
        await front.until(lambda: _is_true(len(begun) == 1))
        taken = await taker.side.engine.load(id)
        assert taken is not None
        await taken.advance()
        answering = asyncio.create_task(front.signals.answer(front.caller, id, "ask", approved=True, data=None))
        # The worker reads its inbox a few times.
        await asyncio.wait((answering,), timeout=1)
        may_go_on.set()

        await answering
        assert await front.until_ended(id) == [Status.COMPLETED]


async def _is_true(holds: bool) -> bool:
    return holds


async def test_a_long_execution_begins_a_new_history_in_time(machines: Cluster, front: Front) -> None:
    await front.save("""
vars: {n: 0}
nodes:
  again:
    type: while
    params: {when: "vars.n < 8", delay: 1100ms}
    nodes: {a: {type: set, params: {n: "${vars.n + 1}"}}}
""")
    async with machines.worker():
        id = await front.start()
        assert await front.until_ended(id) == [Status.COMPLETED]
        runs = [run.run_id async for run in front.client.list_workflows(f"WorkflowId = '{id}'")]

    assert len(runs) >= 2


async def test_temporal_knows_workers_by_the_version_of_the_program(machines: Cluster, front: Front) -> None:
    await front.save("nodes: {done: {type: return}}")
    async with machines.worker():
        id = await front.start()
        assert await front.until_ended(id) == [Status.COMPLETED]

    # By default it is a digest of the code of all modules, which each worker would read again when it starts.
    history = await front.client.get_workflow_handle(id).fetch_history()
    builds = {event.workflow_task_completed_event_attributes.worker_version.build_id for event in history.events}
    assert builds - {""} == {f"flowrunner-{__version__}"}


async def test_nothing_of_a_flow_is_in_what_temporal_keeps(machines: Cluster, front: Front) -> None:
    canary = "canary-7f3a9c21e5"
    await front.side.vault.set(MARA, "KEY", canary, at=machines.clock.now())

    async def crash(value: object, context: object) -> None:
        raise RuntimeError(canary)

    machines.add_type(Acting("test.crash", crash))
    machines.http.at("http://peer/", answer(body=json.dumps({"echo": canary})), NodeFailure("http.500", canary))
    await front.save(f"""
vars: {{note: "{canary}"}}
nodes:
  ask: {{type: wait, params: {{key: go}}, next: send}}
  send: {{type: webhook, params: {{url: "http://peer/", body: "${{secrets.KEY}} ${{input}}"}}, next: again}}
  again: {{type: webhook, params: {{url: "http://peer/", body: "{canary}"}}, next: {{error: last}}}}
  last: {{type: test.crash}}
""")
    async with machines.worker():
        id = await front.start(input={"given": canary})
        await front.until_waiting(id)
        await front.signals.send(front.caller, id, "go", {"told": canary})
        assert await front.until_ended(id) == [Status.FAILED]
        kept = await _all_that_temporal_keeps(front, id)

    assert id in kept
    assert canary not in kept
    for name in ("send", "note", "given", "webhook", "peer"):
        assert name not in kept


async def _all_that_temporal_keeps(front: Front, id: ExecutionId) -> str:
    handle = front.client.get_workflow_handle(id)
    history = await handle.fetch_history()
    described = await handle.describe()
    events = "".join(MessageToJson(event) for event in history.events)
    payloads = b"".join(
        payload.data
        for event in history.events
        for attributes in (
            event.activity_task_scheduled_event_attributes,
            event.workflow_execution_started_event_attributes,
        )
        for payload in attributes.input.payloads
    )
    return events + payloads.decode() + MessageToJson(described.raw_description)


async def test_what_temporal_has_forgotten_is_begun_again(tmp_path: Path, postgres: PostgresServer) -> None:
    """The development server keeps everything in memory: its end is the loss of all of it."""
    async with AsyncExitStack() as stack:
        (tmp_path / "temporal").mkdir()
        temporal = Temporal(tmp_path / "temporal").start()
        stack.callback(temporal.stop)
        machines = await stack.enter_async_context(cluster(new_postgres_database(postgres), temporal.url("q")))
        async with machines.server() as front:
            await front.save("nodes: {a: {type: transform, params: {value: 1}}}")
            await front.save(FOR_EVER, "waits")
            async with machines.worker():
                waiting = await front.start("waits")
                await front.until_waiting(waiting)
            temporal.stop()
            accepted = await front.start()
            temporal.start()
        async with machines.server() as front, machines.worker():
            assert await front.until_ended(accepted) == [Status.COMPLETED]
            await front.signals.send(front.caller, waiting, "go", 1)
            assert await front.until_ended(waiting) == [Status.COMPLETED]
