"""Signals to the executions that a filter selects, of which an outage or a kill may leave some for the repeat."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, Forbidden, LimitReached, NotFound, Unavailable
from flowrunner.domain.labels import label_term
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.domain.request_keys import RequestKey
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId
from flowrunner.ports.executions import ExecutionFilter
from flowrunner.ports.usage import BLOCK
from flowrunner.services import signals
from flowrunner.services.bulk_signals import BulkSignals
from flowrunner.services.request_keys import RequestKeys, digest_of_request
from flowrunner.services.selections import Selection, Selections
from flowrunner.services.signals import Signals
from flowrunner.services.usage import UsageLimits
from flowrunner.storage.request_keys import SqlRequestKeys
from flowrunner.storage.usage import SqlUsage
from flowrunner.threads import LONG_BYTES
from support.databases import MARA, rows_of
from support.dependencies import Machine

from .callers import member_caller_of

TWICE = """
nodes:
  paid: {type: wait, params: {key: paid}, next: again}
  again: {type: wait, params: {key: paid}}
"""
RECEIVED = "SELECT execution_id, count(*) FROM events WHERE type = 'signal.received' GROUP BY execution_id"
ORDER = Selection(filter=ExecutionFilter(terms=[label_term("order:7", "label")]))


class Interrupted:
    """The service that sends signals, which an outage interrupts after some, before the answer to the last of these."""

    def __init__(self, signals: Signals, *, after: int) -> None:
        self._signals, self._left = signals, after

    async def send(self, caller: Caller, id: ExecutionId, key: str, payload: JSON, **more: Any) -> None:
        if self._left == 0:
            raise Unavailable("an outage")
        self._left -= 1
        await self._signals.send(caller, id, key, payload, **more)
        if self._left == 0:
            raise Unavailable("an outage")


def bulk_signals(engine: Machine, signals: Any = None, limits: WorkspaceLimits = UNLIMITED) -> BulkSignals:
    keys = RequestKeys(SqlRequestKeys(engine.database), engine.clock)
    usage = UsageLimits(SqlUsage(engine.database), limits, engine.clock)
    return BulkSignals(Selections(engine.executions), signals or engine.signals, keys, usage)


def asking(mara: Caller, request_id: str) -> Caller:
    """The caller of a request with the same key as the others."""
    return replace(mara, request=RequestKey("digest", request_id, "asked", sent="k"))


async def started(engine: Machine, mara: Caller, flow_id: FlowId, count: int) -> list[ExecutionId]:
    ids = sorted([(await engine.executions.run(mara, flow_id, {}, labels={"order": "7"})).id for _ in range(count)])
    for id in ids:
        await engine.until_parked(id)
    return ids


async def interrupt(engine: Machine, mara: Caller, *, after: int) -> None:
    """Send the first request, and let an outage interrupt it after some signals."""
    with pytest.raises(Unavailable):
        await bulk_signals(engine, Interrupted(engine.signals, after=after)).send(asking(mara, "1"), ORDER, "paid", 1)


async def test_a_repeat_after_an_outage_goes_on_with_the_others(engine: Machine, mara: Caller) -> None:
    ids = await started(engine, mara, await engine.save(TWICE), 3)

    await interrupt(engine, mara, after=2)

    # The key itself is not used up: a repeat would be answered that it was done.
    assert rows_of(engine.path, "SELECT key FROM request_keys") == [("search digest",)]
    sent = await bulk_signals(engine).send(asking(mara, "2"), ORDER, "paid", 1)
    assert (sent.taken, sent.refused) == (ids, [])
    assert dict(rows_of(engine.path, RECEIVED)) == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("open", [1, 3])
async def test_a_repeat_reaches_none_that_has_started_since(engine: Machine, mara: Caller, open: int) -> None:
    flow_id = await engine.save("nodes: {paid: {type: wait, params: {key: paid}}}")
    ids = await started(engine, mara, flow_id, open)
    await interrupt(engine, mara, after=1)
    await engine.until_ended(rows_of(engine.path, RECEIVED)[0][0])
    (later,) = await started(engine, mara, flow_id, 1)

    sent = await bulk_signals(engine).send(asking(mara, "2"), ORDER, "paid", 1)

    assert (sent.taken, sent.refused) == (ids, [])
    assert dict(rows_of(engine.path, RECEIVED)) == dict.fromkeys(ids, 1)
    assert later not in ids


class Counted:
    """The service that sends signals, with the executions to which it is sending."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self.sending: set[ExecutionId] = set()
        self.most = 0
        self.order: list[ExecutionId] = []

    async def send(self, caller: Caller, id: ExecutionId, key: str, payload: JSON, **more: Any) -> None:
        self.sending.add(id)
        self.order.append(id)
        self.most = max(self.most, len(self.sending))
        await self._signals.send(caller, id, key, payload, **more)
        self.sending.remove(id)


async def test_an_account_sends_to_one_selection_at_a_time_and_to_a_few_executions_at_once(
    engine: Machine, mara: Caller
) -> None:
    ids = await started(engine, mara, await engine.save(TWICE), 20)
    counted = Counted(engine.signals)
    service = bulk_signals(engine, counted)

    first, second = await asyncio.gather(*(service.send(mara, ORDER, "paid", number) for number in (1, 2)))

    assert first.taken == second.taken == ids
    assert counted.order == ids * 2
    assert counted.most == 8


async def test_a_signal_that_does_not_fit_into_all_is_sent_to_none_and_its_repeat_is_not_measured(
    engine: Machine, mara: Caller
) -> None:
    """An execution that cannot store a signal would fail."""
    ids = await started(engine, mara, await engine.save(TWICE), 3)
    payload = "x" * 100_000
    room = await SqlUsage(engine.database).stored(mara.workspace_id) + 250_000
    little, enough = WorkspaceLimits(stored=room), WorkspaceLimits(stored=room + 100_000)

    with pytest.raises(LimitReached):
        await bulk_signals(engine, limits=little).send(asking(mara, "1"), ORDER, "paid", payload)
    refused = dict(rows_of(engine.path, RECEIVED))
    await bulk_signals(engine, limits=enough).send(asking(mara, "1"), ORDER, "paid", payload)
    sent = await bulk_signals(engine, limits=little).send(asking(mara, "2"), ORDER, "paid", payload)

    assert refused == {}
    assert sent.taken == ids


async def test_the_blocks_count_of_a_signal_that_does_not_fit_into_all(engine: Machine, mara: Caller) -> None:
    ids = await started(engine, mara, await engine.save(TWICE), 3)
    before = await SqlUsage(engine.database).stored(mara.workspace_id)
    little, enough = (WorkspaceLimits(stored=before + room) for room in (3 * BLOCK - 1, 9 * BLOCK))

    with pytest.raises(LimitReached):
        await bulk_signals(engine, limits=little).send(asking(mara, "1"), ORDER, "paid", None)
    assert rows_of(engine.path, RECEIVED) == []
    sent = await bulk_signals(engine, limits=enough).send(asking(mara, "1"), ORDER, "paid", None)
    assert sent.taken == ids


async def test_a_request_that_none_could_take_does_not_use_up_its_key(engine: Machine, mara: Caller) -> None:
    class Ended:
        async def send(self, *_: Any, **more: Any) -> None:
            raise Conflict("The execution has already ended")

    flow_id = await engine.save(TWICE)
    await started(engine, mara, flow_id, 2)
    with pytest.raises(Conflict):
        await bulk_signals(engine, Ended()).send(asking(mara, "1"), ORDER, "paid", 1)
    ids = await started(engine, mara, flow_id, 1)

    other = replace(asking(mara, "2"), request=RequestKey("digest", "2", "asked for more", sent="k"))
    sent = await bulk_signals(engine).send(other, ORDER, "paid", 2)

    assert ids[0] in sent.taken


async def test_a_repeat_that_none_could_take_frees_the_key_of_an_interrupted_request(
    engine: Machine, mara: Caller
) -> None:
    flow_id = await engine.save("nodes: {paid: {type: wait, params: {key: paid}}}")
    (ended,) = await started(engine, mara, flow_id, 1)
    await interrupt(engine, mara, after=0)
    await engine.signals.send(mara, ended, "paid", 1)
    await engine.until_ended(ended)
    with pytest.raises(Conflict):
        await bulk_signals(engine).send(asking(mara, "2"), ORDER, "paid", 1)
    ids = await started(engine, mara, flow_id, 1)

    sent = await bulk_signals(engine).send(asking(mara, "3"), ORDER, "paid", 1)

    assert sent.taken == ids


async def test_two_servers_that_search_at_once_with_one_key_reach_the_same_executions(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await started(engine, mara, await engine.save(TWICE), 2)
    both = asyncio.Barrier(2)
    keep = RequestKeys.keep

    async def keep_together(*args: Any) -> None:
        """Keep what was found when both have searched."""
        await both.wait()
        await keep(*args)

    monkeypatch.setattr(RequestKeys, "keep", keep_together)

    sent = await asyncio.gather(
        *(bulk_signals(engine).send(asking(mara, request), ORDER, "paid", 1) for request in ("1", "2"))
    )

    assert [one.taken for one in sent] == [ids, ids]
    assert dict(rows_of(engine.path, RECEIVED)) == dict.fromkeys(ids, 1)


async def test_the_digest_of_a_long_payload_is_computed_once_and_on_a_thread(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await started(engine, mara, await engine.save(TWICE), 3)
    payload = "x" * LONG_BYTES
    computed: list[int] = []

    def noted(asked: Any) -> str:
        if payload in asked:
            computed.append(threading.get_ident())
        return digest_of_request(asked)

    monkeypatch.setattr(signals, "digest_of_request", noted)

    sent = await bulk_signals(engine).send(asking(mara, "1"), ORDER, "paid", payload)

    assert sent.taken == ids
    assert len(computed) == 1
    assert computed != [threading.get_ident()]


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("operator", True)])
async def test_members_who_may_run_flows_send_to_a_selection(
    engine: Machine, mara: Caller, role: Any, may: bool
) -> None:
    ids = await started(engine, mara, await engine.save(TWICE), 1)
    member = member_caller_of(AccountId("account-omar"), MARA, role)

    if may:
        assert (await bulk_signals(engine).send(member, ORDER, "paid", 1)).taken == ids
    else:
        with pytest.raises(Forbidden):
            await bulk_signals(engine).send(member, ORDER, "paid", 1)


@pytest.mark.parametrize("count", [2, 3])
async def test_a_search_tells_how_many_it_has_found_before_it_returns_them(
    engine: Machine, mara: Caller, count: int
) -> None:
    ids = await started(engine, mara, await engine.save(TWICE), count)
    told: list[int] = []

    found = await Selections(engine.executions).search(mara, ORDER, most=5, check=told.append)

    assert (list(found), told) == (ids, [count])


async def test_the_audit_log_has_a_signal_without_its_key(engine: Machine, mara: Caller) -> None:
    (id,) = await started(engine, mara, await engine.save(TWICE), 1)

    await engine.signals.send(mara, id, "paid", {"amount": 5})

    told = rows_of(engine.path, "SELECT actor, object_id, details FROM audit WHERE action = 'execution.signalled'")
    assert told == [(mara.account_id, id, "{}")]


@pytest.mark.parametrize("error", [NotFound("execution"), Conflict("The execution has already ended")])
async def test_an_execution_that_is_gone_or_over_meanwhile_is_named_beside_those_that_took_the_signal(
    engine: Machine, mara: Caller, error: Exception
) -> None:
    first, second = await started(engine, mara, await engine.save(TWICE), 2)

    class Losing(Interrupted):
        async def send(self, caller: Caller, id: ExecutionId, key: str, payload: JSON, **more: Any) -> None:
            if id == first:
                raise error
            await super().send(caller, id, key, payload, **more)

    sent = await bulk_signals(engine, Losing(engine.signals, after=5)).send(mara, ORDER, "paid", 1)

    assert (list(sent.taken), list(sent.refused)) == ([second], [(first, str(error))])
