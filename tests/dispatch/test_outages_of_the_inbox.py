"""Signals and cancellations during outages of the database: a caller repeats none that may have been recorded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dispatch.cluster import Cluster, Front
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import SignalReceived
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.inbox import Inbox
from support.waiting import PATIENCE_SECONDS

FOR_EVER = "nodes: {ask: {type: wait, params: {key: go}}}"
SIGNAL = Signal(key="go", payload=1)


def away(call: Callable[..., Awaitable[Any]], times: int) -> Callable[..., Awaitable[Any]]:
    """A call that does its work, except that its answer is lost so often."""
    left = iter(range(times))

    async def answer_lost(*arguments: Any, **named: Any) -> Any:
        done = await call(*arguments, **named)
        if next(left, None) is not None:
            raise Unavailable("The database cannot be reached at the moment")
        return done

    return answer_lost


async def test_a_signal_is_answered_after_an_outage_while_its_sender_waits(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    monkeypatch.setattr(front.side.inbox, "answer", away(front.side.inbox.answer, 3))

    async with machines.worker():
        await front.signals.send(front.caller, id, "go", 1)
        assert await front.until_ended(id) == [Status.COMPLETED]

    assert len([event for event in await front.events(id) if isinstance(event, SignalReceived)]) == 1


@pytest.mark.parametrize("lost", ["send", "answer", "cancel"])
async def test_the_outcome_of_a_message_whose_answer_is_lost_is_said_to_be_unknown(
    front: Front, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    inbox: Inbox = front.side.inbox
    monkeypatch.setattr("flowrunner.dispatch.temporal.dispatcher._ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(inbox, lost, away(getattr(inbox, lost), 1_000))

    with pytest.raises(Unavailable, match="Outcome unknown: the signal may have been recorded"):
        await front.signals.send(front.caller, id, "go", 1)
    with pytest.raises(Unavailable, match="Outcome unknown: the execution may have been cancelled"):
        await front.dispatcher.cancel(id, reason="")


async def test_a_rejected_signal_is_a_conflict_although_its_message_cannot_be_deleted(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    monkeypatch.setattr(front.side.inbox, "cancel", away(front.side.inbox.cancel, 1_000))

    async def rejected(number: int) -> bool:
        return False

    monkeypatch.setattr(front.side.inbox, "answer", rejected)

    assert await front.dispatcher._send_and_wait(id, SIGNAL) is False


async def test_a_read_that_outlasts_the_time_for_an_answer_is_not_repeated(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    monkeypatch.setattr("flowrunner.dispatch.temporal.dispatcher._ANSWER_SECONDS", 0.2)
    reads: list[int] = []

    async def hangs(number: int) -> bool | None:
        reads.append(number)
        await asyncio.sleep(0.3)
        raise Unavailable("The database cannot be reached at the moment")

    monkeypatch.setattr(front.side.inbox, "answer", hangs)

    with pytest.raises(Unavailable, match="Outcome unknown"):
        await front.signals.send(front.caller, id, "go", 1)

    assert len(reads) == 1


@pytest.mark.parametrize("hung", ["send", "answer", "cancel"])
async def test_a_database_that_hangs_does_not_hold_a_signal_beyond_its_time(
    front: Front, monkeypatch: pytest.MonkeyPatch, hung: str
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    monkeypatch.setattr("flowrunner.dispatch.temporal.dispatcher._ANSWER_SECONDS", 0.1)
    monkeypatch.setattr("flowrunner.dispatch.temporal.dispatcher._MOST_SECONDS", 1.0)

    async def hangs(*arguments: Any, **named: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(front.side.inbox, hung, hangs)

    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(Unavailable, match="Outcome unknown"):
            await front.dispatcher.signal(id, SIGNAL)


async def test_a_database_that_hangs_before_anything_is_stored_leaves_no_outcome_unknown(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    monkeypatch.setattr("flowrunner.dispatch.temporal.dispatcher._MOST_SECONDS", 0.1)

    async def hangs(id: ExecutionId) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(front.dispatcher._journal, "stored", hangs)

    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(Unavailable, match="Nothing was sent"):
            await front.dispatcher.signal(id, SIGNAL)
        with pytest.raises(Unavailable, match="Nothing was sent"):
            await front.dispatcher.cancel(id, reason="")

    assert await front.side.inbox.unread([id]) == []


async def test_an_outage_before_anything_is_stored_leaves_no_outcome_unknown(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()

    async def away(workspace_id: WorkspaceId) -> Any:
        raise Unavailable("The database cannot be reached at the moment")

    monkeypatch.setattr(front.side.vault, "redactor", away)

    with pytest.raises(Unavailable, match="The database cannot be reached"):
        await front.dispatcher.signal(id, SIGNAL)

    assert await front.side.inbox.unread([id]) == []


async def test_a_rejection_does_not_wait_until_its_message_is_deleted(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save(FOR_EVER)
    id = await front.start()
    inbox, goes_on = front.side.inbox, asyncio.Event()
    answer, cancel = inbox.answer, inbox.cancel
    numbers: list[int] = []

    async def rejected(number: int) -> bool:
        numbers.append(number)
        return False

    async def hangs(number: int) -> bool:
        await goes_on.wait()
        return await cancel(number)

    monkeypatch.setattr(inbox, "answer", rejected)
    monkeypatch.setattr(inbox, "cancel", hangs)

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await front.dispatcher._send_and_wait(id, SIGNAL) is False
    goes_on.set()

    async def is_deleted() -> bool:
        return await answer(numbers[0]) is True

    await front.until(is_deleted)
