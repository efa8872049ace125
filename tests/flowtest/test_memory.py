"""The journal, store, flows and secrets of flows that run without a server."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from flowrunner.domain.errors import LimitReached, NotFound
from flowrunner.domain.status import Status
from flowrunner.domain.store import StoreChange, StoreKey, StoreStep
from flowrunner.domain.values import ExecutionId, RevisionId
from flowrunner.flowtest import memory
from flowrunner.flowtest.memory import NOBODY, GivenFlows, MemoryJournal, MemorySecrets, MemoryStore, new_execution
from flowrunner.ports.journal import Append, DuplicateRequest, Fenced, Summary, load_whole
from flowrunner.security.redaction import SecretRedactor
from support.databases import NOON, completion, creation, following, log_line
from support.flows import flow_of

ONE: Final = ExecutionId("exec-1")
LATER: Final = NOON + timedelta(hours=1)
A: Final = StoreKey("default", "a")


async def journal_with(*appends: Append) -> MemoryJournal:
    journal = MemoryJournal()
    assert await journal.claim() == 1
    for append in appends:
        await journal.append(append)
    return journal


def idle(id: str, *, wake_at: Any = None) -> Append:
    return replace(
        following(id, log_line(), epoch=1, after=2),
        summary=Summary(status=Status.WAITING, is_idle=True, wake_at=wake_at),
    )


@pytest.mark.parametrize(
    "append",
    [
        following("exec-1", log_line(), epoch=0, after=2),
        following("exec-1", log_line(), epoch=2, after=2),
        following("exec-1", log_line(), epoch=1, after=1),
        following("exec-1", log_line(), epoch=1, after=3),
        following("exec-2", log_line(), epoch=1, after=0),
    ],
    ids=["an older engine", "a newer engine", "an event twice", "a gap", "no such execution"],
)
async def test_only_the_owner_of_a_journal_appends_the_next_events(append: Append) -> None:
    journal = await journal_with(creation("exec-1", epoch=1))

    with pytest.raises(Fenced):
        await journal.append(append)

    assert (await journal.stored(ONE)).last_seq == 2


async def test_an_ended_execution_takes_no_more_events() -> None:
    journal = await journal_with(
        creation("exec-1", epoch=1), creation("exec-2", epoch=1), completion("exec-1", epoch=1)
    )

    with pytest.raises(Fenced):
        await journal.append(following("exec-1", log_line(), epoch=1, after=4))
    assert journal.open_ones == ["exec-2"]
    assert await journal.epoch() == await journal.acquire(ONE, 1) == 1


async def test_events_are_read_in_pages_and_counted_by_their_bytes() -> None:
    first, last = creation("exec-1", epoch=1), following("exec-1", log_line(), log_line("y"), epoch=1, after=2)
    journal = await journal_with(first, last)
    records = [*first.records, *last.records]

    stored, events = await load_whole(journal, ONE)

    assert await journal.events(ONE, after=1, limit=2) == records[1:3]
    assert events == [(record.event, record.at) for record in records]
    assert (stored.size, stored.last_seq) == (sum(len(record.data) for record in records), 4)
    with pytest.raises(NotFound):
        await journal.stored(ExecutionId("exec-2"))


async def test_a_request_with_a_key_starts_once() -> None:
    journal = await journal_with(creation("exec-1", epoch=1, key="k", digest="d"))

    with pytest.raises(DuplicateRequest) as repeat:
        await journal.append(creation("exec-2", epoch=1, key="k", digest="d"))
    await journal.append(creation("exec-3", epoch=1, key="l"))
    await journal.append(creation("exec-4", epoch=1))
    await journal.append(creation("exec-5", epoch=1))

    assert (repeat.value.execution_id, repeat.value.request_digest) == ("exec-1", "d")
    assert journal.open_ones == ["exec-1", "exec-3", "exec-4", "exec-5"]


async def test_idle_executions_are_due_at_their_time_and_the_others_are_unfinished() -> None:
    ids = ("exec-4", "exec-3", "exec-2", "exec-1", "exec-0")
    journal = await journal_with(
        *(creation(id, epoch=1) for id in ids),
        idle("exec-1", wake_at=LATER), idle("exec-2", wake_at=NOON), idle("exec-3"), completion("exec-4", epoch=1),
    )  # fmt: skip
    await journal.append(creation("exec-5", epoch=1))

    assert await journal.due(now=NOON, limit=9) == [("exec-2", NOBODY)]
    assert await journal.due(now=LATER, limit=9) == [("exec-2", NOBODY), ("exec-1", NOBODY)]
    assert await journal.due(now=LATER, limit=1) == [("exec-2", NOBODY)]
    before = NOON - timedelta(seconds=1)
    assert [await journal.next_wake(after=at) for at in (before, NOON, LATER)] == [NOON, LATER, None]
    assert await journal.unfinished(after=None, limit=9) == [("exec-0", NOBODY), ("exec-5", NOBODY)]
    assert await journal.unfinished(after=ExecutionId("exec-0"), limit=9) == [("exec-5", NOBODY)]
    assert await journal.unfinished(after=None, limit=1) == [("exec-0", NOBODY)]
    assert (journal.revision_of(ONE), journal.summary(ONE).wake_at) == ("rev-1", LATER)


def setting(value: str, key: str = "a", namespace: str = "default", **more: Any) -> StoreChange:
    return StoreChange(operation="set", at=StoreKey(namespace, key), value=value, **more)


async def did(store: MemoryStore, change: StoreChange, *, now: Any = NOON) -> Any:
    return await store.change(NOBODY, change, now=now)


async def keys(store: MemoryStore, prefix: str = "", *, after: str = "", limit: int = 9, now: Any = NOON) -> Any:
    return await store.keys(NOBODY, namespace="default", prefix=prefix, after=after, limit=limit, now=now)


async def test_the_store_gives_what_was_written_until_it_expires_or_is_deleted() -> None:
    store = MemoryStore()
    assert await did(store, setting("1", ttl_ms=3_600_000)) == {"created": True}
    assert await store.value(NOBODY, A, now=LATER - timedelta(milliseconds=1)) == "1"
    assert (await store.value(NOBODY, A, now=LATER), await keys(store, now=LATER)) == (None, [])
    # An entry that has expired is no entry before.
    assert await did(store, setting("2"), now=LATER) == {"created": True}
    assert await did(store, StoreChange(operation="delete", at=A), now=LATER) == {"deleted": True}
    assert await did(store, StoreChange(operation="delete", at=A), now=LATER) == {"deleted": False}
    assert await store.value(NOBODY, A, now=LATER) is None


async def test_a_step_that_is_repeated_changes_the_store_once() -> None:
    store = MemoryStore()
    adding = StoreChange(operation="increment", at=A, amount=1)
    steps = [StoreStep(execution_id="exec-1", digest=digest) for digest in ("d-1", "d-1", "d-2")]

    results = [await did(store, replace(adding, step=step)) for step in (*steps, None, None)]

    assert results == [1, 1, 2, 3, 4]


async def test_keys_of_a_namespace_are_listed_in_their_order_in_pages() -> None:
    store = MemoryStore()
    for key in ("user-c", "user-a", "user-b", "order-a"):
        await did(store, setting("1", key))
    await did(store, setting("1", "user-d", "other"))

    assert await keys(store) == ["order-a", "user-a", "user-b", "user-c"]
    assert await keys(store, "user-", limit=2) == ["user-a", "user-b"]
    assert await keys(store, "user-", after="user-a") == ["user-b", "user-c"]


async def test_the_store_has_a_limited_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_KEYS", 2)
    store = MemoryStore()
    await did(store, setting("1"))
    await did(store, setting("1", "b"))

    with pytest.raises(LimitReached):
        await did(store, setting("1", "c"))

    assert await did(store, setting("2")) == {"created": False}


async def test_the_values_of_secrets_are_hidden_and_placeholders_are_not() -> None:
    def redactor(values: Any) -> SecretRedactor:
        made = SecretRedactor()
        made.add(values)
        return made

    secrets = MemorySecrets(
        {"KEY": "do-not-show-this", "PIN": "123"}, redactor, {"KEY": "x", "OTHER": "value of OTHER"}
    )

    hidden = (await secrets.redactor(NOBODY)).redact({"a": "do-not-show-this 123 value of OTHER"})

    assert await secrets.reveal(NOBODY, ["KEY", "OTHER", "GONE"]) == {
        "KEY": "do-not-show-this", "OTHER": "value of OTHER"}  # fmt: skip
    assert hidden == {"a": "*** 123 value of OTHER"}


def test_an_execution_has_the_configuration_values_that_its_flow_names() -> None:
    given = GivenFlows().add(flow_of("nodes: {a: {type: return, params: {value: '${config.A} ${config.GONE}'}}}"), {})

    new = new_execution(ONE, given, NOON, config={"A": 1, "B": 2}, key="k")

    assert (new.config, new.started_at, new.idempotency_key) == ({"A": 1}, NOON, "k")
    assert (new.flow_id, new.revision_id) == (given.id, given.revision_id)


def test_the_secrets_that_flows_need_are_those_read_without_a_default() -> None:
    flows = GivenFlows()
    for value in ("${secrets.A} ${secrets.B ?? 'none'} ${config.C}", "${secrets.D}"):
        flows.add(flow_of(f'nodes: {{a: {{type: return, params: {{value: "{value}"}}}}}}'), {})

    assert flows.needed_secrets == {"A", "D"}
    with pytest.raises(NotFound):
        flows.of_revision(RevisionId("rev_9"))
