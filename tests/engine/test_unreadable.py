"""Executions whose events this version of the program cannot read, or that do not follow from each other."""

import json
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from flowrunner.domain.errors import Conflict
from flowrunner.domain.events import Completed, Logged
from flowrunner.domain.status import Status
from flowrunner.domain.values import FlowId
from flowrunner.ports.event_codec import decode_event, stored_type
from flowrunner.storage.accounts import SqlAccounts
from services.callers import caller_of
from support.databases import MARA, MARA_ACCOUNT, NOON, Place, account, change, emptied_postgres_database, rows_of
from support.dependencies import machine, never

WAITS: Final = """
on_finish: tidy
nodes:
  ask: {type: wait, params: {key: go}}
  tidy: {type: webhook, params: {url: "http://peer/tidy"}}
"""
NODE: Final = {"node": "ask", "node_type": "wait", "iteration": 1, "attempt": 1, "scope": ""}
# Of a kind that a newer version may write, without a member, of the wrong type, of no step, no JSON.
UNREADABLE: Final = {
    "an unknown kind": ("node.paused", json.dumps(NODE)),
    "no members": ("node.completed", "{}"),
    "a member of another type": ("node.completed", json.dumps(NODE | {"attempt": "1", "action": "a", "result": 1})),
    "a step that is not there": ("node.completed", json.dumps(NODE | {"node": "b", "action": "a", "result": 1})),
    "a second start": ("execution.started", json.dumps({"node": "ask", "node_type": "wait", "input": {}})),
    "no JSON": ("log", "{"),
}


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / "flowrunner.db"
    return emptied_postgres_database(request.getfixturevalue("postgres"))


def spoil(place: Place, id: str, type: str, data: str) -> None:
    """Add an event that nothing here has written."""
    change(place, "UPDATE executions SET last_seq = last_seq + 1 WHERE id = ?", id)
    change(
        place,
        "INSERT INTO events (execution_id, seq, at, type, data) SELECT id, last_seq, started_at, CAST(? AS text),"
        " CAST(? AS text) FROM executions WHERE id = ?",
        *(type, data, id),
    )


def told(place: Place, id: str) -> tuple[str, str]:
    ((status, error),) = rows_of(place, "SELECT status, error FROM executions WHERE id = ?", id)
    return status, error


@pytest.mark.parametrize("what", UNREADABLE)
async def test_what_runs_fails_at_the_start_with_the_reason_and_without_a_replay(place: Place, what: str) -> None:
    async with machine(place) as first:
        first.http.at("http://peer/", never)
        await first.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}")
        id = await first.start()
        await first.until_requested("http://peer/")
    spoil(place, id, *UNREADABLE[what])
    async with machine(place) as second:

        async def has_failed() -> bool:
            return told(place, id)[0] == "failed"

        await second.until(has_failed)
        events = await second.journal.events(id, after=0, limit=100)

        assert second.http.requests == []
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        # Who watches it is told, too.
        assert second.broadcast.published[id][-1].seq == events[-1].seq
    _, error = told(place, id)
    assert "of this execution" in error
    assert error.endswith("It cannot continue and ends here, without its handlers: run it again")
    assert rows_of(place, "SELECT wake_at, waiting_for FROM executions WHERE id = ?", id) == [(None, None)]


@pytest.mark.parametrize("what", UNREADABLE)
async def test_a_waiting_execution_takes_no_signal_and_can_be_cancelled(place: Place, what: str) -> None:
    async with machine(place) as engine:
        await engine.save(WAITS)
        signalled, cancelled = await engine.start(id="e1"), await engine.start(id="e2")
        await engine.until_parked("e1")
        await engine.until_parked("e2")
        for id in (signalled, cancelled):
            spoil(place, id, *UNREADABLE[what])

        with capture_logs() as lines, pytest.raises(Conflict, match="has ended"):
            await engine.signals.send(caller_of(MARA_ACCOUNT), signalled, "go", None)
        (line,) = [line for line in lines if line["event"] == "execution.failed"]
        assert (line["execution_id"], line["error_type"]) == (signalled, "events.unreadable")
        with pytest.raises(Conflict, match="it is failed"):
            await engine.dispatcher.cancel(cancelled, reason="by hand")

        assert {told(place, id)[0] for id in (signalled, cancelled)} == {"failed"}
        assert engine.http.requests == []


async def test_its_parent_is_notified_and_its_children_end(place: Place) -> None:
    async with machine(place) as engine:
        await engine.save(
            "nodes: {call: {type: flow, params: {flow: middle}, next: {error: done}}, done: {type: return,"
            " params: {value: '${error.type}'}}}",
            "parent",
        )
        await engine.save("nodes: {call: {type: flow, params: {flow: child}}}", "middle")
        await engine.save("nodes: {ask: {type: wait, params: {key: go}}}", "child")
        parent = await engine.start("parent")

        async def all_wait() -> bool:
            rows = rows_of(place, "SELECT is_idle FROM executions")
            return len(rows) == 3 and all(rests for (rests,) in rows) and engine.in_memory == 0

        await engine.until(all_wait)
        ((middle,),) = rows_of(place, "SELECT id FROM executions WHERE parent_id = ?", parent)
        ((child,),) = rows_of(place, "SELECT id FROM executions WHERE parent_id = ?", middle)
        spoil(place, middle, *UNREADABLE["an unknown kind"])

        with pytest.raises(Conflict):
            await engine.dispatcher.cancel(middle, reason="by hand")

        assert await engine.until_ended(parent) is Status.COMPLETED
        assert (await engine.events(parent))[-1] == Completed(result="events.unreadable")
        assert await engine.until_ended(child) is Status.CANCELLED


async def test_a_queued_one_ends_and_leaves_its_place_to_the_next(place: Place) -> None:
    caller = caller_of(MARA_ACCOUNT)
    async with machine(place) as engine:
        await engine.save("limits: {concurrency: {max: 1}}\n" + WAITS)
        first, queued, last = [(await engine.executions.run(caller, FlowId("flow-1"), {})).id for _ in range(3)]
        await engine.until_parked(first)
        spoil(place, queued, *UNREADABLE["an unknown kind"])

        with pytest.raises(Conflict, match="it is failed"):
            await engine.dispatcher.cancel(queued, reason="by hand")
        await engine.signals.send(caller, first, "go", None)
        await engine.until_ended(first)

        async def has_its_slot() -> bool:
            return not rows_of(place, "SELECT 1 FROM executions WHERE completed_at IS NULL AND is_queued")

        await engine.until(has_its_slot)
        assert told(place, queued)[0] == "failed"
        assert not (await engine.journal.stored(last)).status.is_final


async def test_what_an_account_leaves_behind_ends_whatever_its_events_are(place: Place) -> None:
    async with machine(place) as engine:
        await engine.save(WAITS)
        for id, what in (("e1", "an unknown kind"), ("e2", "a step that is not there"), ("e3", None)):
            await engine.start(id=id)
            await engine.until_parked(id)
            if what is not None:
                spoil(place, id, *UNREADABLE[what])
        accounts = SqlAccounts(engine.database)
        await accounts.create(account("someone-else"), password_hash="x")
        await accounts.delete(MARA_ACCOUNT, at=NOON, audit=None)

        await engine.executions.cancel_all(MARA)

        # What is only cancelled need not follow from each other.
        assert [told(place, id)[0] for id in ("e1", "e2", "e3")] == ["failed", "cancelled", "cancelled"]
        assert engine.http.requests == []


async def test_a_subscriber_sees_a_line_in_the_place_of_what_cannot_be_read(place: Place) -> None:
    async with machine(place) as engine:
        await engine.save(WAITS)
        id = await engine.start()
        await engine.until_parked()
        spoil(place, id, *UNREADABLE["an unknown kind"])

        events = await engine.journal.events(id, after=0, limit=100)

    assert isinstance(line := events[-1].event, Logged)
    assert line.message.endswith("of a kind that this version of FlowRunner does not know: node.paused")
    assert decode_event(stored_type(line), events[-1].data) == line
